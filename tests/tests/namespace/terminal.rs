//! The workload has a pty of its own: its operations on it affect neither PID 1 nor the shell on the console.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use whit_tests::attack;
use whit_tests::namespace::{Machine, Running};

const PROMPT: &str = "# ";

fn machine(script: &str) -> Machine {
    Machine::new().terminal().program("/rootfs/bin/attack", &attack()).script(script)
}

/// Types a line into the shell and returns its output. The end marker is computed, so that the echo does not match.
#[track_caller]
fn run(machine: &mut Running, line: &str) -> String {
    machine.type_text(&format!("{line}; echo did-$((40 + 2))\n"));
    let shown = machine.wait_for("did-42\n");
    machine.wait_for(PROMPT);
    shown
}

/// Waits for the machine's end without reading its console.
#[track_caller]
fn ends_unread(machine: &Running, limit: Duration) {
    let deadline = Instant::now() + limit;
    while Path::new(&format!("/proc/{}", machine.init())).exists() {
        assert!(Instant::now() < deadline, "no end in {limit:?}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_user_owns_the_pty_and_root_the_console() {
    let script = "tty; stat -c 'terminal %u %a' $(tty); stat -c 'console %u' /dev/console; echo by name >/dev/stdout";
    let finished = machine(script).command_line("whit.user=33:44").run();
    finished.powered_off_saying(&["/dev/pts/0", "terminal 33 620", "console 0", "by name", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn input_reaches_the_workload_through_the_line_discipline_of_the_pty() {
    let mut machine = machine("echo up; read line; stty -echo; echo got $line; read line; echo got $line").spawn();
    machine.wait_for("up\n");
    machine.type_text("wong\x7f\x7f\x7frong\n");
    machine.wait_for("got wrong\n");
    machine.type_text("hidden\n");
    let shown = machine.wait_for("got hidden\n");
    assert!(!shown.contains("hidden"), "echoed twice: {shown}");
    machine.finish().powered_off_saying(&["whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_pty_follows_the_size_of_the_console() {
    let script = "trap 'echo resized' WINCH; stty size; while :; do read line && stty size; done"; // The signal ends a read.
    let prepared = machine(script).prepare();
    prepared.resize(20, 40);
    let mut machine = prepared.start();
    machine.wait_for("20 40\n");
    machine.resize(33, 101);
    // PID 1 compares the sizes when it wakes up: at input or output.
    machine.type_text("\n");
    machine.wait_for("resized\n");
    machine.wait_for("33 101\n");
    machine.type_text("\n");
    let shown = machine.wait_for("33 101\n");
    assert!(!shown.contains("resized"), "{shown}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_size_set_by_the_workload_stays() {
    // As resize(1) does on a serial console, which has no size.
    let mut machine = machine("stty rows 7 cols 8; echo up; while read line; do stty size; done").spawn();
    machine.wait_for("up\n");
    for _ in 0..2 {
        machine.type_text("\n");
        machine.wait_for("7 8\n");
    }
    machine.resize(9, 10);
    machine.type_text("\n");
    machine.wait_for("9 10\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_pty_has_the_encoding_of_the_console() {
    for is_utf8 in [false, true] {
        let prepared =
            machine("echo up; read line; echo \"$line\" | wc -c").command_line("whit.on_exit=restart:1").prepare();
        if is_utf8 {
            prepared.set_utf8();
        }
        let mut machine = prepared.start();
        for _ in 0..2 {
            machine.wait_for("up\n");
            // One erase removes a letter of two bytes.
            machine.type_text("\u{e9}\x7fx\n");
            let length = if is_utf8 { "\n2\n" } else { "\n3\n" };
            machine.wait_for(length);
        }
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn no_program_inherits_a_raw_terminal() {
    let mut machine = machine("stty raw -echo; exit 3").shell().spawn();
    machine.wait_for("whit: exit 3\n");
    machine.wait_for(PROMPT);
    let shown = run(&mut machine, "stty -a");
    for mode in ["icanon", "echo", "opost", "onlcr", "icrnl", "isig"] {
        assert!(shown.split_whitespace().any(|word| word == mode), "{mode}: {shown}");
    }
    // Nor is it raw after a shell that left it so.
    machine.type_text("stty raw -echo; exit\n");
    machine.wait_for(PROMPT);
    assert!(run(&mut machine, "stty -a").contains(" icanon"));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_daemon_in_the_foreground_receives_no_input_of_the_shell() {
    for user in ["33", "0"] {
        let script = "/bin/attack daemon 1 foreground; exit 3";
        let mut machine = machine(script).command_line(&format!("whit.user={user}")).shell().spawn();
        machine.wait_for(PROMPT);
        machine.wait_for("attack: foreground\n");
        let mut shown = run(&mut machine, "echo secret");
        shown += &run(&mut machine, "ps");
        assert!(shown.contains("secret\n") && !shown.contains("heard"), "{shown}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn input_that_a_daemon_injects_stays_in_its_pty() {
    let script = "/bin/attack sti 'echo one-$((1)) '; /bin/attack daemon 1 sti 'echo two-$((2))'; exit 3";
    let mut machine = machine(script).shell().spawn();
    machine.wait_for(PROMPT);
    machine.wait_for("attack: typed");
    let shown = run(&mut machine, "sleep 1");
    assert!(!shown.contains("one-1") && !shown.contains("two-2"), "{shown}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_daemon_still_writes_to_the_console_beside_the_shell() {
    let mut machine = machine("( sleep 1; echo from the daemon; sleep 1000 ) & exit 3").shell().spawn();
    machine.wait_for(PROMPT);
    machine.wait_for("from the daemon\n");
    run(&mut machine, "echo and the shell");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn every_start_has_a_new_pty() {
    let script = "stty -a | grep -o '[ -]icanon'; stty raw; echo ran; exit 3";
    let finished = machine(script).command_line("whit.on_exit=restart:2").run();
    assert_eq!(finished.console.matches(" icanon").count(), 3, "{}", finished.console);
    assert!(!finished.console.contains("-icanon"), "{}", finished.console);
    finished.powered_off_saying(&[
        "whit: exit 3",
        "whit: start 1 in 100 ms",
        "whit: start 2 in 200 ms",
        "whit: exit 3",
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_stopped_pty_does_not_delay_the_end() {
    for stop in ["exec /bin/attack stop", "/bin/attack daemon 0 stop; sleep 0.1; exit 5"] {
        let started = Instant::now();
        let finished = machine(stop).command_line("whit.user=33 whit.grace=1").run();
        finished.powered_off_saying(&["whit: exit 5", "whit: power off"]);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_console_without_a_reader_does_not_delay_the_end() {
    // More than the buffers of console, pty and PID 1.
    let script = "( while :; do echo more and more; done ) & sleep 0.5; echo full >/full; exit 5";
    let machine = machine(script).command_line("whit.grace=1").spawn();
    ends_unread(&machine, Duration::from_secs(10));
    machine.finish();
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_end_of_a_long_output_precedes_the_exit_code() {
    let finished = machine("seq 1 30000; exit 4").run();
    let numbers = (1..=30000).map(|number| number.to_string());
    let shown = finished.console.lines().filter(|line| line.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(shown.eq(numbers), "numbers are missing or changed");
    finished.powered_off_saying(&["30000", "whit: exit 4"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_ptys_the_shell_starts_after_the_last_process() {
    // The file system on /dev/pts is not a devpts.
    let script =
        "tty; ( trap '' TERM HUP; sleep 1000 ) & stty intr a erase b; /bin/attack sti 'echo one-$((1))\n'; exit 3";
    let mut machine = machine(script).command_line("whit.user=33").mounted("/dev/pts").shell().spawn();
    let before = machine.wait_for(PROMPT);
    assert!(before.contains("/dev/console\n") || before.contains("/dev/pts/"), "{before}");
    assert_eq!(before.matches("whit: no ptys: ").count(), 1, "{before}");
    let shown = run(&mut machine, "ps | grep -c '[s]leep 1000'");
    assert!(shown.contains("\n0\n"), "{shown}");
    // Its typed input is flushed, and the control characters are the defaults again: "run" types both that it had chosen.
    assert!(!(before + &shown).contains("one-1"), "{shown}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_reader_that_pauses_for_a_second_loses_no_output() {
    let script = "i=0; while [ $i -lt 400 ]; do i=$((i + 1)); echo line $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done; exit 3";
    let machine = machine(script).spawn();
    sleep(Duration::from_secs(1)); // The reader's pause is what is tested.
    let console = machine.finish().console;
    assert_eq!(console.matches("line ").count(), 400, "{console}");
    assert!(console.contains("\nwhit: exit 3"), "{console}");
}
