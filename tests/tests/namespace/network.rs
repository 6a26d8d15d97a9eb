//! The network: the machine uses the answers of a real DHCP server, whenever carrier and server come.

use std::time::{Duration, Instant};

use whit_tests::namespace::{Lan, Machine, Running};

/// Prints its files and goes on running.
const STAY: &str = "cat /etc/hosts /etc/resolv.conf 2>/dev/null; echo settled; exec sleep 1000";

/// Prints when a DNS server comes after the start of the workload.
const FOLLOW: &str = "
    grep nameserver /etc/resolv.conf; echo settled
    until grep nameserver /etc/resolv.conf; do sleep 0.01; done
    cat /etc/hosts; echo followed; exec sleep 1000";

fn machine() -> Machine {
    Machine::new().directory("/rootfs/etc").script(STAY)
}

/// Returns the address that the machine logs: `10.55.0.77/24`.
#[track_caller]
fn logged_address(machine: &mut Running, interface: &str) -> String {
    machine.wait_for(&format!("whit: {interface} 10."));
    format!("10.{}", machine.wait_for(", lease "))
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_lease_becomes_address_route_and_files() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    // The router is not the server.
    let _server = lan.serve(&["dhcp-option=3,10.55.0.254", "dhcp-option=6,10.55.0.2,10.55.0.3"]);
    let mut machine = machine.start();
    machine.wait_for("whit: eth0 ");
    let hardware = machine.wait_for(": link up\n");
    assert!(machine.ip(&["link", "show", "dev", "eth0"]).contains(&format!("link/ether {hardware} ")), "{hardware}");
    let logged = logged_address(&mut machine, "eth0");
    let (address, rest) = logged.split_once('/').expect("a prefix");
    assert_eq!(rest, "24, gateway 10.55.0.254, DNS 10.55.0.2 10.55.0.3");
    machine.wait_for(&format!("3600 s from {}\n", Lan::ADDRESS));
    let files = machine.wait_for("settled\n");
    assert!(files.contains(&format!("{address} whit\n")), "{files}");
    assert!(files.ends_with("# written by whit\nnameserver 10.55.0.2\nnameserver 10.55.0.3\n"), "{files}");

    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains(&format!("inet {address}/24 brd 10.55.0.255 scope global")), "{addresses}");
    let routes = machine.ip(&["route"]);
    assert!(routes.contains("default via 10.55.0.254 dev eth0"), "{routes}");
    assert!(routes.contains(&format!("src {address}")), "{routes}");
    let loopback = machine.ip(&["address", "show", "dev", "lo"]);
    assert!(loopback.contains("inet 127.0.0.1/8") && loopback.contains(",UP"), "{loopback}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_kernel_removes_an_address_at_the_end_of_its_lease() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let _server = lan.serve(&["dhcp-range=10.55.0.50,10.55.0.99,255.255.255.0,120"]);
    let mut machine = machine.start();
    machine.wait_for("lease 120 s");
    machine.wait_for("settled\n");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    let lifetime = |name: &str| -> u32 {
        let (_, rest) = addresses.split_once(name).unwrap_or_else(|| panic!("no {name}: {addresses}"));
        let (seconds, _) = rest.trim_start().split_once("sec").unwrap_or_else(|| panic!("{name}: {addresses}"));
        seconds.parse().unwrap_or_else(|_| panic!("{name}: {addresses}"))
    };
    for name in ["valid_lft", "preferred_lft"] {
        assert!((100..=120).contains(&lifetime(name)), "{addresses}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_first_of_several_routers_is_the_default_gateway() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let _server = lan.serve(&["dhcp-option=3,10.55.0.253,10.55.0.254"]);
    let mut machine = machine.start();
    machine.wait_for("settled\n");
    assert!(machine.ip(&["route"]).contains("default via 10.55.0.253 dev eth0"));
    assert!(!machine.ip(&["route"]).contains("10.55.0.254"));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_a_router_there_is_no_default_route() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let _server = lan.serve(&["dhcp-option=3", "dhcp-option=6"]);
    let mut machine = machine.start();
    assert!(logged_address(&mut machine, "eth0").ends_with("/24"));
    machine.wait_for("settled\n");
    assert!(!machine.ip(&["route"]).contains("default"));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_a_mask_the_prefix_follows_from_the_class() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let _server = lan.serve(&["dhcp-option=1", "dhcp-option=28"]);
    let mut machine = machine.start();
    let logged = logged_address(&mut machine, "eth0");
    let (address, rest) = logged.split_once('/').expect("a prefix");
    assert!(rest.starts_with("8, gateway 10.55.0.1"), "{logged}");
    machine.wait_for("settled\n");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains(&format!("inet {address}/8 ")), "{addresses}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_router_outside_of_the_subnet_is_reached() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let _server = lan.serve(&["dhcp-option=3,10.99.0.1"]);
    let mut machine = machine.start();
    machine.wait_for("settled\n");
    let routes = machine.ip(&["route"]);
    assert!(routes.contains("default via 10.99.0.1 dev eth0"), "{routes}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_interface_may_have_any_name() {
    // The longest name, and names with a dot, which sysctl(8) would split.
    for name in ["a.b", "enp0s31f6u1u2u3", "0", "veth-with.dots"] {
        let machine = machine().prepare();
        let lan = Lan::new();
        lan.plug(&machine, name);
        let _server = lan.serve(&[]);
        let mut machine = machine.start();
        logged_address(&mut machine, name);
        machine.wait_for("settled\n");
        assert!(machine.ip(&["route"]).contains(&format!("default via 10.55.0.1 dev {name}")));
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_lease_comes_despite_strict_reverse_path_filtering() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let _server = lan.serve(&[]);
    machine.set("ipv4/conf/all/rp_filter", "1");
    machine.set("ipv4/conf/eth0/rp_filter", "1");
    let mut machine = machine.start();
    logged_address(&mut machine, "eth0");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_carrier_that_comes_late_is_used_at_once() {
    // IFF_RUNNING is set up to a second after IFF_LOWER_UP; the first retransmission is 250 ms after the carrier.
    assert!(once_within(Duration::from_millis(200), from_carrier_to_lease));
}

/// Measures the time from the carrier to the lease. It includes one process of ip(8).
fn from_carrier_to_lease() -> Duration {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug_without_carrier(&machine, "eth0");
    let _server = lan.serve(&[]);
    let mut machine = machine.start();
    // The interface is up before this line, and the init waits for the carrier after it.
    machine.wait_for("whit: root /rootfs on /mnt\n");
    // No event shows that the init waits; it has to wait for this time.
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    lan.carrier(0, true);
    logged_address(&mut machine, "eth0");
    began.elapsed()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_server_that_comes_late_is_found_by_the_second_discover() {
    assert!(once_within(Duration::from_millis(1500), from_lost_discover_to_lease));
}

/// Measures the time from a lost DISCOVER to the lease. It includes the start of the server.
fn from_lost_discover_to_lease() -> Duration {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let mut machine = machine.start();
    machine.wait_for("whit: eth0 ");
    machine.wait_for(": link up\n");
    // The first DISCOVER has been sent, without a server.
    let began = Instant::now();
    let mut server = lan.serve(&[]);
    server.wait_for("DHCPDISCOVER(lan0)");
    logged_address(&mut machine, "eth0");
    began.elapsed()
}

/// Returns whether one of five tries takes less than the limit: a busy host makes a try slower, never faster.
fn once_within(limit: Duration, try_once: fn() -> Duration) -> bool {
    let tries = (0..5).map(|_| try_once());
    tries.inspect(|took| println!("took {took:?}, limit {limit:?}")).any(|took| took < limit)
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_a_server_one_line_is_logged_and_the_boot_goes_on() {
    let machine = Machine::new().directory("/rootfs/etc").script(FOLLOW).command_line("whit.net.timeout=1").prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let began = Instant::now();
    let mut machine = machine.start();
    let before = machine.wait_for("whit: network: no lease within 1 s; the boot continues, with retries\n");
    let took = began.elapsed();
    assert!((0.9..10.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(before.lines().filter(|line| line.starts_with("whit: network")).count(), 0, "{before}");
    machine.wait_for("settled\n");
    assert!(machine.of_init("root/rootfs/etc/hosts").contains("\n127.0.1.1 whit\n"));
    // The search continues: the lease comes, and the files are updated.
    let _server = lan.serve(&["dhcp-option=6,10.55.0.2"]);
    let logged = logged_address(&mut machine, "eth0");
    let address = logged.split('/').next().expect("an address");
    machine.wait_for("nameserver 10.55.0.2\n");
    let hosts = machine.wait_for("followed\n");
    assert!(hosts.contains(&format!("\n{address} whit\n")), "{hosts}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_an_interface_one_line_is_logged_at_once() {
    let began = Instant::now();
    let mut machine = machine().command_line("whit.net.timeout=1000").spawn();
    machine.wait_for("whit: network: no Ethernet interface\n");
    let files = machine.wait_for("settled\n");
    assert!(!files.contains("whit: network"), "{files}");
    assert!(began.elapsed().as_secs() < 10);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_machine_that_does_not_wait_gets_its_lease_later() {
    let machine = Machine::new().directory("/rootfs/etc").script(FOLLOW).command_line("whit.net=bg").prepare();
    let lan = Lan::new();
    lan.plug_without_carrier(&machine, "eth0");
    let _server = lan.serve(&["dhcp-option=6,10.55.0.2"]);
    let mut machine = machine.start();
    let before = machine.wait_for("settled\n");
    assert!(!before.contains("10.55"), "{before}");
    lan.carrier(0, true);
    logged_address(&mut machine, "eth0");
    machine.wait_for("nameserver 10.55.0.2\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn with_the_network_off_interfaces_stay_down() {
    let machine = machine().command_line("whit.net=off").prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let mut machine = machine.start();
    machine.wait_for("settled\n");
    let links = machine.ip(&["link", "show", "dev", "eth0"]);
    assert!(links.contains("state DOWN"), "{links}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn dns_servers_of_the_image_stay_until_a_lease_has_some() {
    // Option 6 without a value: dnsmasq would name itself.
    for (option, expected) in [("dhcp-option=6", "9.9.9.9"), ("dhcp-option=6,10.55.0.2", "10.55.0.2")] {
        let machine = machine().file("/rootfs/etc/resolv.conf", "nameserver 9.9.9.9\n").prepare();
        let lan = Lan::new();
        lan.plug(&machine, "eth0");
        let _server = lan.serve(&[option]);
        let mut machine = machine.start();
        logged_address(&mut machine, "eth0");
        let files = machine.wait_for("settled\n");
        assert!(files.ends_with(&format!("nameserver {expected}\n")), "{files}");
        assert_eq!(files.matches("nameserver").count(), 1, "{files}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn one_of_two_interfaces_with_a_server_is_enough() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "first");
    lan.plug_without_carrier(&machine, "second");
    let _server = lan.serve(&[]);
    let mut machine = machine.start();
    logged_address(&mut machine, "first");
    machine.wait_for("settled\n");
    let routes = machine.ip(&["route"]);
    assert_eq!(routes.matches("default").count(), 1, "{routes}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn with_two_leases_the_first_has_the_preferred_default_route() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "first");
    lan.plug_without_carrier(&machine, "second");
    let _server = lan.serve(&[
        "dhcp-range=10.55.0.50,10.55.0.99,255.255.255.0,1h",
        "dhcp-range=10.55.1.50,10.55.1.99,255.255.255.0,1h",
    ]);
    let mut machine = machine.start();
    logged_address(&mut machine, "first");
    lan.carrier(1, true);
    logged_address(&mut machine, "second");
    machine.wait_for("\n");
    let routes = machine.ip(&["route"]);
    let defaults: Vec<&str> = routes.lines().filter(|line| line.starts_with("default")).collect();
    assert!(defaults.len() == 2 && defaults[0].contains("via 10.55.0.1 dev first"), "{routes}");
    assert!(defaults[1].contains("via 10.55.1.1 dev second") && defaults[1].contains("metric 1"), "{routes}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn interfaces_of_the_workload_are_not_configured() {
    let script = "ip link add own0 type veth peer name own1; echo settled; exec sleep 1000";
    let machine = Machine::new().script(script).command_line("whit.net=bg").prepare();
    let lan = Lan::new();
    lan.plug_without_carrier(&machine, "eth0");
    let mut machine = machine.start();
    machine.wait_for("settled\n");
    // The kernel reports links in order: when the init logs this, it has received own0 too.
    lan.carrier(0, true);
    machine.wait_for(": link up\n");
    let links = machine.ip(&["link", "show", "dev", "own0"]);
    assert!(links.contains("state DOWN") && !links.contains(",UP"), "{links}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn renewals_are_not_logged() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    // T1, in seconds; dnsmasq accepts no shorter one.
    let mut server = lan.serve(&["dhcp-option=58,3"]);
    let mut machine = machine.start();
    let logged = logged_address(&mut machine, "eth0");
    let address = logged.split('/').next().expect("an address");
    machine.wait_for("settled\n");
    for _ in 0..2 {
        server.wait_for(&format!("DHCPREQUEST(lan0) {address} "));
        server.wait_for(&format!("DHCPACK(lan0) {address} "));
    }
    assert_eq!(machine.console().matches("whit: eth0").count(), 2, "{}", machine.console());
    assert!(machine.ip(&["-4", "address", "show", "dev", "eth0"]).contains(address));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_a_host_name_the_server_gets_none() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    let mut server = lan.serve(&[]);
    let mut machine = machine.start();
    machine.wait_for("settled\n");
    let log = server.wait_for("DHCPACK(lan0) ");
    // The kernel's default name. Once the machine has a name, requests carry it.
    assert!(log.contains("requested options: ") && !log.contains("(none)"), "{log}");
}
