//! The life of the workload: orphans and daemons, signals, the order of the end.

use std::io::ErrorKind;
use std::time::Instant;

use rustix::process::Signal;
use whit_tests::namespace::{End, Lan, Machine, Running};

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn orphans_are_reaped_while_the_workload_runs() {
    // Each parent ends before its child does: the child becomes PID 1's.
    let script = "
        for number in $(seq 200); do ( : <&- & ) ; done
        echo forked
        while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done
        echo none is left; ls -d /proc/[0-9]* | wc -l";
    Machine::new().script(script).run().powered_off_saying(&["forked", "none is left", "whit: exit 0"]);
}

/// A daemon that is slow to leave the session of its parent, and the parent that has long ended then.
const SLOW_DAEMON: &str = "
    ( trap 'echo hung up' HUP; sleep 0.05; exec setsid /bin/sh -c 'echo daemon lives; read line </fifo; echo daemon ends' ) &
    mkfifo /fifo";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_daemon_that_is_slow_to_setsid_keeps_the_machine() {
    for terminal in [false, true] {
        let machine = Machine::new().script(SLOW_DAEMON);
        let mut machine = if terminal { machine.terminal() } else { machine }.spawn();
        machine.wait_for("whit: the entrypoint ended, its daemons run on\n");
        machine.wait_for("daemon lives\n");
        machine.write_for_init("/rootfs/fifo", "end\n");
        let finished = machine.finish();
        finished.powered_off_saying(&["daemon lives", "daemon ends", "whit: exit 0", "whit: power off"]);
        assert!(!finished.says("hung up"), "{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_workload_that_fails_takes_its_daemons_with_it() {
    let script = "( trap 'echo asked; exit' TERM; mkfifo /fifo; echo up >/ready; read line <>/fifo ) &
        until test -e /ready; do :; done; exit 3";
    let finished = Machine::new().script(script).run();
    finished.powered_off_saying(&["whit: exit 3", "asked", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn signals_to_pid_1_reach_the_workload() {
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::TERM, "TERM"),
        (Signal::WINCH, "WINCH"),
    ] {
        let script = format!("mkfifo /fifo; trap 'echo caught {name}; exit 5' {name}; echo up; read line <>/fifo");
        let mut machine = Machine::new().script(&script).spawn();
        machine.wait_for("up\n");
        machine.signal(signal);
        machine.finish().powered_off_saying(&[&format!("caught {name}"), "whit: exit 5"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_workload_that_does_not_want_a_signal_dies_of_it() {
    let mut machine = Machine::new().script("echo up; exec sleep 1000").spawn();
    machine.wait_for("up\n");
    machine.signal(Signal::TERM);
    machine.finish().powered_off_saying(&["whit: exit 143", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_stopped_workload_goes_on() {
    // ctrl-z: in a container nothing would have stopped.
    let script = "echo up; kill -TSTP $$; echo went on";
    Machine::new().terminal().script(script).run().powered_off_saying(&["up", "went on", "whit: exit 0"]);
}

/// A daemon that says which signals ask it to end, and its parent, which ends when it is ready.
fn daemon(on_signals: &str) -> String {
    format!(
        "( {on_signals} mkfifo /fifo; echo up >/ready; while :; do read line <>/fifo; done ) &
        until test -e /ready; do :; done"
    )
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn daemons_are_asked_to_end_by_the_stop_signal() {
    // Not QUIT: a shell has it ignored in what it starts in the background, and what was ignored cannot be trapped.
    for (command_line, name) in [
        ("", "TERM"),
        ("whit.stopsignal=SIGHUP", "HUP"),
        ("whit.stopsignal=10", "USR1"),
        ("whit.stopsignal=SIGRTMIN+3", "37"),
        ("whit.grace=1000", "TERM"),
    ] {
        let script = daemon(&format!("trap 'echo asked by {name}; exit' {name};"));
        let mut machine = Machine::new().command_line(command_line).script(&script).spawn();
        machine.wait_for("its daemons run on\n");
        machine.signal(Signal::USR2);
        machine.finish().powered_off_saying(&[&format!("asked by {name}"), "whit: exit 0", "whit: power off"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn daemons_that_do_not_end_are_killed_after_the_grace() {
    let script = daemon("trap '' TERM;");
    let mut machine = Machine::new().command_line("whit.grace=1").script(&script).spawn();
    machine.wait_for("its daemons run on\n");
    let asked = Instant::now();
    machine.signal(Signal::USR2);
    machine.finish().powered_off_saying(&["whit: exit 0", "whit: power off"]);
    let took = asked.elapsed();
    assert!((1.0..10.0).contains(&took.as_secs_f64()), "{took:?}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_machine_ends_as_pid_1_is_asked() {
    for (signal, end, word) in [
        (Signal::USR2, End::PowerOff, "whit: power off"),
        (Signal::USR1, End::PowerOff, "whit: halt"),
        (Signal::TERM, End::Reboot, "whit: reboot"),
        (Signal::INT, End::Reboot, "whit: reboot"),
    ] {
        let mut machine = Machine::new().script(&daemon("")).spawn();
        machine.wait_for("its daemons run on\n");
        machine.signal(signal);
        let finished = machine.finish();
        assert_eq!(finished.end, end, "{signal:?}:\n{}", finished.console);
        assert!(finished.says("whit: exit 0") && finished.says(word), "{signal:?}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_machine_ends_as_systemds_signals_ask() {
    // SIGRTMIN+3 to +6, also while the workload runs.
    for (signal, end, word) in [
        (37, End::PowerOff, "whit: halt"),
        (38, End::PowerOff, "whit: power off"),
        (39, End::Reboot, "whit: reboot"),
        (40, End::Reboot, "whit: reboot"),
    ] {
        let script = format!("trap 'exit 5' TERM; kill -{signal} 1; while :; do sleep 0.1; done");
        let finished = Machine::new().script(&script).run();
        assert_eq!(finished.end, end, "{signal}:\n{}", finished.console);
        assert!(finished.says("whit: exit 5") && finished.says(word), "{signal}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_machine_that_still_waits_can_be_ended() {
    for command_line in ["root=/dev/nowhere rootwait", "root=/dev/nowhere rootdelay=1000", "whit.net.timeout=1000"] {
        let machine = Machine::new().command_line(command_line).script("echo not").prepare();
        let lan = Lan::new();
        lan.plug(&machine, "eth0");
        let mut machine = machine.start();
        machine.wait_for(": link up\n");
        machine.signal(Signal::USR2);
        let finished = machine.finish();
        finished.powered_off_saying(&["whit: power off"]);
        assert!(!finished.says("not"), "{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn what_follows_the_workload_is_as_asked() {
    // A halt is a power-off to whoever waits for a namespace.
    for (choice, end, word) in [
        ("poweroff", End::PowerOff, "whit: power off"),
        ("reboot", End::Reboot, "whit: reboot"),
        ("halt", End::PowerOff, "whit: halt"),
        ("shell", End::PowerOff, "whit: power off"),
    ] {
        let finished = Machine::new().command_line(&format!("whit.on_exit={choice}")).script("exit 3").run();
        assert_eq!(finished.end, end, "{choice}:\n{}", finished.console);
        assert!(finished.says("whit: exit 3") && finished.says(word), "{choice}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_workload_is_started_again_as_often_as_asked() {
    let script = "echo ran $$; (trap '' TERM HUP; sleep 1000) & exit 3";
    let finished = Machine::new().command_line("whit.on_exit=restart:2").script(script).run();
    let words = ["whit: exit 3", "whit: start 1 in 100 ms", "whit: exit 3", "whit: start 2 in 200 ms", "whit: exit 3"];
    finished.powered_off_saying(&words);
    assert_eq!(finished.console.matches("ran ").count(), 3, "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_workload_that_waits_for_its_next_start_is_no_obstacle() {
    let mut machine = Machine::new().command_line("whit.on_exit=restart").script("exit 1").spawn();
    machine.wait_for("whit: start 3 in 400 ms\n");
    machine.signal(Signal::USR2);
    machine.finish().powered_off_saying(&["whit: power off"]);
}

/// How much of PID 1 is in memory and was at most, in KiB, its threads, and the descriptors that it has open.
fn footprint(machine: &Running) -> [usize; 4] {
    let status = machine.of_init("status");
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of status");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    };
    [number("VmRSS:"), number("VmHWM:"), number("Threads:"), machine.descriptors_of_init().len()]
}

/// A workload that leaves orphans and then counts signals; asked, it says how many, and it ends with the last.
const SOAKED: &str = "
    test -p /fifo || mkfifo /fifo; exec 3<>/fifo
    seen=0; trap 'seen=$((seen + 1))' USR1
    for number in $(seq 2000); do ( : <&- & ) ; done
    echo orphaned
    while test $seen -lt 200; do word=; read word <&3; test -z $word || echo seen $seen; done
    echo all seen; exit 3";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn ten_thousand_orphans_a_thousand_signals_and_five_runs_leave_pid_1_as_it_was() {
    let mut machine = Machine::new().command_line("whit.on_exit=restart").script(SOAKED).spawn();
    let mut first = None;
    for run in 1..=5 {
        machine.wait_for("orphaned\n");
        for sent in 1..200 {
            machine.signal(Signal::USR1);
            // The next one comes when this one was seen: two would be one.
            loop {
                machine.write_for_init("/rootfs/fifo", "asked\n");
                machine.wait_for("seen ");
                if machine.wait_for("\n").parse() == Ok(sent) {
                    break;
                }
            }
        }
        machine.signal(Signal::USR1);
        // A signal that comes right before the shell reads is handled after the read; one that comes earlier ends the shell
        // without it.
        if let Err(error) = machine.try_write_for_init("/rootfs/fifo", "asked\n") {
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
        machine.wait_for("all seen\n");
        machine.wait_for(&format!("whit: start {run} in "));
        let now = footprint(&machine);
        let [memory, peak, threads, open] = now;
        println!("run {run}: {memory} KiB in memory, {peak} KiB at the peak, {threads} thread, {open} descriptors");
        assert_eq!((*first.get_or_insert(now), threads), (now, 1), "{}", machine.console());
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn what_is_stopped_does_not_keep_the_machine() {
    // A job that somebody stopped, and the workload itself: neither hears SIGTERM.
    for script in [
        "sleep 1000 & kill -STOP $!; echo stopped; exit 3",
        "( until grep -q 'State:.T' /proc/$$/status; do :; done; echo stopped; kill -38 1 ) & kill -STOP $$",
    ] {
        let finished = Machine::new().command_line("whit.grace=1").script(script).run();
        finished.powered_off_saying(&["stopped", "whit: power off"]);
    }
}
