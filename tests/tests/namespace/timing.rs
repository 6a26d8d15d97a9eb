//! DHCP over time: lost messages, late events, and the states of a lease until it ends.

use std::time::Duration;

use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, Frames, NAK, OFFER, Query, REQUEST};
use whit_tests::namespace::{Lan, Machine, Running};

const ADDRESS: [u8; 4] = [10, 55, 0, 77];
const BOUND: &str = "whit: eth0 10.55.0.77/24, lease ";

fn machine() -> Machine {
    Machine::new().directory("/rootfs/etc").script("echo settled; exec sleep 1000").command_line("whit.net.timeout=20")
}

/// Starts a machine whose cable is served by the test.
fn wired() -> (Running, Lan, Frames) {
    let machine = machine().prepare();
    let lan = Lan::new();
    let (machine, frames) = lan.start(machine);
    (machine, lan, frames)
}

/// Returns an answer with a lease of ten seconds, T1 after one and T2 after three, and an MTU of 1400.
fn short(query: &Query, kind: u8) -> Vec<u8> {
    let mut answer =
        Answer::new(query, kind, ADDRESS).with(58, &[0, 0, 0, 1]).with(59, &[0, 0, 0, 3]).with(26, &[5, 120]);
    answer.options[11..15].copy_from_slice(&[0, 0, 0, 10]);
    answer.frame()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_lost_message_is_sent_again() {
    let (mut machine, _lan, mut frames) = wired();
    let lost = frames.next(DISCOVER);
    let discover = frames.next(DISCOVER);
    assert_eq!(discover.xid(), lost.xid());
    // An answer to the first message is accepted too.
    frames.send(&Answer::new(&lost, OFFER, ADDRESS).frame());
    let lost = frames.next(REQUEST);
    let request = frames.next(REQUEST);
    assert_eq!((request.xid(), request.option(50), request.option(54)), (lost.xid(), lost.option(50), lost.option(54)));
    frames.send(&Answer::new(&request, ACK, ADDRESS).frame());
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn nothing_is_sent_before_there_is_a_carrier() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug_without_carrier(&machine, "eth0");
    let mut frames = lan.frames();
    let mut machine = machine.start();
    machine.wait_for("whit: root /rootfs on /mnt\n");
    // No message may come in this time.
    assert!(frames.query_within(Duration::from_millis(2500)).is_none());
    lan.carrier(0, true);
    let discover = frames.next(DISCOVER);
    assert_eq!(discover.message[8..10], [0, 0], "secs count from the carrier");
    frames.send(&Answer::new(&discover, OFFER, ADDRESS).frame());
    let request = frames.next(REQUEST);
    frames.send(&Answer::new(&request, ACK, ADDRESS).frame());
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_interface_that_appears_late_is_used() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug_without_carrier(&machine, "eth0");
    let mut machine = machine.start();
    machine.wait_for("whit: root /rootfs on /mnt\n");
    lan.plug_into(&machine, "eth1");
    lan.carrier(1, true);
    let _server = lan.serve(&["dhcp-range=10.55.1.50,10.55.1.99,255.255.255.0,1h"]);
    machine.wait_for("whit: eth1 10.55.1.");
    machine.wait_for("settled\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_lease_of_ten_seconds_is_renewed_rebound_and_lost() {
    let (mut machine, _lan, mut frames) = wired();
    let discover = frames.next(DISCOVER);
    frames.send(&short(&discover, OFFER));
    let request = frames.next(REQUEST);
    frames.send(&short(&request, ACK));
    machine.wait_for(BOUND);
    machine.wait_for("settled\n");
    assert!(machine.ip(&["link", "show", "dev", "eth0"]).contains(" mtu 1400 "));
    let mut before = request.xid();
    for _ in 0..5 {
        let renewal = frames.next(REQUEST);
        assert_eq!((renewal.source.0, renewal.destination.0), (ADDRESS, Answer::SERVER), "unicast to the server");
        assert_eq!((renewal.ciaddr(), renewal.option(50), renewal.option(54)), (ADDRESS, None, None));
        assert_ne!(renewal.xid(), before, "a new transaction");
        before = renewal.xid();
        frames.send(&short(&renewal, ACK));
    }
    // The server does not answer any more.
    let mut broadcasts = 0;
    let last = loop {
        let query = frames.next(REQUEST);
        if query.option(50).is_some() {
            break query;
        }
        assert!(broadcasts == 0 || query.destination.0 == [255; 4], "from T2 on by broadcast");
        broadcasts += u32::from(query.destination.0 == [255; 4]);
    };
    assert!(broadcasts > 0);
    assert_eq!((last.option(50), last.ciaddr()), (Some(&ADDRESS[..]), [0; 4]), "INIT-REBOOT with the old address");
    let logged = machine.wait_for("whit: eth0: the lease is lost\n");
    assert_eq!(logged, "", "renewals are not logged");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(!addresses.contains("10.55."), "{addresses}");
    assert!(machine.ip(&["link", "show", "dev", "eth0"]).contains(" mtu 1500 "), "as before the lease");
    // A NAK, as from another network.
    frames.send(&Answer::new(&last, NAK, [0; 4]).frame());
    assert_eq!(frames.query().kind(), DISCOVER);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_lease_that_ends_without_a_carrier_is_requested_with_the_next_carrier() {
    let (mut machine, lan, mut frames) = wired();
    let discover = frames.next(DISCOVER);
    frames.send(&short(&discover, OFFER));
    let request = frames.next(REQUEST);
    frames.send(&short(&request, ACK));
    machine.wait_for("settled\n");
    lan.carrier(0, false);
    machine.wait_for("whit: eth0: the lease is lost\n");
    // Long enough for all repetitions, if it sent messages without a carrier.
    while frames.query_within(Duration::from_secs(2)).is_some() {}
    lan.carrier(0, true);
    let again = frames.next(REQUEST);
    assert_eq!((again.option(50), again.message[8..10].to_vec()), (Some(&ADDRESS[..]), vec![0, 0]));
    frames.send(&short(&again, ACK));
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_nak_of_a_server_with_another_pool_is_obeyed() {
    let machine = machine().prepare();
    let lan = Lan::new();
    lan.plug(&machine, "eth0");
    // T1, in seconds.
    let server = lan.serve(&["dhcp-option=58,3"]);
    let mut machine = machine.start();
    machine.wait_for("whit: eth0 10.55.0.");
    let old = format!("10.55.0.{}", machine.wait_for("/"));
    machine.wait_for("settled\n");
    drop(server);
    let mut server = lan.serve(&["dhcp-range=10.55.0.150,10.55.0.199,255.255.255.0,1h"]);
    let log = server.wait_for("DHCPNAK(lan0)");
    assert!(log.contains(&format!("DHCPREQUEST(lan0) {old} ")), "{log}");
    machine.wait_for("whit: eth0: the lease is lost\n");
    machine.wait_for("whit: eth0 10.55.0.1");
    let new = format!("10.55.0.1{}", machine.wait_for("/"));
    server.wait_for(&format!("DHCPACK(lan0) {new}"));
    machine.wait_for("\n");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(
        addresses.contains(&format!("inet {new}/24")) && !addresses.contains(&format!("inet {old}/")),
        "{addresses}"
    );
}
