//! `ip=` as the kernel and dracut have it: several interfaces, several addresses, IPv6, mistakes.

use std::time::{Duration, Instant};

use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, OFFER};
use whit_tests::namespace::{Lan, Machine, Prepared, Running};

fn prepared(options: &str) -> Prepared {
    Machine::new()
        .directory("/rootfs/etc")
        .script("cat /etc/resolv.conf; hostname; echo settled; exec sleep 1000")
        .command_line(options)
        .prepare()
}

/// Starts a machine with two cables, both with a carrier.
fn with_two_cables(options: &str) -> (Running, Lan) {
    let machine = prepared(options);
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    lan.plug_without_carrier(&machine, "eth1");
    lan.carrier(1, true);
    (machine.start(), lan)
}

/// Returns the addresses of the machine, IPv6 included, and its routes.
fn shown(machine: &Running) -> String {
    machine.ip(&["address"]) + &machine.ip(&["route"]) + &machine.ip(&["-6", "route"])
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn each_interface_has_its_own_static_addresses() {
    let (mut machine, lan) = with_two_cables(
        "ip=10.55.0.5::10.55.0.1:24:node7:eth0:none:10.55.0.2 ip=10.55.1.5:::255.255.255.0::eth1:off \
         ip=10.66.0.5:::25::eth0:none ip=[2001:db8::5]::[2001:db8::1]:48::eth1:none:[2001:db8::53] \
         nameserver=2001:db8::54 nameserver=[2001:db8::55]",
    );
    let logged = machine.wait_for("settled\n");
    let servers = "# written by whit\nnameserver 2001:db8::54\nnameserver 2001:db8::55\nnameserver 10.55.0.2\n\
                   nameserver 2001:db8::53\nnode7\n";
    assert!(logged.contains(servers), "{logged}");
    let all = |machine: &Running| {
        let network = shown(machine);
        for expected in [
            "inet 10.55.0.5/24 brd 10.55.0.255 scope global eth0",
            "inet 10.66.0.5/25 brd 10.66.0.127 scope global eth0",
            "inet 10.55.1.5/24 brd 10.55.1.255 scope global eth1",
            "inet6 2001:db8::5/48 scope global",
            "default via 10.55.0.1 dev eth0",
            "default via 2001:db8::1 dev eth1",
        ] {
            assert!(network.contains(expected), "no {expected}: {network}");
        }
    };
    all(&machine);
    // The interfaces are down and up: all comes back.
    for name in ["eth0", "eth1"] {
        let _ = machine.ip(&["link", "set", name, "down"]);
        let _ = machine.ip(&["link", "set", name, "up"]);
        machine.wait_for(&format!("whit: {name} "));
        machine.wait_for(": link up\n");
        machine.wait_for(", static\n");
    }
    all(&machine);
    assert!(lan.frames().query_within(Duration::ZERO).is_none(), "a DHCP message");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn one_interface_without_a_server_does_not_hold_the_boot() {
    for (options, used, unused) in [
        ("ip=eth0:dhcp ip=eth1:dhcp", "eth1", ""),
        ("ip=eth1:dhcp", "eth1", "eth0"),
        ("ip=eth0:off ip=dhcp", "eth1", "eth0"),
    ] {
        let machine = prepared(&format!("whit.net.timeout=1000 {options}"));
        let lan = Lan::new();
        lan.plug(&machine, "eth0");
        lan.plug_without_carrier(&machine, "eth1");
        lan.carrier(1, true);
        let _server = lan.serve(&["dhcp-range=10.55.1.50,10.55.1.99,255.255.255.0,1h"]);
        let mut machine = machine.start();
        machine.wait_for(&format!("whit: {used} 10.55.1."));
        machine.wait_for("settled\n");
        if !unused.is_empty() {
            assert!(machine.ip(&["link", "show", "dev", unused]).contains("state DOWN"), "{options}");
        }
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_device_is_named_by_its_hardware_address_and_gets_mtu_and_address() {
    let mac = |machine: &Prepared, name: &str| {
        let path = format!("/sys/class/net/{name}/address");
        let network = format!("--net=/proc/{}/ns/net", machine.init());
        let script = format!("mount -t sysfs sysfs /sys; cat {path}");
        let output = std::process::Command::new("unshare")
            .args(["--mount", "nsenter", &network, "sh", "-c", &script])
            .output()
            .expect("apt-get install util-linux");
        String::from_utf8(output.stdout).expect("an address").trim().to_owned()
    };
    // The command line is written before the interfaces exist: their addresses are set.
    for wanted in ["52:54:00:aa:bb:02", "52-54-00-aa-bb-02"] {
        let machine = prepared(&format!("ip=10.55.1.5:::24::{wanted}:none:1400"));
        let lan = Lan::new();
        lan.plug(&machine, "eth0");
        lan.plug_without_carrier(&machine, "eth1");
        lan.carrier(1, true);
        let network = format!("--net=/proc/{}/ns/net", machine.init());
        let set = ["ip", "link", "set", "eth1", "address", "52:54:00:aa:bb:02"];
        assert!(std::process::Command::new("nsenter").arg(&network).args(set).status().expect("ip").success());
        assert_eq!(mac(&machine, "eth1"), "52:54:00:aa:bb:02");
        let mut machine = machine.start();
        machine.wait_for("whit: eth1 10.55.1.5/24, static\n");
        machine.wait_for("settled\n");
        assert!(machine.ip(&["link", "show", "dev", "eth1"]).contains(" mtu 1400 "));
        assert!(machine.ip(&["link", "show", "dev", "eth0"]).contains("state DOWN"));
    }
    let machine = prepared("ip=eth0:dhcp:1300:52:54:00:aa:bb:03");
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    for (kind, answer) in [(DISCOVER, OFFER), (whit_tests::namespace::frames::REQUEST, ACK)] {
        let query = frames.next(kind);
        assert_eq!(query.chaddr(), [0x52, 0x54, 0, 0xaa, 0xbb, 3]);
        frames.send(&Answer::new(&query, answer, [10, 55, 0, 77]).with(26, &[5, 0x78]).frame());
    }
    machine.wait_for("settled\n");
    let link = machine.ip(&["link", "show", "dev", "eth0"]);
    assert!(link.contains("52:54:00:aa:bb:03") && link.contains(" mtu 1300 "), "{link}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn nothing_is_asked_where_the_network_is_off_or_a_line_is_wrong() {
    for (options, logged) in [
        ("ip=eth0:off ip=eth1:none", ""),
        ("ip=:::::eth0:off", ""),
        ("ip=10.55.0.300::10.55.0.1:24::eth0:off", "whit: ip=10.55.0.300::10.55.0.1:24::eth0:off: 10.55.0.300 is not"),
        ("ip=10.55.0.5:::255.0.255.0::eth0:off", ": 255.0.255.0 is not understood, ignored\n"),
        ("ip=10.55.0.5::10.55.0.x:24::eth0:off", ": 10.55.0.x is not understood, ignored\n"),
        ("ip=10.55.0.5:::24::eth0:of", ": of is not understood, ignored\n"),
        ("ip=nonsense", "whit: ip=nonsense: nonsense is not understood, ignored\n"),
        ("bond=bond0:eth0,eth1 ip=off", "whit: command line:1: unknown option: bond\n"),
        ("bridge=br0:eth0 ip=off", "whit: command line:1: unknown option: bridge\n"),
    ] {
        let machine = prepared(&format!("whit.net.timeout=3 {options}"));
        let lan = Lan::new();
        lan.plug(&machine, "eth0");
        lan.plug_without_carrier(&machine, "eth1");
        lan.carrier(1, true);
        let mut frames = lan.frames();
        let mut machine = machine.start();
        let output = machine.wait_for("settled\n");
        assert!(logged.is_empty() || output.matches(logged).count() == 1, "{options}: {output}");
        assert!(frames.query_within(Duration::ZERO).is_none(), "{options}: a DHCP message");
        assert!(!shown(&machine).contains("inet 10."), "{options}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_device_that_is_not_there_is_waited_for_and_named() {
    let began = Instant::now();
    let machine = prepared("whit.net.timeout=7 ip=eth5:dhcp");
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let mut machine = machine.start();
    machine.wait_for("whit: network: no interface eth5\n");
    machine.wait_for("whit: network: no lease within 7 s; the boot continues, with retries\n");
    assert!(began.elapsed() > Duration::from_secs(6));
    machine.wait_for("settled\n");
    // It appears while the boot waits.
    let machine = prepared("whit.net.timeout=1000 ip=10.55.0.5:::24::late:none");
    let lan = Lan::new();
    let mut machine = machine.start();
    machine.wait_for("whit: root /rootfs on /mnt\n");
    lan.plug_into(&machine, "late");
    lan.carrier(0, true);
    machine.wait_for("whit: late 10.55.0.5/24, static\n");
    machine.wait_for("settled\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_interface_for_ipv6_alone_is_brought_up_without_dhcp() {
    let machine = prepared("whit.net.timeout=1000 ip=eth0:auto6");
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    lan.ip(&["address", "add", "fd55::1/64", "dev", "lan0", "nodad"]);
    let mut frames = lan.frames();
    let _router = lan.serve(&[
        "enable-ra",
        "dhcp-range=fd55::,ra-only",
        "dhcp-range=10.55.0.50,10.55.0.99,1h",
        "dhcp-option=option6:dns-server,[fd55::53]",
    ]);
    let mut machine = machine.start();
    let output = machine.wait_for("settled\n");
    assert!(output.contains("whit: eth0 fd55::"), "{output}");
    assert!(frames.query_within(Duration::ZERO).is_none(), "a DHCP message");
    // A static address of IPv6 alone.
    let machine = prepared("whit.net.timeout=1000 ip=[2001:db8::5]:::64:node7:eth0:none");
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let mut machine = machine.start();
    let output = machine.wait_for("settled\n");
    assert!(output.contains("whit: eth0 2001:db8::5\n"), "{output}");
}
