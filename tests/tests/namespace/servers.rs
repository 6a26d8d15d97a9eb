//! Real DHCP servers of Debian beside dnsmasq, and a relay: the machine uses every option that they are configured to send.

use std::fs;
use std::path::Path;

use whit_tests::namespace::frames::{ACK, Frames, OFFER};
use whit_tests::namespace::{Lan, Machine, Running, Server, servers};

/// Prints the files that a program finds, and goes on running.
const SHOW: &str = "cat /etc/resolv.conf /run/whit/net.env; echo settled; exec sleep 1000";

/// Starts a machine at its cable, with the link up and no server yet.
fn machine() -> (Running, Lan) {
    let words = "whit.net.timeout=30 whit.tmpfs=/run/whit";
    let machine = Machine::new().directory("/rootfs/etc").script(SHOW).command_line(words).prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let mut machine = machine.start();
    machine.wait_for(": link up\n");
    (machine, lan)
}

/// Writes the first OFFER and ACK, from the IPv4 header on, as golden packets to `$WHIT_GOLDEN/NAME-offer.bin` and `-ack.bin`.
fn keep_golden(name: &str, frames: &mut Frames) {
    let Some(folder) = std::env::var_os("WHIT_GOLDEN") else { return };
    for (kind, suffix) in [(OFFER, "offer"), (ACK, "ack")] {
        let packet = frames.packet_of_server(kind);
        fs::write(Path::new(&folder).join(format!("{name}-{suffix}.bin")), packet).expect("a file");
    }
}

/// Asserts that the machine gets everything that all the servers are configured to send; returns the address. Golden packets are
/// written under the name `golden`.
#[track_caller]
fn assert_all_options(golden: Option<&str>, start: impl FnOnce(&Lan) -> Server) -> (Running, Lan, Server, String) {
    let (mut machine, lan) = machine();
    let mut frames = lan.frames();
    let server = start(&lan);
    machine.wait_for("whit: eth0 10.55.0.");
    let address = format!("10.55.0.{}", machine.wait_for("/24, "));
    machine.wait_for("gateway 10.55.0.254, DNS 10.55.0.2 10.55.0.3, lease 3600 s from 10.55.0.1\n");
    machine.wait_for("whit: eth0 route 10.60.0.0/16 via 10.55.0.7\n");
    let output = machine.wait_for("settled\n");
    assert!(output.contains("nameserver 10.55.0.2\nnameserver 10.55.0.3\nsearch a.test b.a.test\n"), "{output}");
    assert!(output.contains(&format!("ADDRESS={address}\nPREFIX=24\nSERVER=10.55.0.1\n")), "{output}");
    assert!(output.contains("NTP1=10.55.0.6\n"), "{output}");
    let routes = machine.ip(&["route"]);
    assert!(routes.contains("default via 10.55.0.254 dev eth0"), "{routes}");
    assert!(routes.contains("10.60.0.0/16 via 10.55.0.7 dev eth0"), "{routes}");
    if let Some(name) = golden {
        keep_golden(name, &mut frames);
    }
    (machine, lan, server, address)
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn udhcpd_gives_a_lease_with_all_options() {
    let (machine, _lan, _server, _) = assert_all_options(Some("udhcpd"), servers::udhcpd("opt mtu 1400\n"));
    assert!(machine.ip(&["link", "show", "dev", "eth0"]).contains(" mtu 1400 "));
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn dhcpd_gives_a_lease_with_all_options_and_renews_it() {
    // T1 comes from the server: three seconds.
    let more = "option interface-mtu 1400;\noption dhcp-renewal-time 3;\n";
    let (machine, _lan, mut server, address) = assert_all_options(Some("dhcpd"), servers::dhcpd(more));
    assert!(machine.ip(&["link", "show", "dev", "eth0"]).contains(" mtu 1400 "));
    for _ in 0..2 {
        server.wait_for(&format!("DHCPREQUEST for {address} "));
        server.wait_for(&format!("DHCPACK on {address} "));
    }
    assert!(!machine.console().contains("lost"), "{}", machine.console());
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn kea_gives_a_lease_with_all_options() {
    let (machine, _lan, _server, _) = assert_all_options(Some("kea"), servers::kea());
    let output = machine.console();
    assert!(output.contains("RENEWAL=1000\nREBINDING=2000\nEXPIRY=3600\n"), "{output}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn dnsmasq_gives_a_lease_with_and_without_its_ping() {
    let lines = [
        "dhcp-option=3,10.55.0.253",
        "dhcp-option=6,10.55.0.2,10.55.0.3",
        "dhcp-option=119,a.test,b.a.test",
        "dhcp-option=121,10.60.0.0/16,10.55.0.7,0.0.0.0/0,10.55.0.254",
        "dhcp-option=42,10.55.0.6",
    ];
    drop(assert_all_options(Some("dnsmasq"), |lan| lan.serve(&lines)));
    let broadcast = [&lines[..], &["dhcp-broadcast"]].concat();
    // It pings the address for three seconds before it offers it: the answer to the first DISCOVER is still accepted.
    let (_machine, _lan, mut server, _) = assert_all_options(None, |lan| lan.serve_with_ping(&broadcast));
    let log = server.wait_for("DHCPACK(lan0) ");
    assert_eq!(log.matches("DHCPREQUEST(lan0) ").count(), 1, "{log}");
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn a_relay_leads_to_a_server_in_another_network() {
    let relay = servers::relay("lan0", "up0", Lan::ADDRESS);
    let (mut machine, between) = machine();
    let far = Lan::new();
    far.connect_to(&between, "up0");
    between.ip(&["address", "delete", "10.55.0.1/24", "dev", "lan0"]);
    between.ip(&["address", "add", "10.56.0.1/24", "dev", "lan0"]);
    between.ip(&["address", "add", "10.55.0.2/24", "dev", "up0"]);
    between.ip(&["link", "set", "up0", "up"]);
    between.set("ipv4/ip_forward", "1");
    far.ip(&["route", "add", "10.56.0.0/24", "via", "10.55.0.2"]);
    // T1, in seconds: the renewal goes to the server itself, through the router.
    let mut server = far.serve(&["dhcp-range=10.56.0.50,10.56.0.99,255.255.255.0,1h", "dhcp-option=58,3"]);
    let mut relay = relay(&between);
    machine.wait_for("whit: eth0 10.56.0.");
    let address = format!("10.56.0.{}", machine.wait_for("/24, gateway 10.56.0.1, "));
    machine.wait_for("lease 3600 s from 10.55.0.1\n");
    machine.wait_for("settled\n");
    relay.wait_for("Forwarded BOOTREPLY");
    server.wait_for(&format!("DHCPACK(lan0) {address} "));
    server.wait_for(&format!("DHCPREQUEST(lan0) {address} "));
    server.wait_for(&format!("DHCPACK(lan0) {address} "));
    assert!(!machine.console().contains("lost"), "{}", machine.console());
}
