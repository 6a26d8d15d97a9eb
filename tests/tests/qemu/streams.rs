//! The workload's streams under runvm, as under `docker run`: input, outputs, terminal, signals, ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;
use whit_tests::deadline::{Deadline, output};
use whit_tests::debian::kernel;
use whit_tests::init;
use whit_tests::terminal::{read_until, resize, terminal};
use whit_tests::tool;
use whit_tests::whole::busybox_tar;
use whit_tools::kernel::debian::Flavour;
use xtask::workspace;

fn folder() -> TempDir {
    tempfile::tempdir_in(workspace::target()).unwrap()
}

/// Returns a command that runs a script in a machine; `options` come first.
fn runvm(folder: &TempDir, options: &[&str], script: &str) -> Command {
    let kernel = kernel(Flavour::Cloud, None);
    let mut command = Command::new("env");
    // A shell without job control ignores these for what it starts in the background.
    command.arg("--default-signal=INT,QUIT").arg(tool("runvm"));
    command.arg(busybox_tar()).arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules);
    command.args(["--accel", "tcg", "--nic", "none"]);
    if !options.contains(&"--init") {
        command.arg("--init").arg(init());
    }
    command.args(options).args(["--entrypoint", "/bin/sh", "--", "-c", script]);
    // The cache is shared by the tests of this file: each would make the same files.
    let cache = workspace::target().join("tests-cache");
    command.env("WHIT_CACHE", cache).env("TMPDIR", folder.path()).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a script; returns status, standard output and standard error.
fn outcome(options: &[&str], script: &str) -> (Option<i32>, String, String) {
    let folder = folder();
    let output = output(&mut runvm(&folder, options, script));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "temporary files are left");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Returns a descriptor of runvm's QEMU, to wait for its end.
fn qemu(child: &Child) -> OwnedFd {
    let list = format!("/proc/{0}/task/{0}/children", child.id());
    loop {
        for pid in fs::read_to_string(&list).unwrap().split_whitespace() {
            if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu-system")) {
                return pidfd_open(Pid::from_raw(pid.parse().unwrap()).unwrap(), PidfdFlags::empty()).unwrap();
            }
        }
        thread::yield_now();
    }
}

