//! PID 1 receives signals whatever descriptors it can open.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use whit_tests::attack;
use whit_tests::namespace::{Machine, Running};

/// Returns the clock ticks that PID 1 has used.
fn ticks(machine: &Running) -> u64 {
    let stat = machine.of_init("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("the name's end");
    rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn with_a_low_limit_of_descriptors_pid_1_receives_signals_and_is_idle() {
    let script = "/bin/attack limit; echo up; exec sleep 1000";
    let mut machine = Machine::new().program("/rootfs/bin/attack", &attack()).script(script).spawn();
    machine.wait_for("attack: limited\n");
    machine.wait_for("up\n");
    machine.signal(Signal::CHILD); // PID 1 wakes up and waits again.
    let before = ticks(&machine);
    sleep(Duration::from_secs(1));
    let used = ticks(&machine) - before;
    assert!(used < 20, "{used} ticks in a second");
    machine.signal(Signal::TERM);
    machine.finish().powered_off_saying(&["whit: exit 143", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_signalfd_uevents_or_poll_pid_1_can_be_ended() {
    for (call, errno) in [("signalfd4", "ENOSYS"), ("socket", "EMFILE"), ("poll", "EINVAL")] {
        let machine = Machine::new().script("echo up; exec sleep 1000").prepare();
        let strace = machine.strace(&["-e", &format!("inject={call}:error={errno}")]);
        let mut machine = machine.start();
        if call != "poll" {
            machine.wait_for(&format!("whit: signals or device events: {errno}\n"));
        }
        machine.wait_for("up\n");
        machine.signal(Signal::TERM);
        machine.finish().powered_off_saying(&["whit: exit 143", "whit: power off"]);
        assert!(strace.finish().contains("(INJECTED)"), "{call}");
    }
}
