//! runvm as a program, with a script that stands in for QEMU.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use whit_tests::stdio::{closed_pipe, full_disk};
use whit_tests::{tool, write_program};

/// Makes a directory with a kernel, an initramfs, and this script as QEMU.
fn with_script(script: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let qemu = directory.path().join("qemu-system-x86_64");
    write_program(&qemu, format!("#!/bin/sh\n{script}\n").as_bytes());
    fs::write(directory.path().join("kernel"), "kernel").unwrap();
    fs::write(directory.path().join("initrd"), "").unwrap();
    fs::create_dir(directory.path().join("tmp")).unwrap();
    directory
}

fn runvm(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool("runvm"));
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    command.current_dir(directory.path()).env("PATH", path).stdin(Stdio::null());
    command.env("TMPDIR", directory.path().join("tmp"));
    command.args(["--kernel", "kernel", "--initrd", "initrd", "--accel", "tcg"]).args(arguments);
    command
}

fn outcome(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Returns the number of files that runs have left in the folder for temporary files.
fn left(directory: &TempDir) -> usize {
    fs::read_dir(directory.path().join("tmp")).unwrap().count()
}

/// Finds the file of the port `org.whit.exit` on QEMU's command line.
const PORT: &str = r#"until file=${1#file,id=port?,path=}; test "$file" != "$1"; do shift; done"#;

#[test]
fn the_status_comes_from_the_port_or_the_last_exit_line() {
    for (script, status, words) in [
        ("echo 'whit: exit 7'", 7, ""),
        ("printf 'whit: exit 1\\r\\n# whit: exit 0\\r\\n[ 1.0] Power down\\r\\n'", 0, ""),
        ("printf 'open linewhit: exit 143'", 143, ""),
        ("echo 'whit: timeline init 1'", 125, "runvm: the machine ended without reporting the workload's status\n"),
        ("echo 'qemu: no kernel' >&2; exit 1", 125, "runvm: qemu: no kernel\nrunvm: QEMU failed (exit status: 1)"),
        ("kill -ABRT $$", 125, "runvm: QEMU failed (signal: 6"),
        // The port takes precedence over the console if it has a line.
        (&format!("{PORT}; printf '3\n7\n' >$file; echo 'whit: exit 0'"), 7, ""),
        (&format!("{PORT}; : >$file; echo 'whit: exit 4'"), 4, ""),
    ] {
        let directory = with_script(script);
        let (code, shown, errors) = outcome(&runvm(&directory, &["-t"]).output().unwrap());
        assert_eq!((code, left(&directory)), (Some(status), 0), "{script}: {shown}{errors}");
        assert!(errors.starts_with(words) && errors.is_empty() == words.is_empty(), "{script}: {errors}");
    }
}

#[test]
fn the_console_is_shown_and_the_input_is_forwarded() {
    let directory = with_script("read -r line; printf '\\033[1mgot %s\\r\\n' \"$line\"; echo 'whit: exit 3'");
    fs::write(directory.path().join("keys"), "a\u{1}b\n").unwrap();
    let keys = fs::File::open(directory.path().join("keys")).unwrap();
    let (code, shown, _) = outcome(&runvm(&directory, &[]).stdin(keys).output().unwrap());
    // QEMU's escape character ctrl-a is doubled, so that the guest gets one; lines for tools are left out.
    assert_eq!((code, shown.as_str()), (Some(3), "\u{1b}[1mgot a\u{1}\u{1}b\r\n"));
}

#[test]
fn the_second_signal_ends_the_machine_and_is_the_status() {
    let directory = with_script("echo $$; exec sleep 1000");
    let mut child = runvm(&directory, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut pid = String::new();
    shown.read_line(&mut pid).unwrap();
    let kill = |pid: &str| Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap();
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    assert!(kill(&child.id().to_string()).success());
    let mut message = String::new();
    messages.read_line(&mut message).unwrap();
    assert_eq!(message, "runvm: requesting power-off; a second signal ends the machine at once\n");
    // Another SIGTERM within a second would be the same one.
    let kill = |pid: &str| Command::new("kill").args(["-HUP", pid.trim()]).status().unwrap();
    assert!(kill(&child.id().to_string()).success());
    shown.read_to_string(&mut String::new()).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(128 + 1), None));
    assert!(!kill(&pid).success(), "the machine has ended");
    assert_eq!(left(&directory), 0);
}

