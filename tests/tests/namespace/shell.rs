//! The console's shell, on a terminal: it starts after the workload, ctrl-c works in it, and it ends the machine.

use std::path::Path;

use whit_tests::namespace::{End, Machine, Running};

const PROMPT: &str = "# ";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

fn with_shell() -> Machine {
    Machine::new().shell().terminal()
}

/// Types a line and waits until it has run. The shell computes the marker, so that the terminal's echo does not match.
#[track_caller]
fn runs(machine: &mut Running, line: &str) -> String {
    machine.type_text(&format!("{line}; echo did-$((40 + 2))\n"));
    let shown = machine.wait_for("did-42\n");
    machine.wait_for(PROMPT);
    shown
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_shell_with_job_control_follows_the_workload() {
    let mut machine = with_shell().script("echo up; exit 7").spawn();
    let before = machine.wait_for(PROMPT);
    let (up, exit) = (before.find("up\n"), before.find("whit: exit 7\n"));
    assert!(up.is_some() && up < exit, "{before}");
    assert!(!before.contains("can't access tty"), "{before}");
    let shown = runs(&mut machine, "tty; cat /proc/1/comm; ls -1 -d /init /rootfs/script");
    assert!(shown.ends_with("\n/dev/console\ninit\n/init\n/rootfs/script\n"), "{shown}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn ctrl_c_reaches_the_command_in_the_shell_and_not_the_shell() {
    let mut machine = with_shell().script("").spawn();
    machine.wait_for(PROMPT);
    let shell = runs(&mut machine, "echo pid-$$");
    for command in ["exec sleep 1000", "exec cat", "sleep 1000; echo not", "while :; do sleep 1000; done"] {
        // The command itself prints this: it is in the foreground then.
        machine.type_text(&format!("sh -c 'echo start\"\"ed; {command}'\n"));
        machine.wait_for("started\n");
        machine.type_text(CTRL_C);
        machine.wait_for(PROMPT);
        assert_eq!(runs(&mut machine, "echo pid-$$"), shell, "another shell after ctrl-c in {command}");
    }
    machine.type_text(CTRL_C);
    machine.wait_for(PROMPT);
    assert_eq!(runs(&mut machine, "echo pid-$$"), shell, "another shell after ctrl-c at the prompt");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn ctrl_c_interrupts_the_workload() {
    let mut machine = Machine::new().terminal().script("echo up; sleep 1000; echo not").spawn();
    machine.wait_for("up\n");
    machine.type_text(CTRL_C);
    // The terminal's echo of ctrl-c is on the same line.
    machine.finish().powered_off_saying(&["^Cwhit: exit 130", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn leaving_the_shell_starts_another() {
    let mut machine = with_shell().script("").spawn();
    machine.wait_for(PROMPT);
    let mut shells = vec![runs(&mut machine, "echo pid-$$")];
    for leave in ["exit\n", "exit 3\n", CTRL_D, "kill -9 $$\n"] {
        machine.type_text(leave);
        machine.wait_for(PROMPT);
        let shell = runs(&mut machine, "echo pid-$$");
        assert!(!shells.contains(&shell), "the same shell after {leave:?}: {shell}");
        shells.push(shell);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_shell_that_ends_at_once_is_started_once_a_second() {
    let shell = "#!/bin/busybox sh\nread seconds rest < /proc/uptime; echo \"at $seconds .\"\n";
    let machine = Machine::new().program("/bin/busybox", Path::new("/bin/busybox"));
    let mut machine = machine.file("/bin/sh", shell).mode("/bin/sh", 0o755).script("").spawn();
    let mut starts = Vec::new();
    for _ in 0..3 {
        let shown = machine.wait_for(" .\n");
        let (_, seconds) = shown.trim_end_matches(" .\n").rsplit_once("at ").expect("the time");
        starts.push(seconds.parse::<f64>().expect("seconds"));
    }
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] > 0.9), "{starts:?}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_shell_ends_the_machine() {
    for (command, end, word) in [
        ("poweroff", End::PowerOff, "whit: power off"),
        ("halt", End::PowerOff, "whit: halt"),
        ("reboot", End::Reboot, "whit: reboot"),
    ] {
        let mut machine = with_shell().script("").spawn();
        machine.wait_for(PROMPT);
        machine.type_text(&format!("{command}\n"));
        let finished = machine.finish();
        assert_eq!(finished.end, end, "{command}:\n{}", finished.console);
        // The line may follow a prompt, which comes when the command has signalled PID 1.
        assert!(finished.console.ends_with(&format!("{word}\n")), "{command}:\n{}", finished.console);
        let exits = finished.console.lines().filter(|line| *line == "whit: exit 0").count();
        assert_eq!(exits, 1, "{command}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_daemon_runs_on_beside_the_shell_and_ends_with_the_machine() {
    let daemon = "
        ( trap 'echo hung up' HUP; sleep 0.05
          exec setsid /bin/sh -c 'trap \"echo asked; exit\" TERM; echo daemon lives; sleep 1000 & wait' ) &";
    let mut machine = with_shell().script(daemon).spawn();
    // Before or after the prompt.
    machine.wait_for("daemon lives\n");
    let shown = runs(&mut machine, "ps | grep -c '[d]aemon lives'");
    assert!(shown.contains("\n1\n"), "{shown}");
    machine.type_text("poweroff\n");
    let finished = machine.finish();
    finished.powered_off_saying(&["whit: exit 0"]);
    // The line may follow a prompt.
    assert!(finished.console.contains("asked\nwhit: power off\n"), "{}", finished.console);
    assert!(!finished.says("hung up"), "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_a_workload_the_shell_starts() {
    for (machine, lines) in [
        (with_shell(), ["whit: no root: ", "whit: exit 125"]),
        (
            with_shell().busybox_root().command_line("entrypoint=/nowhere"),
            ["whit: /nowhere: not found", "whit: exit 127"],
        ),
        (
            with_shell().command_line("root=/dev/nowhere rootwait=0"),
            ["whit: root=/dev/nowhere: no such", "whit: exit 125"],
        ),
    ] {
        let mut machine = machine.spawn();
        for line in lines {
            machine.wait_for(line);
        }
        machine.wait_for(PROMPT);
        machine.type_text("poweroff\n");
        machine.finish().powered_off_saying(&[]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_workload_has_the_terminal_under_its_user() {
    let script = "echo $TERM; test -t 0 && echo typed; echo named >/dev/stdout; echo own >/dev/tty; stat -c %u $(tty)";
    let finished = Machine::new().terminal().command_line("whit.user=33:44").script(script).run();
    finished.powered_off_saying(&["xterm", "typed", "named", "own", "33", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn directories_made_in_the_initramfs_are_readable() {
    let mut machine = with_shell().without("/mnt").command_line("root=/dev/nowhere rootwait=0").spawn();
    machine.wait_for(PROMPT);
    let shown = runs(&mut machine, "for made in /mnt /proc /sys /dev/pts; do stat -c '%n %a' $made; done");
    assert!(shown.contains("/mnt 755\n/proc 555\n/sys 555\n/dev/pts 755\n"), "{shown}");
}
