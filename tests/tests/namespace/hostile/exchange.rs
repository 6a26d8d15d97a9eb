//! Servers whose messages are valid, but no answer to the request.

use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, NAK, OFFER, Query, REQUEST};
use whit_tests::namespace::{Lan, Machine};

use super::{BOUND, RIGHT, WRONG, machine, right};

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn only_requested_answers_are_accepted() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    // 86: an unsolicited ACK without option 80; a NAK.
    frames.send(&Answer::new(&discover, ACK, WRONG).frame());
    frames.send(&Answer::new(&discover, NAK, [0; 4]).frame());
    frames.send(&right(&discover, OFFER));
    let request = frames.next(REQUEST);
    assert_eq!(request.option(54), Some(&Answer::SERVER[..]));
    // 88: a second offer. 47: another server's ACK of another address. 89: a NAK of another server, and one without a server identifier.
    frames.send(&Answer::new(&request, OFFER, WRONG).frame());
    for kind in [ACK, NAK] {
        let mut other = Answer::new(&request, kind, WRONG);
        other.options[8] ^= 2;
        frames.send(&other.frame());
    }
    frames.send(&Answer::new(&request, NAK, [0; 4]).with_options(&[53, 1, NAK]).frame());
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
    machine.wait_for("settled\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_ack_with_another_address_than_the_offer_is_accepted() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    frames.send(&Answer::new(&discover, OFFER, WRONG).frame());
    let request = frames.next(REQUEST);
    assert_eq!(request.option(50), Some(&WRONG[..]));
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_ack_of_another_server_for_the_requested_address_is_accepted() {
    // 116: also one without a server, and one whose server has an address that no host can have.
    for server in [&[54, 4, 10, 55, 0, 3][..], &[], &[54, 4, 0, 0, 0, 0]] {
        let (mut machine, _lan, mut frames) = machine();
        let discover = frames.next(DISCOVER);
        frames.send(&right(&discover, OFFER));
        let request = frames.next(REQUEST);
        let mut ack = Answer::new(&request, ACK, RIGHT);
        ack.options.splice(3..9, server.iter().copied());
        ack.source.address.0 = [10, 55, 0, 9];
        frames.send(&ack.frame());
        machine.wait_for("whit: eth0 10.55.0.77/24, lease 3600 s from ");
        machine.wait_for("settled\n");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_server_whose_unicasts_are_lost_gives_a_lease_again_and_again() {
    let machine = Machine::new().script("echo settled; exec sleep 1000").command_line("whit.net.timeout=30").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    let is_broadcast = |query: &Query| query.message[10] & 0x80 != 0;
    for _ in 0..3 {
        for message in 0.. {
            let query = frames.query();
            assert!(message < 10, "{query:?}");
            if !is_broadcast(&query) {
                continue; // 117: the answer would be lost.
            }
            frames.send(&right(&query, if query.kind() == DISCOVER { OFFER } else { ACK }));
            if query.kind() == REQUEST {
                break;
            }
        }
        machine.wait_for(BOUND);
        // From the second time on, the first REQUEST after the carrier has the flag.
        lan.carrier(0, false);
        lan.carrier(0, true);
    }
    let reboot = frames.next(REQUEST);
    assert!(is_broadcast(&reboot), "{reboot:?}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_ack_without_an_offer_needs_option_80() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    assert_eq!(discover.option(80), Some(&[][..]));
    frames.send(&Answer::new(&discover, ACK, RIGHT).with(80, &[]).frame());
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_router_of_an_address_without_a_subnet_is_on_the_link() {
    let cases: [(&[u8], &[&str]); 3] = [
        // 44: option 3 alone.
        (&[3, 4, 10, 55, 0, 1], &["default via 10.55.0.1 dev eth0"]),
        // 75: the route to the router follows the route through it.
        (
            &[121, 14, 0, 10, 55, 0, 1, 32, 10, 55, 0, 1, 0, 0, 0, 0],
            &["default via 10.55.0.1 dev eth0", "10.55.0.1 dev eth0 "],
        ),
        // 77: both halves of the default route.
        (
            &[121, 12, 1, 0, 10, 55, 0, 1, 1, 128, 10, 55, 0, 1],
            &["0.0.0.0/1 via 10.55.0.1 dev eth0", "128.0.0.0/1 via 10.55.0.1 dev eth0"],
        ),
    ];
    for (option, expected) in cases {
        let (mut machine, _lan, mut frames) = machine();
        for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
            let mut answer = Answer::new(&frames.next(kind), answer, RIGHT);
            let mask = answer.options.len() - 1;
            answer.options[mask] = 255;
            answer.options.extend_from_slice(option);
            frames.send(&answer.frame());
        }
        machine.wait_for("whit: eth0 10.55.0.77/32");
        let logged = machine.wait_for("settled\n");
        let routes = machine.ip(&["route"]);
        for route in expected {
            assert!(routes.contains(route), "{option:?}: {routes}");
        }
        let halves = logged.matches("/1 via 10.55.0.1\n").count();
        assert_eq!(halves, if expected[0].starts_with("0.0.0.0/1") { 2 } else { 0 }, "{logged}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_server_cannot_order_a_renewal() {
    let (mut machine, lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    frames.send(&right(&discover, OFFER));
    let request = frames.next(REQUEST);
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
    machine.wait_for("settled\n");
    // FORCERENEW (RFC 3203), and answers to no request.
    for kind in [9, NAK, ACK, OFFER] {
        frames.send(&Answer::new(&request, kind, WRONG).frame());
    }
    lan.carrier(0, false);
    lan.carrier(0, true);
    // Its next message is the one after a carrier that returned (INIT-REBOOT).
    let next = frames.next(REQUEST);
    assert_eq!((next.option(50), next.option(54), next.ciaddr()), (Some(&RIGHT[..]), None, [0; 4]));
    assert!(!machine.console().contains("lost"), "{}", machine.console());
}
