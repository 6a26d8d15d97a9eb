//! A boot that fails on a machine without a person at its console.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use whit_tests::namespace::{End, Machine};

const PROMPT: &str = "# ";

/// Returns a machine with a shell whose root does not exist.
fn failing(words: &str) -> Machine {
    Machine::new().shell().terminal().command_line("root=/dev/nowhere rootwait=0 whit.net=off").command_line(words)
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn on_fail_decides_what_follows_a_failed_boot_and_else_on_exit() {
    for (words, end) in [
        ("whit.on_fail=poweroff", End::PowerOff),
        ("whit.on_fail=reboot", End::Reboot),
        ("whit.on_fail=reboot whit.on_exit=poweroff", End::Reboot),
        ("whit.on_exit=poweroff", End::PowerOff),
        ("whit.on_exit=reboot", End::Reboot),
        ("whit.shell=none", End::PowerOff),
        ("whit.shell=none whit.on_fail=shell", End::PowerOff),
        ("whit.on_fail=poweroff panic=0", End::PowerOff),
        ("whit.on_fail=poweroff panic=-1", End::PowerOff),
    ] {
        let finished = failing(words).run();
        assert_eq!(finished.end, end, "{words}:\n{}", finished.console);
        assert!(finished.says("whit: exit 125"), "{words}:\n{}", finished.console);
        assert!(
            !finished.console.contains(PROMPT) && !finished.console.contains("panic"),
            "{words}:\n{}",
            finished.console
        );
    }
}

/// An init that cannot verify a root does not mount it either.
#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_root_that_is_to_be_verified_is_never_mounted_without() {
    for words in ["roothash=00", "roothash=", "root=/dev/vda roothash="] {
        let finished = Machine::new().script("echo ran").command_line(words).run();
        finished
            .powered_off_saying(&["whit: roothash=: needs the init fleet, and a root= on a device", "whit: exit 125"]);
        assert!(!finished.says("ran"), "{words}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_shell_follows_a_failed_boot_by_default() {
    for words in ["", "whit.on_exit=poweroff whit.on_fail=shell", "whit.on_exit=restart", "panic=600"] {
        let mut machine = failing(words).spawn();
        machine.wait_for(PROMPT);
        machine.type_text("poweroff\n");
        // The line of the power-off may follow a prompt.
        machine.finish().powered_off_saying(&["whit: exit 125"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn no_shell_follows_a_workload_with_shell_none() {
    let finished =
        Machine::new().shell().terminal().command_line("whit.shell=none whit.net=off").script("exit 3").run();
    finished.powered_off_saying(&["whit: exit 3", "whit: power off"]);
    assert!(!finished.console.contains(PROMPT), "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_failed_boot_ends_after_the_delay_of_panic() {
    let mut machine = failing("whit.on_fail=reboot panic=2").spawn();
    machine.wait_for("whit: exit 125");
    let failed = Instant::now();
    assert_eq!(machine.finish().end, End::Reboot);
    assert!(failed.elapsed() > Duration::from_millis(1900), "{:?}", failed.elapsed());
    // A request ends it earlier.
    let mut machine = failing("whit.on_fail=reboot panic=600").spawn();
    machine.wait_for("whit: exit 125");
    machine.signal(Signal::USR2);
    machine.finish().powered_off_saying(&["whit: power off"]);
}