#[test]
fn print_shows_the_command_line_and_runs_nothing() {
    let directory = with_script("echo ran");
    let arguments = ["--print", "--disk", "kernel", "--disk-interface", "ide", "-p", "8080:80", "--nic", "e1000"];
    let (code, shown, errors) = outcome(&runvm(&directory, &arguments).output().unwrap());
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(
        shown,
        "qemu-system-x86_64 -display none -vga none -serial mon:stdio -no-reboot -nodefaults -machine pc -accel tcg -cpu max,-la57 -m 256M -smp 1 \
         -kernel kernel -initrd initrd -append 'console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check root=/dev/sda' \
         -drive if=none,id=disk0,format=raw,file=kernel -device ide-hd,drive=disk0 \
         -netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80 -device e1000,netdev=net0,romfile=\n"
    );
    let into = |stdout: Stdio| outcome(&runvm(&directory, &arguments).stdout(stdout).output().unwrap());
    assert_eq!(into(closed_pipe()), (Some(0), String::new(), String::new()));
    let (code, _, errors) = into(full_disk());
    assert_eq!((code, errors.lines().count()), (Some(125), 1), "{errors}");
    assert!(errors.starts_with("runvm: cannot be shown: "), "{errors}");
}

#[test]
fn arguments_are_passed_in_a_record() {
    // The script prints the initramfs of its option `-initrd FILE`.
    let directory = with_script("while test \"$1\" != -initrd; do shift; done; cat \"$2\"; echo; echo 'whit: exit 0'");
    let (code, shown, errors) = outcome(&runvm(&directory, &["--", "-x", "", "two words"]).output().unwrap());
    assert_eq!((code, left(&directory)), (Some(0), 0), "{errors}");
    // Zeros separate it from the initramfs before it.
    assert!(shown.trim_start_matches('\0').starts_with("070701") && shown.contains("whit.conf"), "{shown}");
    assert!(shown.contains("cmd -x\ncmd \ncmd two words\n"), "{shown}");
    assert_eq!(fs::read(directory.path().join("initrd")).unwrap(), b"");
}

