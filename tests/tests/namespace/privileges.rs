//! The privileges of the workload: its capabilities, as the kernel shows them, and `no_new_privs`.

use std::fs;

use whit_tests::namespace::{Finished, Machine};
use whit_tests::{attack, init_of_features};

const SHOW: &str = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr '\\t' ' '";

/// The capabilities of linux/capability.h. A newer kernel has more, which these tests leave out.
const NAMED: u64 = (1 << 41) - 1;
/// docker's default set, as docker 20.10 shows it.
const DEFAULT: u64 = 0xa804_25fb;

fn machine(options: &str) -> Machine {
    Machine::new().command_line(options).script(SHOW)
}

/// Returns the capabilities of a machine's PID 1: the tests' own, without CAP_SYS_MODULE and CAP_SYS_TIME, which `enter` removes.
fn all() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    set(&status.replace('\t', " "), "CapBnd") & !(1 << 16 | 1 << 25)
}

/// Parses the set in a line of /proc/self/status.
#[track_caller]
fn set(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let set = line.and_then(|set| u64::from_str_radix(set, 16).ok());
    set.unwrap_or_else(|| panic!("no {name}:\n{text}")) & NAMED
}

/// Asserts the workload's bounding, permitted and effective sets, as far as these tests have the capabilities themselves.
#[track_caller]
fn has(finished: &Finished, bounding: u64, permitted: u64) {
    finished.powered_off_saying(&["whit: exit 0", "whit: power off"]);
    let (bounding, permitted) = (bounding & all(), permitted & all());
    for (name, expected) in
        [("CapInh", 0), ("CapPrm", permitted), ("CapEff", permitted), ("CapBnd", bounding), ("CapAmb", 0)]
    {
        assert_eq!(set(&finished.console, name), expected, "{name}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn root_has_every_capability_unless_they_are_bounded() {
    for (options, expected) in [
        ("", NAMED),
        ("whit.caps=all", NAMED),
        ("whit.caps=default", DEFAULT),
        ("whit.caps=none", 0),
        ("whit.caps=default,+NET_ADMIN,-MKNOD", (DEFAULT | 1 << 12) & !(1 << 27)),
        ("whit.caps=cap_net_raw,CHOWN", 1 << 13 | 1),
        // PID 1 cannot give a capability that it does not have.
        ("whit.caps=sys_time,chown", 1),
    ] {
        let finished = machine(options).run();
        has(&finished, expected, expected);
        assert!(finished.says("NoNewPrivs: 0"), "{options}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn another_user_has_no_capabilities_and_its_programs_keep_the_bounding_set() {
    has(&machine("whit.user=33:44").run(), NAMED, 0);
    has(&machine("whit.user=33:44 whit.caps=default").run(), DEFAULT, 0);
    // The user, the limit and the directory are set without any capability of the remaining set.
    has(&machine("whit.user=33:44 whit.caps=none whit.rlimit=nofile=100:200 whit.workdir=/made").run(), 0, 0);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_command_line_overrides_the_image() {
    let records = || machine("").file("/rootfs/etc/whit.conf", "caps all\n");
    has(&records().file("/whit.conf", "caps default\nno_new_privs\n").run(), DEFAULT, DEFAULT);
    has(&records().file("/whit.conf", "caps default\n").command_line("whit.caps=kill").run(), 1 << 5, 1 << 5);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn with_an_unknown_capability_nothing_runs() {
    for (line, shown) in [
        ("caps default,NET_ADMN", "whit: caps default,NET_ADMN: EINVAL"),
        ("caps default none", "whit: caps default none: EINVAL"),
        ("caps ", "whit: caps : EINVAL"),
        ("caps", "whit: caps : EINVAL"),
    ] {
        for mode in ["", "whit.pid1=exec"] {
            let finished = machine(mode).file("/whit.conf", &format!("{line}\n")).run();
            finished.powered_off_saying(&[shown, "whit: exit 125", "whit: power off"]);
            assert!(!finished.console.contains("CapBnd"), "{}", finished.console);
        }
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_init_of_the_image_is_bounded_too() {
    let script = format!("echo pid $$; {SHOW}; reboot -f");
    let machine = |options: &str| Machine::new().command_line(options).command_line("whit.pid1=exec").script(&script);
    for (options, expected, no_new_privs) in [
        ("", NAMED, 0),
        ("whit.caps=default,sys_boot", DEFAULT | 1 << 22, 0),
        ("whit.caps=sys_boot whit.no_new_privs", 1 << 22, 1),
    ] {
        let finished = machine(options).run();
        assert!(finished.says("pid 1"), "{}", finished.console);
        for name in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(set(&finished.console, name), expected & all(), "{name}:\n{}", finished.console);
        }
        assert!(finished.says(&format!("NoNewPrivs: {no_new_privs}")), "{}", finished.console);
    }
    // When PID 1 cannot execute the image's init, it still ends the machine.
    let without =
        Machine::new().directory("/rootfs/bin").command_line("whit.pid1=exec whit.caps=none init=/no/init").run();
    without.powered_off_saying(&["whit: /no/init: not found (ENOENT)", "whit: exit 127", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_setuid_program_gains_nothing_without_new_privileges() {
    // On a file system whose mount does not ignore the bit.
    let script = format!(
        "mount -t tmpfs own /own && cp /bin/attack /own/ && chmod 4755 /own/attack
        {SHOW}; su -s /bin/sh -c '/own/attack effective' web; exit 0"
    );
    let machine = |options: &str| {
        let passwd = "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n";
        let machine = Machine::new().file("/rootfs/etc/passwd", passwd).directory("/rootfs/own");
        machine.program("/rootfs/bin/attack", &attack()).command_line(options).script(&script)
    };
    machine("").run().powered_off_saying(&["NoNewPrivs: 0", "attack: is root", "whit: exit 0"]);
    let bounded = machine("whit.no_new_privs").run();
    bounded.powered_off_saying(&["NoNewPrivs: 1", "attack: is not root", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn every_start_is_bounded_and_the_shell_is_not() {
    let machine = machine("whit.caps=default whit.no_new_privs whit.on_exit=restart:1").terminal().shell();
    let mut machine = machine.spawn();
    for _ in 0..2 {
        machine.wait_for("CapBnd: 00000000a80425fb");
        machine.wait_for("NoNewPrivs: 1");
    }
    machine.wait_for("# ");
    machine.type_text("grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status\n");
    machine.wait_for("NoNewPrivs:\t0\n");
    machine.wait_for("CapEff:\t");
    let shown = format!("CapEff: {}", machine.wait_for("\n"));
    assert_eq!(set(&shown, "CapEff"), all());
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_init_without_the_feature_starts_no_workload_that_should_be_bounded() {
    let machine = |line: &str| Machine::new().program("/init", &init_of_features("rootfs")).file("/whit.conf", line);
    for line in ["caps default", "caps ", "no_new_privs"] {
        let finished = machine(line).script(SHOW).run();
        let name = line.split(' ').next().expect("a name");
        finished.powered_off_saying(&[&format!("whit: /whit.conf:1: not in this init: {name}"), "whit: exit 125"]);
        assert!(!finished.console.contains("CapBnd"), "{}", finished.console);
    }
    machine("").script(SHOW).run().powered_off_saying(&["NoNewPrivs: 0", "whit: exit 0"]);
}
