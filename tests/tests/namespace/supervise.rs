//! Supervision of the workload: orphans and daemons, signals, and the orderly end.

use std::io::ErrorKind;
use std::time::Instant;

use rustix::process::Signal;
use whit_tests::namespace::{End, Lan, Machine, Running};

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn orphans_are_reaped_while_the_workload_runs() {
    // Each parent ends before its child does: PID 1 adopts the child.
    let script = "
        for number in $(seq 200); do ( : <&- & ) ; done
        echo forked
        while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done
        echo none is left; ls -d /proc/[0-9]* | wc -l";
    Machine::new().script(script).run().powered_off_saying(&["forked", "none is left", "whit: exit 0"]);
}

/// A daemon that leaves the session of its parent only after the parent has ended.
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
fn a_workload_that_fails_ends_its_daemons() {
    let script = "( trap 'echo caught TERM; exit' TERM; sleep 1000 & echo up >/ready; wait ) &
        until test -e /ready; do :; done; exit 3";
    let finished = Machine::new().script(script).run();
    finished.powered_off_saying(&["whit: exit 3", "caught TERM", "whit: power off"]);
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
        // Not read: a signal that comes right before it would be handled after it.
        let script = format!("trap 'echo caught {name}; exit 5' {name}; sleep 1000 & echo up; wait");
        let mut machine = Machine::new().script(&script).spawn();
        machine.wait_for("up\n");
        machine.signal(signal);
        machine.finish().powered_off_saying(&[&format!("caught {name}"), "whit: exit 5"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_workload_without_a_handler_dies_of_the_signal() {
    let mut machine = Machine::new().script("echo up; exec sleep 1000").spawn();
    machine.wait_for("up\n");
    machine.signal(Signal::TERM);
    machine.finish().powered_off_saying(&["whit: exit 143", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_stopped_workload_goes_on() {
    // ctrl-z: in a container it would not stop.
    let script = "echo up; kill -TSTP $$; echo went on";
    Machine::new().terminal().script(script).run().powered_off_saying(&["up", "went on", "whit: exit 0"]);
}

/// Returns a script that starts a daemon with these signal handlers and ends when the daemon is ready: its child has the shell's handlers
/// until it is a program of its own, and would lose a signal.
fn daemon(on_signals: &str) -> String {
    format!(
        "( {on_signals} sleep 1000 & until read -r name </proc/$!/comm && test $name = sleep; do :; done; echo up >/ready
        while :; do wait; done ) &
        until test -e /ready; do :; done"
    )
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn daemons_get_the_stop_signal() {
    // Not QUIT: a shell ignores it in its background processes, and an ignored signal cannot be trapped.
    for (command_line, name) in [
        ("", "TERM"),
        ("whit.stopsignal=SIGHUP", "HUP"),
        ("whit.stopsignal=10", "USR1"),
        ("whit.stopsignal=SIGRTMIN+3", "37"),
        ("whit.grace=1000", "TERM"),
    ] {
        let script = daemon(&format!("trap 'echo caught {name}; exit' {name};"));
        let mut machine = Machine::new().command_line(command_line).script(&script).spawn();
        machine.wait_for("its daemons run on\n");
        machine.signal(Signal::USR2);
        machine.finish().powered_off_saying(&[&format!("caught {name}"), "whit: exit 0", "whit: power off"]);
    }
}

/// A program that starts a child, makes it the leader of a process group, joins that, and says so.
#[rustfmt::skip]
const LEAVES_ITS_GROUP: [u8; 64 + 6] = [
    0xb8, 57, 0, 0, 0, 0x0f, 0x05,      // fork()
    0x85, 0xc0, 0x74, 44,               // test %eax, %eax; jz pause
    0x89, 0xc7, 0x89, 0xc6,             // mov %eax, %edi; mov %eax, %esi
    0xb8, 109, 0, 0, 0, 0x0f, 0x05,     // setpgid(child, child)
    0x31, 0xff,                         // xor %edi, %edi
    0xb8, 109, 0, 0, 0, 0x0f, 0x05,     // setpgid(0, child)
    0xbf, 1, 0, 0, 0,                   // mov $1, %edi
    0x48, 0x8d, 0x35, 21, 0, 0, 0,      // lea 21(%rip), %rsi
    0xba, 6, 0, 0, 0,                   // mov $6, %edx
    0xb8, 1, 0, 0, 0, 0x0f, 0x05,       // write(1, "moved\n", 6)
    0xb8, 34, 0, 0, 0, 0x0f, 0x05,      // pause()
    0xeb, 0xf7,                         // jmp pause
    b'm', b'o', b'v', b'e', b'd', b'\n',
];

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_workload_that_left_its_process_group_gets_signals() {
    let program = xtask::elf::program(&LEAVES_ITS_GROUP);
    let mut machine = Machine::new()
        .bytes("/rootfs/moves", &program)
        .mode("/rootfs/moves", 0o755)
        .command_line("entrypoint=/moves whit.grace=1000")
        .spawn();
    machine.wait_for("moved\n");
    machine.signal(Signal::TERM);
    machine.finish().powered_off_saying(&["whit: exit 143", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn daemons_that_do_not_end_are_killed_after_the_grace_period() {
    let script = daemon("trap '' TERM;");
    let mut machine = Machine::new().command_line("whit.grace=1").script(&script).spawn();
    machine.wait_for("its daemons run on\n");
    let sent = Instant::now();
    machine.signal(Signal::USR2);
    machine.finish().powered_off_saying(&["whit: exit 0", "whit: power off"]);
    let took = sent.elapsed();
    assert!((1.0..10.0).contains(&took.as_secs_f64()), "{took:?}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn signals_of_busyboxs_init_end_the_machine() {
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
fn signals_of_systemd_end_the_machine() {
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
fn a_machine_that_waits_for_its_root_or_network_can_be_ended() {
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
fn on_exit_decides_what_follows_the_workload() {
    // The parent of a namespace cannot distinguish a halt from a power-off.
    for (choice, end, word) in [
        ("poweroff", End::PowerOff, "whit: power off"),
        ("reboot", End::Reboot, "whit: reboot"),
        ("halt", End::PowerOff, "whit: halt"),
        // No kernel is loaded.
        ("kexec", End::Reboot, "whit: refused: reboot"),
        ("shell", End::PowerOff, "whit: power off"),
    ] {
        let finished = Machine::new().command_line(&format!("whit.on_exit={choice}")).script("exit 3").run();
        assert_eq!(finished.end, end, "{choice}:\n{}", finished.console);
        assert!(finished.says("whit: exit 3") && finished.says(word), "{choice}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_workload_is_restarted_up_to_the_limit() {
    let script = "echo ran $$; (trap '' TERM HUP; sleep 1000) & exit 3";
    let finished = Machine::new().command_line("whit.on_exit=restart:2").script(script).run();
    let words = ["whit: exit 3", "whit: start 1 in 100 ms", "whit: exit 3", "whit: start 2 in 200 ms", "whit: exit 3"];
    finished.powered_off_saying(&words);
    assert_eq!(finished.console.matches("ran ").count(), 3, "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_machine_that_waits_for_the_next_start_can_be_ended() {
    let mut machine = Machine::new().command_line("whit.on_exit=restart").script("exit 1").spawn();
    machine.wait_for("whit: start 3 in 400 ms\n");
    machine.signal(Signal::USR2);
    machine.finish().powered_off_saying(&["whit: power off"]);
}

/// Returns the memory of PID 1 in KiB, now and at its peak, and the numbers of its threads and open descriptors.
fn footprint(machine: &Running) -> [usize; 4] {
    let status = machine.of_init("status");
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of status");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    };
    [number("VmRSS:"), number("VmHWM:"), number("Threads:"), machine.descriptors_of_init().len()]
}

/// A workload that leaves orphans and then counts signals. It prints the count on request, and ends with the last signal.
const SOAKED: &str = "
    test -p /fifo || mkfifo /fifo; exec 3<>/fifo
    seen=0; trap 'seen=$((seen + 1))' USR1
    for number in $(seq 2000); do ( : <&- & ) ; done
    echo orphaned
    while test $seen -lt 200; do word=; read word <&3; test -z $word || echo seen $seen; done
    echo all seen; exit 3";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn pid_1_does_not_grow_with_orphans_signals_and_restarts() {
    let mut machine = Machine::new().command_line("whit.on_exit=restart").script(SOAKED).spawn();
    let mut first = None;
    for run in 1..=5 {
        machine.wait_for("orphaned\n");
        for sent in 1..200 {
            machine.signal(Signal::USR1);
            // The next signal is sent after the workload has counted this one: two pending signals would be one.
            loop {
                machine.write_for_init("/rootfs/fifo", "count\n");
                machine.wait_for("seen ");
                if machine.wait_for("\n").parse() == Ok(sent) {
                    break;
                }
            }
        }
        machine.signal(Signal::USR1);
        // A signal that comes right before the shell reads is handled after the read; one that comes earlier ends the shell
        // without it.
        if let Err(error) = machine.try_write_for_init("/rootfs/fifo", "count\n") {
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
fn stopped_processes_do_not_keep_the_machine() {
    // A stopped job, and the stopped workload itself: neither receives SIGTERM.
    for script in [
        "sleep 1000 & kill -STOP $!; echo stopped; exit 3",
        "( until grep -q 'State:.T' /proc/$$/status; do :; done; echo stopped; kill -38 1 ) & kill -STOP $$",
    ] {
        let finished = Machine::new().command_line("whit.grace=1").script(script).run();
        finished.powered_off_saying(&["stopped", "whit: power off"]);
    }
}
