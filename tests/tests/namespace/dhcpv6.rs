//! DHCPv6 of the init `fleet`, with real servers and routers: dnsmasq, Kea, radvd.

use rustix::process::Signal;
use whit_tests::init_named;
use whit_tests::namespace::{Lan, Machine, Running, servers};
use xtask::init::Init;

/// Prints the files that a program finds, again after each change of the resolver's.
const SHOW: &str = "cat /run/whit/net.env; echo settled; while :; do new=$(cat /etc/resolv.conf); \
    if [ \"$new\" != \"$old\" ]; then echo \"$new\"; echo shown; old=$new; fi; sleep 0.1; done";

fn machine(options: &str) -> Machine {
    Machine::new()
        .program("/init", &init_named(Init::Fleet))
        .directory("/rootfs/etc")
        .script(SHOW)
        .command_line("whit.net.timeout=60 whit.tmpfs=/run/whit")
        .command_line(options)
}

/// Starts a machine on a cable to a network of IPv6 alone, with no server yet.
fn started(options: &str) -> (Running, Lan) {
    let prepared = machine(options).prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    lan.ip(&["address", "flush", "dev", "lan0", "scope", "global"]);
    lan.ip(&["address", "add", "fd55::1/64", "dev", "lan0", "nodad"]);
    let mut machine = prepared.start();
    machine.wait_for(": link up\n");
    // Servers open their sockets on the link-local address.
    while !lan.ip(&["-6", "address", "show", "dev", "lan0", "scope", "link", "-tentative"]).contains("fe80::") {}
    (machine, lan)
}

/// Returns the global addresses of the machine that it can use.
fn addresses(machine: &Running) -> String {
    machine.ip(&["-6", "address", "show", "dev", "eth0", "scope", "global", "-tentative"])
}

/// Asserts that the machine has started with an address of the range, and the names that all the servers are configured to send.
#[track_caller]
fn assert_leased(machine: &mut Running) -> String {
    machine.wait_for("whit: eth0 fd55::1");
    let address = format!("fd55::1{}", machine.wait_for("/128, lease "));
    let output = machine.wait_for("settled\n");
    assert!(output.contains(&format!("whit: eth0 {address}\n")), "{output}");
    assert!(output.contains(&format!("# written by whit\nADDRESS6={address}\n")), "{output}");
    assert!(addresses(machine).contains(&format!("inet6 {address}/128 scope global")), "{}", addresses(machine));
    let files = machine.wait_for("shown\n");
    assert!(files.ends_with("nameserver fd55::53\nnameserver fd55::54\nsearch a.test b.a.test\n"), "{files}");
    address
}

const NAMES: [&str; 2] =
    ["dhcp-option=option6:dns-server,[fd55::53],[fd55::54]", "dhcp-option=option6:domain-search,a.test,b.a.test"];

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn dnsmasq_leases_an_address_in_two_messages() {
    for options in ["whit.net=wait6", ""] {
        let (mut machine, lan) = started(options);
        let lines = [&["enable-ra", "dhcp-range=fd55::100,fd55::1ff,64,1h"], &NAMES[..]].concat();
        let mut server = lan.serve(&lines);
        assert_leased(&mut machine);
        let log = server.wait_for("DHCPREPLY(lan0) ");
        assert!(log.contains("DHCPSOLICIT(lan0) 00:03:00:01:") && !log.contains("DHCPREQUEST(lan0) "), "{log}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_carrier_that_returns_confirms_the_address() {
    let (mut machine, lan) = started("");
    let lines = [&["enable-ra", "dhcp-range=fd55::100,fd55::1ff,64,1h"], &NAMES[..]].concat();
    let mut server = lan.serve(&lines);
    let address = assert_leased(&mut machine);
    // The interface loses its addresses of IPv6.
    let _ = machine.ip(&["link", "set", "eth0", "down"]);
    assert!(!addresses(&machine).contains(&address));
    let _ = machine.ip(&["link", "set", "eth0", "up"]);
    server.wait_for("DHCPCONFIRM(lan0) ");
    while !addresses(&machine).contains(&address) {}
    assert!(!machine.console().contains("lost"), "{}", machine.console());
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn names_alone_are_asked_for_where_addresses_are_not_managed() {
    let (mut machine, lan) = started("");
    let mut server = lan.serve(&[&["enable-ra", "dhcp-range=fd55::,ra-stateless,64"], &NAMES[..]].concat());
    server.wait_for("DHCPINFORMATION-REQUEST(lan0) ");
    let log = machine.wait_for("settled\n");
    assert!(log.contains("whit: eth0 fd55::") && !log.contains("/128"), "{log}");
    while !machine.wait_for("shown\n").ends_with("nameserver fd55::54\nsearch a.test b.a.test\n") {}
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn kea_leases_renews_and_takes_an_address_back() {
    let (kea, radvd) = (servers::kea6("fd55::100 - fd55::1ff", 3), servers::radvd("AdvManagedFlag on;"));
    let (mut machine, lan) = started("whit.net=wait6 whit.dhcp.release");
    let mut kea = kea(&lan);
    let _radvd = radvd(&lan);
    let address = assert_leased(&mut machine);
    for message in ["DHCP6_LEASE_ADVERT", "DHCP6_LEASE_ALLOC", "DHCP6_LEASE_RENEW", "DHCP6_LEASE_RENEW"] {
        kea.wait_for(message);
    }
    assert!(addresses(&machine).contains(&address) && !machine.console().contains("lost"), "{}", machine.console());
    machine.signal(Signal::TERM);
    kea.wait_for("DHCP6_RELEASE_NA");
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn an_address_that_another_host_uses_is_declined() {
    let (kea, radvd) = (servers::kea6("fd55::150 - fd55::150", 1000), servers::radvd("AdvManagedFlag on;"));
    let (mut machine, lan) = started("whit.net=bg");
    lan.ip(&["address", "add", "fd55::150/64", "dev", "lan0", "nodad"]);
    let mut kea = kea(&lan);
    let _radvd = radvd(&lan);
    machine.wait_for("whit: eth0 fd55::150/128, lease ");
    machine.wait_for("whit: eth0: fd55::150 is lost\n");
    kea.wait_for("DHCP6_DECLINE_LEASE");
    assert!(!addresses(&machine).contains("fd55::150"));
}

/// The kernel waits for up to a second before it asks whether an address is in use (net/ipv6/addrconf.c, addrconf_dad_kick()).
#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn addresses_are_checked_without_a_delay() {
    let script = "echo delay $(cat /proc/sys/net/ipv6/conf/eth0/router_solicitation_delay)";
    let machine = Machine::new().program("/init", &init_named(Init::Fleet)).script(script);
    let prepared = machine.command_line("whit.net=bg").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    prepared.start().wait_for("delay 0\n");
}