fn wait(process: &OwnedFd) {
    poll(&mut [PollFd::new(process, PollFlags::IN)], None).unwrap();
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn input_and_both_outputs_are_pipes_of_any_bytes() {
    let folder = folder();
    let script = "test -t 0 || test -t 1 || test -t 2 || echo pipes >&2; cat; echo error >/dev/stderr; exit 4";
    // Another user may open its streams by name.
    let mut child = runvm(&folder, &["-i", "-u", "1000:1000"], script).stdin(Stdio::piped()).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut stdin, sent) = (child.stdin.take().unwrap(), bytes.clone());
    let writer = thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "pipes\nerror\n");
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout == bytes, "{} of {} bytes", output.stdout.len(), bytes.len());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn without_i_standard_input_is_at_its_end() {
    let folder = folder();
    let mut command = runvm(&folder, &[], "wc -c; echo $TERM.");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    let stdin = child.stdin.take(); // stays open
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..], &output.stderr[..]), (Some(0), &b"0\n.\n"[..], &b""[..]));
    drop(stdin);
    let (status, shown, errors) = outcome(&["-a", "stderr"], "echo out; echo error >&2; ls -l /dev/stdout");
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(0), "", "error\n"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn output_that_is_read_after_the_machine_has_ended_is_complete() {
    let folder = folder();
    let mut child = runvm(&folder, &[], "seq 1 200000; exit 6").spawn().unwrap();
    let _deadline = Deadline::of(&child);
    wait(&qemu(&child));
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert!(shown.lines().map(|line| line.parse().unwrap_or(0)).eq(1..=200_000), "{} bytes", shown.len());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_reader_that_goes_away_ends_the_machine() {
    // The second program ignores SIGPIPE; its stop signal ends it.
    for script in ["exec yes", "trap '' PIPE; while :; do echo y; done"] {
        let folder = folder();
        let mut child = runvm(&folder, &[], script).spawn().unwrap();
        let _deadline = Deadline::of(&child);
        let (qemu, mut line) = (qemu(&child), String::new());
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "y\n");
        wait(&qemu);
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::PIPE.as_raw()), "{script}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn signals_reach_the_workload() {
    let folder = folder();
    let script = "for name in HUP QUIT USR1 USR2 ALRM TERM WINCH CONT; do trap \"echo $name\" $name; done
        trap 'echo INT; exit 9' INT; echo ready; while :; do sleep 0.01; done";
    let mut child = runvm(&folder, &[], script).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut answer = move |expected: &str| {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    };
    answer("ready");
    for (number, name) in [
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
        (Signal::TERM, "TERM"),
        (Signal::WINCH, "WINCH"),
        (Signal::CONT, "CONT"),
        (Signal::INT, "INT"),
    ] {
        signal(&child, number);
        answer(name);
    }
    answer("");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_workload_that_ignores_sigterm_is_killed_after_the_stop_timeout() {
    let folder = folder();
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let mut child = runvm(&folder, &["--stop-timeout", "1"], script).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // timeout(1) sends two.
    signal(&child, Signal::TERM);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 9));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_machine_ends_with_a_killed_runvm_and_outlives_a_hangup_under_nohup() {
    let folder = folder();
    let mut child = runvm(&folder, &[], "echo ready; exec sleep 1000").spawn().unwrap();
    let deadline = Deadline::of(&child);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let machine = qemu(&child);
    child.kill().unwrap();
    wait(&machine);
    child.wait().unwrap();
    drop(deadline);

    let inner = runvm(&folder, &["-i"], "trap 'echo hung up' HUP; echo ready; read line; echo $line");
    let mut command = Command::new("nohup");
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _deadline = Deadline::of(&child);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    signal(&child, Signal::HUP);
    child.stdin.take().unwrap().write_all(b"still here\n").unwrap();
    line.clear();
    output.read_to_string(&mut line).unwrap();
    assert_eq!((child.wait().unwrap().code(), line.as_str()), (Some(0), "still here\n"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_terminal_shows_every_byte_at_once() {
    let folder = folder();
    let (ours, theirs) = terminal();
    resize(&ours, 33, 101);
    let script =
        "stty size; printf '[root@whit]# '; read line; echo \"got $line\"; echo '[#####  ]'; echo 'whit: exit 3'
        echo '[sshd] reboot: 3'; printf 'w'; read line; exec sleep 1000";
    let mut command = runvm(&folder, &["-t"], script);
    let copy = || theirs.try_clone().unwrap();
    let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    drop((command, theirs));
    let mut keyboard = File::from(ours.try_clone().unwrap());
    let mut shown = String::new();
    read_until(&ours, &mut shown, "33 101\r\n[root@whit]# ");
    keyboard.write_all(b"k").unwrap();
    read_until(&ours, &mut shown, "# k");
    keyboard.write_all(b"ey\r").unwrap();
    read_until(&ours, &mut shown, "got key\r\n[#####  ]\r\nwhit: exit 3\r\n[sshd] reboot: 3\r\nw");
    keyboard.write_all(b"\r\x01x").unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(125), "{shown}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_machine_ends_with_its_workload_unless_it_lingers() {
    let (status, shown, errors) = outcome(&[], "sleep 1000 & echo started; exit 5");
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(5), "started\n", ""));
    let (status, shown, errors) = outcome(&["--linger"], "(sleep 1; echo late) & echo started");
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(0), "started\nlate\n", ""));
    // A workload that is restarted gets new pipes; the status is the last one's.
    let script = "echo start; test -e /again && exit 3; touch /again; exit 2";
    let (status, shown, _) = outcome(&["--append", "whit.on_exit=restart:1"], script);
    assert_eq!((status, shown.as_str()), (Some(3), "start\nstart\n"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_restarted_workload_gets_signals() {
    let folder = folder();
    let script = "test -e /again || { touch /again; exit 2; }; trap 'echo got; exit 3' USR1; echo ready
        while :; do sleep 0.01; done";
    let mut child = runvm(&folder, &["--append", "whit.on_exit=restart:1"], script).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut shown = String::new();
    output.read_line(&mut shown).unwrap();
    signal(&child, Signal::USR1);
    output.read_to_string(&mut shown).unwrap();
    assert_eq!((child.wait().unwrap().code(), shown.as_str()), (Some(3), "ready\ngot\n"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_consoles_words_stay_out_of_the_streams() {
    let folder = folder();
    let console = folder.path().join("console");
    let options = ["--append", "loglevel=7", "--console", console.to_str().unwrap()];
    let run = output(&mut runvm(&folder, &options, "echo hello; echo from the workload >/dev/console"));
    assert_eq!((run.status.code(), &run.stdout[..], &run.stderr[..]), (Some(0), &b"hello\n"[..], &b""[..]));
    let text = fs::read_to_string(&console).unwrap();
    assert!(
        text.contains("Linux version") && text.contains("from the workload") && text.contains("whit: exit 0"),
        "{text}"
    );
    // A failure shows the kernel's reason. What the host has not received by then is lost.
    let mut command = runvm(&folder, &["-i"], "echo received; read go; echo c >/proc/sysrq-trigger");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    let mut shown = [0; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"received\n");
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(125), &b""[..]), "{errors}");
    assert!(errors.contains("Kernel panic - not syncing: sysrq triggered crash"), "{errors}");
    assert!(errors.ends_with("runvm: the machine ended without reporting the workload's status\n"), "{errors}");
    // The init's own messages are errors.
    let (status, shown, errors) = outcome(&["-w", "/bin/busybox"], "");
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(125), "", "whit: workdir /bin/busybox: ENOTDIR\n"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_init_without_streams_and_an_image_as_pid_1_use_the_console() {
    init();
    let (status, shown, errors) = outcome(&["--init", "seed"], "test -t 1 && echo console; exit 3");
    assert_eq!((status, errors.as_str()), (Some(3), ""));
    assert!(shown.contains("console\r\n"), "{shown}");
    let script = "echo PID $$; echo o >/proc/sysrq-trigger; exec sleep 1000";
    let (status, shown, errors) = outcome(&["--append", "whit.pid1=exec"], script);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains("PID 1\r\n"), "{shown}");
}
