//! Servers whose messages are whole, and not what was asked for.

use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, NAK, OFFER, REQUEST};

use super::{BOUND, RIGHT, WRONG, machine, right};

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn only_what_was_asked_for_is_answered() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    // 86: an ACK that nobody requested, and without option 80; a NAK.
    frames.send(&Answer::new(&discover, ACK, WRONG).frame());
    frames.send(&Answer::new(&discover, NAK, [0; 4]).frame());
    frames.send(&right(&discover, OFFER));
    let request = frames.next(REQUEST);
    assert_eq!(request.option(54), Some(&Answer::SERVER[..]));
    // 88: a second offer. 47: an ACK of another server. 89: a NAK of another server, and of nobody.
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
fn a_server_that_gives_another_address_than_it_offered_is_believed() {
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
fn a_grant_that_was_not_offered_needs_option_80() {
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
        // 75: what leads to the router stands behind what goes by it.
        (
            &[121, 14, 0, 10, 55, 0, 1, 32, 10, 55, 0, 1, 0, 0, 0, 0],
            &["default via 10.55.0.1 dev eth0", "10.55.0.1 dev eth0 "],
        ),
        // 77: both halves of everything.
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
        let said = machine.wait_for("settled\n");
        let routes = machine.ip(&["route"]);
        for route in expected {
            assert!(routes.contains(route), "{option:?}: {routes}");
        }
        let halves = said.matches("/1 by 10.55.0.1\n").count();
        assert_eq!(halves, if expected[0].starts_with("0.0.0.0/1") { 2 } else { 0 }, "{said}");
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
    // RFC 3203. A NAK and an ACK have no more to say now.
    for kind in [9, NAK, ACK, OFFER] {
        frames.send(&Answer::new(&request, kind, WRONG).frame());
    }
    lan.carrier(0, false);
    lan.carrier(0, true);
    // Its next message is that of a link that returned.
    let next = frames.next(REQUEST);
    assert_eq!((next.option(50), next.option(54), next.ciaddr()), (Some(&RIGHT[..]), None, [0; 4]));
    assert!(!machine.console().contains("lost"), "{}", machine.console());
}
