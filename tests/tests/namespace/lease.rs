//! The options of a lease beside the address, and its fate when the link or the server changes.

use whit_tests::namespace::{Lan, Machine, Running, Server};

/// Prints the files that a program finds, and goes on running.
const SHOW: &str = "hostname; cat /etc/resolv.conf; cat /run/whit/net.env; echo settled; exec sleep 1000";

fn machine() -> Machine {
    Machine::new()
        .directory("/rootfs/etc")
        .directory("/rootfs/run")
        .script(SHOW)
        .file("/whit.conf", "tmpfs /run/whit\n")
}

/// A DHCP server's address ranges for two cables.
const TWO_CABLES: [&str; 2] =
    ["dhcp-range=10.55.0.50,10.55.0.99,255.255.255.0,1h", "dhcp-range=10.55.1.50,10.55.1.99,255.255.255.0,1h"];

/// Starts a machine with one cable and a DHCP server.
fn served(lines: &[&str]) -> (Running, Lan, Server) {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let server = lan.serve(lines);
    (machine.start(), lan, server)
}

/// Returns the address that the machine logs.
#[track_caller]
fn logged_address(machine: &mut Running) -> String {
    machine.wait_for("whit: eth0 10.");
    format!("10.{}", machine.wait_for("/").trim_end_matches('/'))
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn all_options_of_a_lease_are_used() {
    let (mut machine, _lan, _server) = served(&[
        "dhcp-option=3,10.55.0.254",
        "dhcp-option=121,10.60.0.0/16,10.55.0.7,0.0.0.0/0,10.55.0.9",
        "dhcp-option=6,10.55.0.2,10.55.0.3,10.55.0.4,10.55.0.5",
        "dhcp-option=15,ignored.test",
        "dhcp-option=119,a.test,b.a.test",
        "dhcp-option=26,1400",
        "dhcp-option=42,10.55.0.6",
        "dhcp-option-force=12,node7.example.test",
    ]);
    let address = logged_address(&mut machine);
    let logged = machine.wait_for("settled\n");
    assert!(logged.contains("whit: eth0 route 10.60.0.0/16 via 10.55.0.7\n"), "{logged}");
    assert!(logged.contains("\nnode7\n"), "{logged}");
    let resolver =
        "# written by whit\nnameserver 10.55.0.2\nnameserver 10.55.0.3\nnameserver 10.55.0.4\nsearch a.test b.a.test\n";
    assert!(logged.contains(resolver), "{logged}");
    let facts = format!(
        "# written by whit\nADDRESS={address}\nPREFIX=24\nSERVER=10.55.0.1\nROUTER=10.55.0.9\nDNS1=10.55.0.2\n\
         DNS2=10.55.0.3\nDNS3=10.55.0.4\nNTP1=10.55.0.6\nRENEWAL=1800\nREBINDING=3150\nEXPIRY=3600\n"
    );
    assert!(logged.contains(&facts), "{logged}");
    let routes = machine.ip(&["route"]);
    assert!(routes.contains("default via 10.55.0.9 dev eth0"), "{routes}");
    assert!(routes.contains("10.60.0.0/16 via 10.55.0.7 dev eth0"), "{routes}");
    assert!(!routes.contains("10.55.0.254"), "RFC 3442: {routes}");
    let link = machine.ip(&["link", "show", "dev", "eth0"]);
    assert!(link.contains(" mtu 1400 "), "{link}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_mtu_that_the_card_refuses_is_logged_and_the_lease_kept() {
    let prepared = machine().prepare();
    let lan = Lan::new();
    // The MTU of a macvlan cannot exceed that of the card below it (drivers/net/macvlan.c, macvlan_change_mtu()).
    lan.ip(&["link", "add", "lan0", "type", "veth", "peer", "name", "low0"]);
    lan.ip(&["address", "add", "10.55.0.1/24", "dev", "lan0"]);
    lan.ip(&["link", "set", "low0", "up"]);
    lan.ip(&["link", "set", "lan0", "up"]);
    let init = prepared.init().to_string();
    lan.ip(&["link", "add", "link", "low0", "name", "eth0", "netns", &init, "type", "macvlan"]);
    let _server = lan.serve(&["dhcp-option=26,9000"]);
    let mut machine = prepared.start();
    machine.wait_for("whit: MTU of eth0: EINVAL\n");
    let address = logged_address(&mut machine);
    machine.wait_for("settled\n");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains(&format!("inet {address}/24 ")) && addresses.contains(" mtu 1500 "), "{addresses}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_address_without_a_subnet_reaches_its_router() {
    // As in Google's and Hetzner's clouds.
    let (mut machine, _lan, _server) = served(&[
        "dhcp-option=1,255.255.255.255",
        "dhcp-option=28",
        "dhcp-option=121,10.55.0.1/32,0.0.0.0,0.0.0.0/0,10.55.0.1",
    ]);
    machine.wait_for("settled\n");
    let routes = machine.ip(&["route"]);
    assert!(routes.contains("default via 10.55.0.1 dev eth0"), "{routes}");
    assert!(routes.contains("\n10.55.0.1 dev eth0 ") && routes.contains("scope link"), "{routes}");
    assert!(!machine.ip(&["route", "get", "10.55.0.1"]).contains("via"));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn rapid_commit_takes_two_messages() {
    let (mut machine, _lan, mut server) = served(&["dhcp-rapid-commit"]);
    let address = logged_address(&mut machine);
    let log = server.wait_for(&format!("DHCPACK(lan0) {address}"));
    assert!(log.contains("DHCPDISCOVER(lan0)") && !log.contains("DHCPOFFER") && !log.contains("DHCPREQUEST"), "{log}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn after_a_lost_carrier_the_lease_is_confirmed() {
    let (mut machine, lan, mut server) = served(&[]);
    let address = logged_address(&mut machine);
    machine.wait_for("settled\n");
    server.wait_for(&format!("DHCPACK(lan0) {address}"));
    lan.carrier(0, false);
    lan.carrier(0, true);
    let log = server.wait_for(&format!("DHCPACK(lan0) {address}"));
    assert!(log.contains(&format!("DHCPREQUEST(lan0) {address}")) && !log.contains("DHCPDISCOVER"), "{log}");
    machine.wait_for(": link up\n");
    assert_eq!(logged_address(&mut machine), address);
    machine.wait_for("\n");
    let routes = machine.ip(&["route"]);
    assert!(routes.contains("default via 10.55.0.1 dev eth0"), "{routes}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn after_a_move_to_another_network_the_machine_gets_a_new_address() {
    let (mut machine, lan, server) = served(&[]);
    let address = logged_address(&mut machine);
    machine.wait_for("settled\n");
    lan.carrier(0, false);
    drop(server);
    lan.ip(&["address", "add", "10.56.0.1/24", "dev", "lan0"]);
    lan.ip(&["address", "delete", "10.55.0.1/24", "dev", "lan0"]);
    let _server = lan.serve(&["dhcp-range=10.56.0.50,10.56.0.99,255.255.255.0,1h"]);
    lan.carrier(0, true);
    machine.wait_for("whit: eth0: the lease is lost\n");
    let other = logged_address(&mut machine);
    machine.wait_for("\n");
    assert!(other.starts_with("10.56.0."), "{other}");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains(&other) && !addresses.contains(&address), "{addresses}");
    let routes = machine.ip(&["route"]);
    assert!(routes.contains("default via 10.56.0.1 dev eth0") && !routes.contains("10.55."), "{routes}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn with_net_require_nothing_runs_without_a_lease() {
    let finished = machine().command_line("whit.net=require").run();
    finished.powered_off_saying(&["whit: network: no lease within 10 s", "whit: exit 125"]);
    assert!(!finished.says("settled"), "{}", finished.console);
    let prepared = machine().command_line("whit.net=require").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let _server = lan.serve(&[]);
    let mut machine = prepared.start();
    machine.wait_for("settled\n");
}

/// Starts a machine with two cables that uses only the second because of these options.
#[track_caller]
fn only_second(options: &str) -> (Running, Lan, Server) {
    let prepared = machine().command_line(options).prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "first");
    lan.plug(&prepared, "second");
    lan.carrier(1, true);
    let server = lan.serve(&TWO_CABLES);
    let mut machine = prepared.start();
    machine.wait_for("whit: second 10.55.1.");
    let logged = machine.wait_for("settled\n");
    assert!(!logged.contains("whit: first"), "{logged}");
    (machine, lan, server)
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn only_the_named_interface_is_used() {
    let (machine, _lan, _server) = only_second("whit.net.dev=second");
    assert!(machine.ip(&["link", "show", "dev", "first"]).contains("state DOWN"));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_first_lease_has_the_preferred_default_route_on_any_interface() {
    let prepared = machine().prepare();
    let lan = Lan::new();
    lan.plug_without_carrier(&prepared, "first");
    lan.plug_without_carrier(&prepared, "second");
    lan.carrier(1, true);
    let _server = lan.serve(&TWO_CABLES);
    let mut machine = prepared.start();
    machine.wait_for("whit: second 10.55.1.");
    machine.wait_for("settled\n");
    lan.carrier(0, true);
    machine.wait_for("whit: first 10.55.0.");
    machine.wait_for("\n");
    let routes = machine.ip(&["route"]);
    let defaults: Vec<&str> = routes.lines().filter(|line| line.starts_with("default")).collect();
    assert!(defaults.len() == 2 && defaults[0].contains("dev second") && !defaults[0].contains("metric"), "{routes}");
    assert!(defaults[1].contains("dev first") && defaults[1].contains("metric 1"), "{routes}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_static_address_needs_no_server() {
    let options = "ip=10.55.0.5::10.99.0.1:255.255.255.0:node7:eth0:off:10.55.0.2::10.55.0.4 nameserver=10.55.0.3";
    let prepared = machine().command_line(options).prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let mut machine = prepared.start();
    machine.wait_for("whit: eth0 10.55.0.5/24, gateway 10.99.0.1, DNS 10.55.0.2, static\n");
    let logged = machine.wait_for("settled\n");
    assert!(logged.contains("\nnode7\n"), "{logged}");
    assert!(logged.contains("# written by whit\nnameserver 10.55.0.3\nnameserver 10.55.0.2\n# written"), "{logged}");
    let facts = "ADDRESS=10.55.0.5\nPREFIX=24\nROUTER=10.99.0.1\nDNS1=10.55.0.2\nNTP1=10.55.0.4\n";
    assert!(logged.ends_with(facts), "{logged}");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains("inet 10.55.0.5/24 brd 10.55.0.255 ") && addresses.contains("valid_lft forever"));
    assert!(machine.ip(&["route"]).contains("default via 10.99.0.1 dev eth0"));
    // When the carrier returns, the interface gets the address again.
    lan.carrier(0, false);
    lan.carrier(0, true);
    machine.wait_for(": link up\n");
    machine.wait_for(", static\n");
    assert!(machine.ip(&["route"]).contains("default via 10.99.0.1 dev eth0"));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_kernels_ip_option_names_the_interface_or_turns_the_network_off() {
    let _second = only_second("ip=:::::second:dhcp");

    for (options, logged, state) in [
        ("ip=off", "settled\n", "state DOWN"),
        ("ip=10.55.0.300", "whit: ip=10.55.0.300: 10.55.0.300 is not understood, ignored\n", "state DOWN"),
    ] {
        let prepared = Machine::new().command_line(options).script("echo settled; exec sleep 1000").prepare();
        let lan = Lan::new();
        lan.plug(&prepared, "eth0");
        let _server = lan.serve(&[]);
        let mut machine = prepared.start();
        machine.wait_for(logged);
        if state != "state DOWN" {
            machine.wait_for("settled\n");
        }
        let link = machine.ip(&["link", "show", "dev", "eth0"]);
        assert!(link.contains(state), "{options}: {link}");
    }
}
