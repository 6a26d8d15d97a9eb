//! The console cannot stop PID 1.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use whit_tests::namespace::{Machine, Running};

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
fn a_console_that_nobody_reads_delays_no_end() {
    // More than the console, the terminal and PID 1 hold.
    let script = "( while :; do echo more and more; done ) & sleep 0.5; echo full >/full; exit 5";
    let machine = Machine::new().terminal().script(script).command_line("whit.grace=1").spawn();
    ends_unread(&machine, Duration::from_secs(10));
    machine.finish();
}
