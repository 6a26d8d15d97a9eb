//! A server that sends invalid answers, frame by frame. With the timing of the RFC the init repeats a message after 4 s at the
//! earliest, so its next message shows what it did with each frame.

mod exchange;
mod flood;
mod ignored;
mod taken;

use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, Frames, OFFER, Query, REQUEST, with_header_byte};
use whit_tests::namespace::{Lan, Machine, Running};

/// The address in every message that is to be ignored.
const WRONG: [u8; 4] = [10, 55, 0, 66];
const RIGHT: [u8; 4] = [10, 55, 0, 77];
const BOUND: &str = "whit: eth0 10.55.0.77/24, lease 3600 s from 10.55.0.1\n";

/// Starts a machine whose cable is served by the test.
fn machine() -> (Running, Lan, Frames) {
    let machine = Machine::new()
        .directory("/rootfs/etc")
        .script("echo settled; exec sleep 1000")
        .command_line("whit.dhcp=rfc whit.net.timeout=20")
        .prepare();
    let lan = Lan::new();
    let (machine, frames) = lan.start(machine);
    (machine, lan, frames)
}

fn right(query: &Query, kind: u8) -> Vec<u8> {
    Answer::new(query, kind, RIGHT).frame()
}

/// Makes frames of a message that is correct except for its address.
type Break = fn(&Answer) -> Vec<Vec<u8>>;

/// Sends broken frames before each right one, and asserts that the init ignores them.
#[track_caller]
fn are_ignored(cases: &[(&str, Break)]) {
    for (what, broken) in cases {
        let (mut machine, _lan, mut frames) = machine();
        let discover = frames.next(DISCOVER);
        for frame in broken(&Answer::new(&discover, OFFER, WRONG)) {
            frames.send(&frame);
        }
        frames.send(&right(&discover, OFFER));
        let request = frames.next(REQUEST);
        assert_eq!(request.option(50), Some(&RIGHT[..]), "{what}: an OFFER was taken");
        assert_eq!(request.xid(), discover.xid(), "{what}");
        for frame in broken(&Answer::new(&request, ACK, WRONG)) {
            frames.send(&frame);
        }
        frames.send(&right(&request, ACK));
        machine.wait_for("whit: eth0 10.");
        assert_eq!(format!("whit: eth0 10.{}\n", machine.wait_for("\n")), BOUND, "{what}: an ACK was taken");
        machine.wait_for("settled\n");
    }
}

/// Sends only odd frames, and asserts that the init accepts them.
#[track_caller]
fn are_taken(cases: &[(&str, Break)]) {
    for (what, odd) in cases {
        let (mut machine, _lan, mut frames) = machine();
        for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
            let query = frames.next(kind);
            for frame in odd(&Answer::new(&query, answer, RIGHT)) {
                frames.send(&frame);
            }
        }
        machine.wait_for("whit: eth0 10.55.0.77/24");
        let logged = machine.wait_for("settled\n");
        assert!(logged.contains(", lease 3600 s from 10.55.0.1\n"), "{what}: {logged}");
    }
}

/// Returns frames of one packet, each with one of these changes to a byte of its headers.
fn header_bytes(answer: &Answer, changes: &[(usize, u8)]) -> Vec<Vec<u8>> {
    let packet = answer.packet();
    changes.iter().map(|(at, value)| answer.frame_of(&with_header_byte(&packet, *at, *value))).collect()
}

/// Returns frames of one packet, each with one of these numbers in two of its bytes, and without a UDP checksum.
fn header_numbers(answer: &Answer, at: usize, numbers: &[u16]) -> Vec<Vec<u8>> {
    let frame = |number: &u16| {
        let [high, low] = number.to_be_bytes();
        let mut packet = with_header_byte(&answer.packet(), at, high);
        packet[26..28].fill(0);
        answer.frame_of(&with_header_byte(&packet, at + 1, low))
    };
    numbers.iter().map(frame).collect()
}
