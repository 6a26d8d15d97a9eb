//! The init as PID 1, without its optional features.

use whit_tests::namespace::{Lan, Machine};
use whit_tests::{init_named, init_of_features, plain_init};
use xtask::init::Init;

/// Returns a machine with the feature `rootfs` only: in namespaces, all roots are in the initramfs.
fn machine() -> Machine {
    Machine::new().program("/init", &init_of_features("rootfs"))
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_init_of_a_plain_cargo_build_works() {
    let finished = Machine::new().program("/init", &plain_init()).script("echo pid $$; exit 3").run();
    finished.powered_off_saying(&["pid 2", "whit: exit 3"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_seed_init_gets_an_address_routes_and_dns_servers() {
    let script = "hostname; cat /etc/resolv.conf; ip route; ls /run/whit; echo settled; exec sleep 1000";
    let machine = Machine::new()
        .program("/init", &init_named(Init::Seed))
        .directory("/rootfs/etc")
        .directory("/rootfs/run")
        .command_line(
            "whit.on_exit=restart ip=192.0.2.1::192.0.2.254:255.255.255.0 BOOTIF=x whit.dhcp.arp=9 whit.net=wait6",
        )
        .script(script)
        .prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let options = ["121,10.60.0.0/16,10.55.0.7,0.0.0.0/0,10.55.0.9", "6,10.55.0.2", "119,a.test", "26,1400"];
    let _server = lan.serve(&options.map(|option| format!("dhcp-option={option}")).each_ref().map(String::as_str));
    let output = machine.start().wait_for("settled\n");
    for name in ["on_exit", "ip", "BOOTIF", "dhcp.arp", "net"] {
        assert!(output.contains(&format!("whit: command line:1: not in this init: {name}\n")), "{name}: {output}");
    }
    assert_eq!(output.matches("not in this init").count(), 5, "{output}");
    for line in [
        "whit: eth0 10.55.0.",
        "whit: eth0 route 10.60.0.0/16 via 10.55.0.7\n",
        "# written by whit\nnameserver 10.55.0.2\n",
        "default via 10.55.0.9 dev eth0",
        "ls: /run/whit: No such file or directory\n",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    assert!(!output.contains("search") && !output.contains("192.0.2.1"), "{output}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_small_init_runs_a_workload_and_its_children() {
    // The loopback interface stays down: IFF_UP would make its flags 0x9.
    let script = "
        echo pid $$ of $(cat /proc/1/comm) on $(hostname), PATH=$PATH
        grep -c ' / ' /proc/self/mounts
        echo lo $(cat /sys/class/net/lo/flags)
        (while [ -d /proc/$$ ]; do :; done; echo orphan) &
        exit 0";
    let finished = machine().file("/whit.conf", "hostname small\nworkdir /w\nenv PATH=/bin\n").script(script).run();
    finished.powered_off_saying(&["pid 2 of init on small, PATH=/bin", "1", "lo 0x8", "orphan", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn options_of_absent_features_are_reported() {
    let options = "ip=dhcp BOOTIF=x whit.net.timeout=1 whit.ntp=dhcp whit.notify=vsock:2:1 whit.shell=ttyS1 whit.timing nameserver=192.0.2.1";
    let machine = machine().command_line(options).file("/rootfs/etc/whit.conf", "dhcp.arp 1\ngrace 1\n");
    let finished = machine.script("echo up; ls /etc").run();
    let names = ["ip", "BOOTIF", "net.timeout", "ntp", "notify", "shell", "timing", "nameserver"];
    let mut lines = names.map(|name| format!("whit: command line:1: not in this init: {name}")).to_vec();
    lines.extend(["whit: /etc/whit.conf:1: not in this init: dhcp.arp", "up", "whit.conf"].map(str::to_owned));
    finished.powered_off_saying(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(finished.console.matches("not in this init").count(), names.len() + 1, "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_a_feature_that_its_workload_needs_nothing_runs() {
    for (name, line) in [
        ("overlay", "overlay tmpfs"),
        ("mount", "mount LABEL=data:/data"),
        ("tmpfs", "tmpfs /scratch"),
        ("sysctl", "sysctl net.ipv4.ip_forward=1"),
        ("rlimit", "rlimit nofile=10"),
        ("pid1", "pid1 exec"),
        ("init", "init /script"),
    ] {
        let finished = machine().file("/whit.conf", line).script("echo up").run();
        let message = format!("whit: /whit.conf:1: not in this init: {name}");
        finished.powered_off_saying(&[&message, "whit: exit 125"]);
        assert!(!finished.says("up"), "{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn dhcp_without_etc_logs_addresses() {
    let machine = Machine::new()
        .program("/init", &init_of_features("rootfs,dhcp"))
        .script("echo settled; exec sleep 1000")
        .prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let _server = lan.serve(&["dhcp-option=6,10.55.0.2"]);
    let output = machine.start().wait_for("settled\n");
    assert!(output.contains("whit: eth0 10.55.0."), "{output}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_absent_option_is_refused_with_a_dash_or_an_underscore() {
    for line in ["no-new-privs", "no_new_privs"] {
        let finished = machine().file("/whit.conf", line).script("echo up").run();
        assert!(!finished.says("up"), "{line}: {}", finished.console);
    }
}
