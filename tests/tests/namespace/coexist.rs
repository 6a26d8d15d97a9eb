//! Other programs on an interface with a lease: what they set stays, and what they remove stays away.

use std::net::Ipv6Addr;
use std::time::Duration;

use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, Frames, NAK, OFFER, Query, REQUEST};
use whit_tests::namespace::{Lan, Machine, Running};

const OURS: [u8; 4] = [10, 55, 0, 77];
const OTHER: [u8; 4] = [10, 55, 0, 78];

/// Prints the resolver's file, and again after each change.
const SHOW: &str = "echo settled; while :; do new=$(cat /etc/resolv.conf); \
    if [ \"$new\" != \"$old\" ]; then echo \"$new\"; echo shown; old=$new; fi; sleep 0.1; done";

/// Options of an answer after its own.
type Options<'a> = &'a [(u8, &'a [u8])];

/// T1 after two seconds, T2 after a minute, a router and a DNS server.
const FIRST: Options<'_> =
    &[(58, &[0, 0, 0, 2]), (59, &[0, 0, 0, 60]), (3, &[10, 55, 0, 1]), (6, &[10, 55, 0, 2, 10, 55, 0, 3])];

fn answer(query: &Query, kind: u8, address: [u8; 4], options: Options<'_>) -> Vec<u8> {
    options.iter().fold(Answer::new(query, kind, address), |answer, (code, value)| answer.with(*code, value)).frame()
}

/// Leases an address, in four messages.
#[track_caller]
fn grant(frames: &mut Frames, address: [u8; 4], options: Options<'_>) {
    let discover = frames.next(DISCOVER);
    frames.send(&answer(&discover, OFFER, address, options));
    let request = frames.next(REQUEST);
    frames.send(&answer(&request, ACK, address, options));
}

/// Starts a machine that has a lease.
fn leased(options: Options<'_>) -> (Running, Lan, Frames) {
    let machine = Machine::new().directory("/rootfs/etc").script(SHOW).command_line("whit.net.timeout=30").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    grant(&mut frames, OURS, options);
    machine.wait_for("settled\n");
    machine.wait_for("shown\n");
    (machine, lan, frames)
}

/// Runs ip(8) in the machine's network.
fn ip(machine: &Running, command: &str) -> String {
    machine.ip(&command.split(' ').collect::<Vec<_>>())
}

/// Returns the addresses and routes of the machine.
fn shown(machine: &Running) -> String {
    ip(machine, "-4 address show dev eth0") + &ip(machine, "route")
}

/// What other programs set. The kernel removes the second route with the leased address.
const SET: [&str; 4] = [
    "address add 10.55.0.200/24 dev eth0",
    "route add 10.98.0.0/16 via 10.55.0.9 src 10.55.0.77",
    "route add 10.99.0.0/16 via 10.55.0.9",
    "route replace default via 10.55.0.9 dev eth0",
];

#[track_caller]
fn others_are_there(machine: &Running) {
    let shown = shown(machine);
    for set in ["inet 10.55.0.200/24", "10.98.0.0/16 via 10.55.0.9", "10.99.0.0/16 via", "default via 10.55.0.9 "] {
        assert!(shown.contains(set), "no {set}: {shown}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_renewal_and_a_carrier_that_blinks_leave_what_others_set() {
    let (mut machine, lan, mut frames) = leased(FIRST);
    for command in SET {
        ip(&machine, command);
    }
    // The same lease, then another order of the name servers.
    let renewal = frames.next(REQUEST);
    frames.send(&answer(&renewal, ACK, OURS, FIRST));
    let reordered = [FIRST[0], FIRST[1], FIRST[2], (6, &[10, 55, 0, 3, 10, 55, 0, 2][..])];
    let renewal = frames.next(REQUEST);
    frames.send(&answer(&renewal, ACK, OURS, &reordered));
    assert!(machine.wait_for("shown\n").ends_with("\nnameserver 10.55.0.3\nnameserver 10.55.0.2\n"));
    others_are_there(&machine);
    // The carrier blinks.
    lan.carrier(0, false);
    lan.carrier(0, true);
    machine.wait_for(": link up\n");
    let reboot = frames.next(REQUEST);
    frames.send(&answer(&reboot, ACK, OURS, FIRST));
    machine.wait_for("whit: eth0 10.55.0.77/24");
    machine.wait_for("shown\n");
    others_are_there(&machine);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_route_that_the_lease_no_longer_has_is_removed_alone() {
    let routes = |routes: &'static [u8]| [FIRST[0], FIRST[1], FIRST[3], (121, routes)];
    let (machine, _lan, mut frames) = leased(&routes(&[16, 10, 60, 10, 55, 0, 7, 16, 10, 61, 10, 55, 0, 7]));
    let mut machine = machine;
    for command in &SET[..3] {
        ip(&machine, command);
    }
    let renewal = frames.next(REQUEST);
    frames.send(&answer(&renewal, ACK, OURS, &routes(&[16, 10, 61, 10, 55, 0, 7, 0, 10, 55, 0, 9])));
    machine.wait_for("whit: eth0 10.55.0.77/24, gateway 10.55.0.9");
    machine.wait_for("whit: eth0 route 10.61.0.0/16 via 10.55.0.7\n");
    others_are_there(&machine);
    let shown = shown(&machine);
    assert!(!shown.contains("10.60.0.0/16") && shown.contains("10.61.0.0/16 via 10.55.0.7"), "{shown}");
    assert!(shown.contains("default via 10.55.0.9 dev eth0 proto dhcp src 10.55.0.77"), "{shown}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn another_address_leaves_what_others_set() {
    let (mut machine, _lan, mut frames) = leased(FIRST);
    for command in SET {
        ip(&machine, command);
    }
    // The server moves the client: with an ACK of another address, then with a NAK.
    let renewal = frames.next(REQUEST);
    frames.send(&answer(&renewal, ACK, OTHER, FIRST));
    machine.wait_for("whit: eth0 10.55.0.78/24");
    machine.wait_for("\n");
    let renewal = frames.next(REQUEST);
    assert_eq!(renewal.ciaddr(), OTHER);
    let shown_then = shown(&machine);
    frames.send(&answer(&renewal, NAK, [0; 4], &[]));
    machine.wait_for("the lease is lost\n");
    grant(&mut frames, OURS, FIRST);
    machine.wait_for("whit: eth0 10.55.0.77/24");
    machine.wait_for("\n");
    for shown in [shown_then, shown(&machine)] {
        assert!(shown.contains("inet 10.55.0.200/24") && shown.contains("10.99.0.0/16 via 10.55.0.9"), "{shown}");
        assert!(shown.contains("default via 10.55.0.9"), "{shown}");
        assert_eq!(shown.matches("inet ").count(), 2, "{shown}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_address_that_is_removed_stays_away_until_a_new_carrier() {
    // T2 after three seconds: the REQUEST to any server is answered by broadcast.
    let options = [FIRST[0], (59, &[0, 0, 0, 3][..]), FIRST[2], FIRST[3]];
    let (mut machine, lan, mut frames) = leased(&options);
    ip(&machine, "address delete 10.55.0.77/24 dev eth0");
    machine.wait_for("whit: eth0: 10.55.0.77 was removed by another program\n");
    let renewal = frames.next(REQUEST);
    assert_eq!((renewal.ciaddr(), renewal.destination.0), (OURS, [255; 4]));
    let changed = [options[0], options[1], options[2], (6, &[10, 55, 0, 4][..])];
    frames.send(&answer(&renewal, ACK, OURS, &changed));
    assert_eq!(machine.wait_for("shown\n").lines().last(), Some("nameserver 10.55.0.4"));
    assert!(!shown(&machine).contains("10.55.0."), "{}", shown(&machine));
    lan.carrier(0, false);
    lan.carrier(0, true);
    let mut reboot = frames.next(REQUEST);
    while reboot.option(50).is_none() {
        reboot = frames.next(REQUEST);
    }
    frames.send(&answer(&reboot, ACK, OURS, &options));
    machine.wait_for("whit: eth0 10.55.0.77/24");
    machine.wait_for("shown\n");
    let shown = shown(&machine);
    assert!(shown.contains("inet 10.55.0.77/24") && shown.contains("default via 10.55.0.1"), "{shown}");
    assert!(!machine.console().contains("errno") && !machine.console().contains("DHCP on"), "{}", machine.console());
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_interface_of_a_bridge_is_left_to_it() {
    let (mut machine, _lan, mut frames) = leased(FIRST);
    for command in [
        "link add br0 type bridge",
        "link set br0 up",
        "link set eth0 master br0",
        "address delete 10.55.0.77/24 dev eth0",
        "address add 10.55.0.77/24 dev br0",
    ] {
        ip(&machine, command);
    }
    machine.wait_for("whit: eth0: 10.55.0.77 was removed by another program\n");
    // T1 passes.
    assert!(frames.query_within(Duration::from_secs(4)).is_none(), "a message of a slave");
    for command in ["address delete 10.55.0.77/24 dev br0", "link set eth0 nomaster"] {
        ip(&machine, command);
    }
    machine.wait_for(": link up\n");
    let reboot = frames.next(REQUEST);
    assert_eq!(reboot.option(50), Some(&OURS[..]));
    let shown = shown(&machine);
    assert!(shown.contains("inet 10.55.0.77/24") && shown.contains("default via 10.55.0.1 dev eth0"), "{shown}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_interface_that_is_renamed_keeps_its_lease() {
    let (mut machine, _lan, mut frames) = leased(&[FIRST[2], FIRST[3], (121, &[16, 10, 60, 10, 55, 0, 7])]);
    for command in ["link set eth0 down", "link set eth0 name lan7", "link set lan7 up"] {
        ip(&machine, command);
    }
    machine.wait_for("whit: lan7 ");
    machine.wait_for(": link up\n");
    // The server is not waited for.
    let reboot = frames.next(REQUEST);
    let shown = ip(&machine, "-4 address show dev lan7") + &ip(&machine, "route");
    assert!(shown.contains("inet 10.55.0.77/24") && shown.contains("10.60.0.0/16 via 10.55.0.7"), "{shown}");
    frames.send(&answer(&reboot, ACK, OURS, FIRST));
    machine.wait_for("whit: lan7 10.55.0.77/24");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_renewal_leaves_by_its_own_interface() {
    let (machine, _lan, mut frames) = leased(FIRST);
    for command in [
        "link add other type veth peer name end",
        "link set other up",
        "link set end up",
        "route add 10.55.0.1/32 dev other",
    ] {
        ip(&machine, command);
    }
    let renewal = frames.next(REQUEST);
    assert_eq!((renewal.ciaddr(), renewal.destination.0), (OURS, Answer::SERVER));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_neighbour_with_an_outdated_entry_learns_the_address_at_once() {
    let machine = Machine::new().script(SHOW).command_line("whit.net.timeout=30").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    lan.ip(&["neigh", "add", "10.55.0.77", "lladdr", "02:00:00:00:00:66", "dev", "lan0", "nud", "reachable"]);
    grant(&mut frames, OURS, FIRST);
    machine.wait_for("settled\n");
    let neighbours = lan.ip(&["neigh", "show", "10.55.0.77"]);
    let link = ip(&machine, "link show dev eth0");
    let (_, address) = neighbours.split_once("lladdr ").expect("an entry");
    let (address, _) = address.split_once(' ').expect("its state");
    assert!(link.contains(&format!("link/ether {address} ")), "{neighbours}{link}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_router_advertisement_does_not_remove_the_servers_of_a_lease_that_holds() {
    let (mut machine, lan, mut frames) = leased(&[FIRST[3]]);
    lan.carrier(0, false);
    lan.carrier(0, true);
    // No server answers any more.
    while frames.query().kind() != DISCOVER {}
    frames.send(&super::ipv6::advertisement(&super::ipv6::servers(1000, &["2001:db8::53"])));
    let text = machine.wait_for("shown\n");
    let server: Ipv6Addr = "2001:db8::53".parse().expect("an address");
    let expected = format!("# written by whit\nnameserver 10.55.0.2\nnameserver 10.55.0.3\nnameserver {server}\n");
    assert_eq!(text.split_once("# written").map(|(_, rest)| format!("# written{rest}")), Some(expected));
}