/// Runs the words of `docker run`, and returns the lines of the record.
fn record_of(words: &[&str]) -> Result<String, String> {
    let directory = with_script("while test \"$1\" != -initrd; do shift; done; cp \"$2\" kept; echo 'whit: exit 0'");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("tree/etc")).unwrap();
    fs::write(at("tree/etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    let tar = Command::new("tar").args(["-cf", "image.tar", "-C", "tree", "."]).current_dir(directory.path()).status();
    assert!(tar.unwrap().success());
    let mut command = Command::new(tool("runvm"));
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    command.current_dir(directory.path()).env("PATH", path).env("WHIT_CACHE", at("cache")).env("TMPDIR", at("tmp"));
    command.args(["--kernel", "kernel", "--init", "/bin/busybox", "--accel", "tcg"]).args(words).stdin(Stdio::null());
    let (code, _, errors) = outcome(&command.output().unwrap());
    assert_eq!(left(&directory), 0, "{words:?}");
    if code != Some(0) {
        assert!(!at("kept").exists(), "{words:?}: it is not refused before a boot");
        return Err(format!("{code:?} {errors}"));
    }
    let record = whit_tools::archive::segment::record(&at("kept")).unwrap();
    Ok(String::from_utf8(record).unwrap())
}

#[test]
fn the_words_of_docker_run_mean_the_same() {
    for (line, expected) in [
        ("image.tar echo -n hello", "cmd echo\ncmd -n\ncmd hello\n"),
        ("-i --rm image.tar cat", "cmd cat\n"),
        ("--entrypoint /bin/sh image.tar -c true -- x", "entrypoint /bin/sh\ncmd -c\ncmd true\ncmd --\ncmd x\n"),
        ("image.tar --entrypoint /bin/sh -- -c true", "entrypoint /bin/sh\ncmd -c\ncmd true\n"),
        ("-eA=1 -e B=2 --env=NOT_SET_ANYWHERE image.tar", "env A=1\nenv B=2\nenv NOT_SET_ANYWHERE\n"),
        ("-w/srv -u 7:8 -h box image.tar", "workdir /srv\nuser 7:8\nhostname box\n"),
        ("--stop-signal=int --stop-timeout=5 image.tar", "stopsignal INT\ngrace 5\n"),
        ("--read-only=false --network none -m 0.25g --cpus 0.5 -a stdout image.tar x", "cmd x\n"),
        ("--ulimit nofile=5:6 --tmpfs /t --sysctl a=b image.tar", "tmpfs /t\nrlimit nofile=5:6\nsysctl a=b\n"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(record_of(&words).as_deref(), Ok(expected), "{line}");
    }
}

#[test]
fn a_disk_of_another_image_is_said() {
    let directory = with_script("echo 'whit: exit 0'");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    let run = |content: &str, more: &[&str]| {
        fs::write(at("tree/file"), content).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--mtime=@0", "-cf", "image.tar", "-C", "tree", "."]).current_dir(directory.path());
        assert!(tar.status().unwrap().success());
        let mut command = Command::new(tool("runvm"));
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        command.current_dir(directory.path()).env("PATH", path).env("WHIT_CACHE", at("cache")).stdin(Stdio::null());
        command.args(["--kernel", "kernel", "--init", "/bin/busybox", "--accel", "tcg", "--disk", "kept.img"]);
        outcome(&command.args(more).arg("image.tar").output().unwrap())
    };
    assert_eq!(run("one", &[]), (Some(0), String::new(), String::new()));
    assert_eq!(run("one", &[]), (Some(0), String::new(), String::new()));
    let (code, _, errors) = run("two", &[]);
    let expected =
        "runvm: kept.img was made from another image.tar, and keeps its files; remove it to have those of image.tar\n";
    assert_eq!((code, errors.as_str()), (Some(0), expected));
    let (code, _, errors) = run("one", &["--debug"]);
    assert_eq!(code, Some(0));
    assert!(errors.starts_with("runvm: qemu-system-x86_64 ") && errors.lines().count() == 1, "{errors}");
}

#[test]
fn what_docker_run_would_refuse_is_refused_before_a_boot() {
    let many = vec!["x"; 300];
    for (line, message) in [
        ("-d image.tar", "runvm: -d: no option of runvm: a machine ends with runvm; systemd-run "),
        ("-itd image.tar", "runvm: -d: no option of runvm: "),
        ("--privileged image.tar", "runvm: --privileged: no option of runvm: "),
        ("--mount type=bind,source=/a,target=/b image.tar", "runvm: --mount: no option of runvm: -v DIR:/PATH"),
        ("--rm=maybe image.tar", "runvm: --rm=maybe: not true or false\n"),
        ("--stop-signal NOPE image.tar", "runvm: stopsignal \"NOPE\": "),
        ("-u nope image.tar", "runvm: user nope: no such user in /etc/passwd\n"),
        ("-u 7:nope image.tar", "runvm: user 7:nope: no such group in /etc/group\n"),
        ("-w data image.tar", "runvm: -w data: not an absolute path\n"),
        ("-e =1 image.tar", "runvm: -e =1: a variable has a name\n"),
        ("--tmpfs data image.tar", "runvm: --tmpfs data: "),
        ("--network host image.tar", "--network"),
        ("-a all image.tar", "not STDIN, STDOUT or STDERR"),
        ("--init -it image.tar", "runvm: --init -it: no program; docker's --init, which has no value, is not needed"),
        ("--init=true image.tar", "runvm: --init true: no program; docker's"),
        ("--init image.tar image.tar", "runvm: --init image.tar: no program; docker's"),
        ("--init ./absent image.tar", "runvm: --init ./absent: No such file"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let error = record_of(&words).unwrap_err();
        assert!(error.starts_with("Some(125) ") && error.contains(message), "{line}: {error}");
    }
    let name = "n".repeat(65);
    let error = record_of(&["-h", &name, "image.tar"]).unwrap_err();
    assert!(error.contains(": 65 bytes; a host name has at most 64\n"), "{error}");
    let error = record_of(&[&["image.tar"][..], &many].concat()).unwrap_err();
    assert!(error.contains("runvm: the command and its arguments: more than 256 strings"), "{error}");
}

#[test]
fn bad_arguments_are_refused_before_anything_runs() {
    let directory = with_script("echo ran");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("{}:80", listener.local_addr().unwrap().port());
    let long = "x".repeat(2048);
    fs::write(directory.path().join("text"), "no archive").unwrap();
    for (arguments, words) in [
        (&["-p", "80"][..], "the host's port is missing: as in 8080:80"),
        (&["-p", "0:80"], "\"0\" is not a port"),
        (&["-p", "here:1:1"], "\"here\" is not an IPv4 address"),
        (&["-p", &busy], "runvm: -p: cannot listen on 127.0.0.1:"),
        (&["-p", "1234:80", "-p", "127.0.0.1:1234:81"], "runvm: -p: the host's port 1234 is given twice\n"),
        (&["--memory", "256"], "is not a size as 256M or 1G"),
        (&["--memory", "0M"], "is not a size"),
        (&["--memory", "99999999G"], "is not a size"),
        (&["--cpus", "0"], "--cpus"),
        (
            &["--append", &long],
            "runvm: --append: the kernel's command line has 2110 bytes; the kernel accepts at most 2047",
        ),
        (&["--machine", "microvm", "--nic", "e1000"], "runvm: --machine microvm has only virtio devices"),
        (&["-v", "text:/data/"], "runvm: -v text: is a file, but /data/ is a folder"),
        (&["-v", "absent:/data"], "runvm: -v absent: No such file"),
        (&["-v", "/data"], "not DIR:/PATH"),
        (&["-v", ".:/data:ro,nocopy"], "\"nocopy\" is no option that runvm knows: ro, rw, z and Z are"),
        (&["-v", ".:/a", "-v", "tmp:/a/:ro"], "runvm: -v tmp:/a/: there is another -v for this path\n"),
        (&["-v", ".:/"], "/ is the image's root"),
        (&["--disk", "absent"], "runvm: absent: No such file"),
        (&["--disk", "."], "runvm: .: is a directory"),
        (&["--config", "."], "runvm: .: is a directory; name a file\n"),
        (&["--env-file", "."], "runvm: --env-file .: is a directory; name a file\n"),
    ] {
        let (code, shown, errors) = outcome(&runvm(&directory, arguments).output().unwrap());
        assert_eq!((code, shown.as_str()), (Some(125), ""), "{words}");
        assert!(errors.contains(words), "{words}: {errors}");
    }
    let output = runvm(&directory, &["--initrd", "text", "--", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn a_machine_smaller_than_its_kernel_is_refused() {
    let directory = with_script("echo ran");
    fs::write(directory.path().join("kernel"), vec![0; 20 << 20]).unwrap();
    let (code, shown, errors) = outcome(&runvm(&directory, &["-m", "16m"]).output().unwrap());
    assert_eq!((code, shown.as_str()), (Some(125), ""));
    assert!(
        errors.starts_with("runvm: the machine has 16M of memory, but its kernel and initramfs take 20M; -m gives"),
        "{errors}"
    );
}

#[test]
fn an_image_may_be_a_named_pipe() {
    let directory = with_script("echo ran; echo 'whit: exit 0'");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    let script = "mkfifo pipe && tar -C tree -c . >pipe & until test -p pipe; do :; done; exec \"$@\"";
    let mut command = Command::new("sh");
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    command.args(["-c", script, "sh", tool("runvm").to_str().unwrap(), "pipe", "--kernel", "kernel"]);
    command.args(["--init", "/bin/busybox", "--accel", "tcg", "--nic", "none"]).current_dir(directory.path());
    command.env("PATH", path).env("WHIT_CACHE", at("cache")).env("TMPDIR", at("tmp")).stdin(Stdio::null());
    let (code, _, errors) = outcome(&command.output().unwrap());
    assert_eq!((code, errors.as_str()), (Some(0), ""));
}

/// The sockets of QEMU and its ports have names that a kernel takes (unix(7), `sun_path`).
#[test]
fn a_long_path_for_temporary_files_is_not_used_for_sockets() {
    let directory = with_script("echo 'whit: exit 3'");
    let long = directory.path().join("t".repeat(120));
    fs::create_dir(&long).unwrap();
    let (code, _, errors) = outcome(&runvm(&directory, &["-t"]).env("TMPDIR", &long).output().unwrap());
    assert_eq!((code, errors.as_str()), (Some(3), ""));
}

#[test]
fn a_missing_qemu_names_its_package() {
    let directory = with_script("");
    fs::remove_file(directory.path().join("qemu-system-x86_64")).unwrap();
    let output = runvm(&directory, &[]).env("PATH", directory.path()).output().unwrap();
    let (code, _, errors) = outcome(&output);
    let expected = "runvm: qemu-system-x86_64: not found; install it: apt-get install qemu-system-x86\n";
    assert_eq!((code, errors.as_str()), (Some(125), expected));
}

#[test]
fn without_a_disk_the_image_and_its_memory_are_in_the_initramfs() {
    let directory = with_script("echo ran");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/file"), vec![1; 70 << 20]).unwrap();
    let tar = Command::new("tar").args(["-cf", "image.tar", "-C", "tree", "."]).current_dir(directory.path()).status();
    assert!(tar.unwrap().success());
    let run = |more: &[&str]| {
        let mut command = Command::new(tool("runvm"));
        command.current_dir(directory.path()).env("WHIT_CACHE", at("cache")).stdin(Stdio::null());
        command.args(["image.tar", "--no-disk", "--kernel", "kernel", "--init", "/bin/busybox", "--accel", "tcg"]);
        outcome(&command.args(["--nic", "none", "--print"]).args(more).output().unwrap())
    };
    let (code, shown, errors) = run(&[]);
    // 70 MiB of files in half of the memory, the initramfs file, the kernel.
    let memory = errors.strip_prefix("runvm: the machine has ").and_then(|rest| rest.split_once('M'));
    let (memory, rest) = memory.unwrap_or_else(|| panic!("{errors}"));
    assert_eq!((code, rest), (Some(0), " of memory, because the image is in memory; -m overrides this\n"));
    assert!((280..300).contains(&memory.parse::<u32>().unwrap()), "{errors}");
    let kept = fs::read_dir(at("cache")).unwrap().next().unwrap().unwrap().path();
    let line = format!(
        "qemu-system-x86_64 -display none -vga none -serial mon:stdio -no-reboot -nodefaults -machine q35 -accel tcg -cpu max,-la57 -m {memory}M \
         -smp 1 -kernel kernel -initrd {} -append 'console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check' -nic none\n",
        kept.display()
    );
    assert_eq!(shown, line);
    let initramfs = fs::read(&kept).unwrap();
    let entries = whit_tools::archive::segment::entries(&initramfs).unwrap();
    let names = entries.iter().map(|(member, _)| &member.name[..]);
    let names: Vec<&[u8]> = names.filter(|name| name.starts_with(b"rootfs")).collect();
    let expected = ["rootfs.needs", "rootfs", "rootfs/dev", "rootfs/file", "rootfs/proc", "rootfs/sys", "rootfs.end"];
    assert_eq!(names, expected.map(str::as_bytes));
    // The second time the file is in the cache; -m may set less memory.
    let (code, shown, errors) = run(&["-m", "200M", "--read-only"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(
        shown.contains(" -m 200M ") && shown.contains("quiet panic=-1 cryptomgr.notests no_timer_check ro'"),
        "{shown}"
    );
    assert_eq!(fs::read_dir(at("cache")).unwrap().count(), 1);
}
