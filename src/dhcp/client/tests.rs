//! The machine as traces: what comes in at which time, what goes out.

extern crate std;
use super::super::wire::tests::{CHADDR, reply};
use super::*;
use std::vec::Vec;

const SERVER: [u8; 4] = [10, 0, 0, 1];
const OTHER: [u8; 4] = [10, 0, 0, 2];
const OURS: [u8; 4] = [10, 0, 0, 50];

fn client() -> Client {
    Client::new(CHADDR, 0x5eed, NEVER)
}

/// A server's message: a kind, a server identifier, a mask, a lease of 1000 s.
fn say(client: &mut Client, now_ms: u64, kind: u8, server: [u8; 4]) -> Action {
    let xid = client.xid;
    say_with(client, now_ms, kind, server, xid)
}

fn say_with(client: &mut Client, now_ms: u64, kind: u8, server: [u8; 4], xid: u32) -> Action {
    let [a, b, c, d] = server;
    let options = [53, 1, kind, 54, 4, a, b, c, d, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 0x03, 0xe8];
    let yiaddr = if kind == NAK { [0; 4] } else { OURS };
    let bytes = reply(xid, yiaddr, &options);
    client.receive(now_ms, &Message::parse(&bytes).unwrap(), Address(server))
}

const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

#[track_caller]
fn sent(action: Action) -> (Query, Destination) {
    match action {
        Action::Send(query, destination) => (query, destination),
        other => panic!("nothing was sent: {other:?}"),
    }
}

/// Lets the deadline come and returns what is sent then, with the time.
#[track_caller]
fn fire(client: &mut Client) -> (u64, Action) {
    let now_ms = client.deadline_ms();
    assert_ne!(now_ms, NEVER, "a deadline");
    (now_ms, client.timeout(now_ms))
}

fn bound(client: &mut Client, now_ms: u64) {
    sent(client.link(now_ms, true));
    sent(say(client, now_ms, OFFER, SERVER));
    assert_eq!(say(client, now_ms, ACK, SERVER), Action::Configure);
}

#[test]
fn an_interface_may_be_brought_up_later() {
    let mut client = Client::new(CHADDR, 0x5eed, 500);
    assert_eq!(client.link(3, false), Action::Nothing);
    assert_eq!(fire(&mut client), (500, Action::BringUp));
    assert_eq!(client.deadline_ms(), NEVER, "once");
    sent(client.link(510, true));

    // Somebody else brought it up before.
    let mut client = Client::new(CHADDR, 0x5eed, 500);
    sent(client.link(100, true));
    assert!(matches!(fire(&mut client), (300..400, Action::Send(..))));
}

#[test]
fn four_messages_bind() {
    let mut client = client();
    assert_eq!(client.deadline_ms(), NEVER, "nothing happens without a link");
    let (discover, to) = sent(client.link(5, true));
    assert_eq!((discover.kind, discover.secs, to), (Kind::Discover, 0, Destination::Broadcast));
    let (request, to) = sent(say(&mut client, 6, OFFER, SERVER));
    assert_eq!((request.kind, request.xid, to), (Kind::Request, discover.xid, Destination::Broadcast));
    assert_eq!(request.offer, Some((Address(OURS), Address(SERVER))));
    assert_eq!(say(&mut client, 7, ACK, SERVER), Action::Configure);
    let lease = client.lease().expect("a lease");
    assert_eq!((lease.address, lease.prefix_length), (Address(OURS), 24));
    assert_eq!(client.deadline_ms(), 7 + 500_000, "T1");
}

#[test]
fn discovers_keep_their_xid_and_back_off() {
    let mut client = client();
    let (first, _) = sent(client.link(0, true));
    let mut before_ms = 0;
    for gap_ms in [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000, 64_000] {
        let (now_ms, action) = fire(&mut client);
        let gap = now_ms - before_ms;
        assert!((gap_ms * 9 / 10..=gap_ms * 11 / 10).contains(&gap), "{gap} ms for {gap_ms} ms");
        let (query, _) = sent(action);
        assert_eq!((query.kind, query.xid), (Kind::Discover, first.xid));
        assert_eq!(u64::from(query.secs), now_ms / 1000);
        before_ms = now_ms;
    }
    // A slow server's answer to the first counts, and the REQUEST repeats the DISCOVER's secs.
    let (request, _) = sent(say(&mut client, before_ms + 1, OFFER, SERVER));
    assert_eq!(u64::from(request.secs), before_ms / 1000);
}

#[test]
fn jitter_differs_between_clients() {
    let deadlines: std::collections::BTreeSet<_> = (0..100u32)
        .map(|seed| {
            let mut client = Client::new(CHADDR, seed << 8, NEVER);
            client.link(0, true);
            client.deadline_ms()
        })
        .collect();
    assert!(deadlines.len() > 20, "{deadlines:?}");
}

#[test]
fn what_is_not_ours_is_ignored() {
    let mut client = client();
    sent(client.link(0, true));
    let (xid, deadline_ms) = (client.xid, client.deadline_ms());
    assert_eq!(say_with(&mut client, 1, OFFER, SERVER, xid ^ 1), Action::Nothing);
    let mut bytes = reply(xid, OURS, &[53, 1, OFFER]);
    bytes[28] ^= 2;
    assert_eq!(client.receive(1, &Message::parse(&bytes).unwrap(), Address(SERVER)), Action::Nothing);
    assert_eq!(say(&mut client, 1, ACK, SERVER), Action::Nothing, "an ACK that nobody asked for");
    assert_eq!(say(&mut client, 1, NAK, SERVER), Action::Nothing);
    assert_eq!((client.state(), client.deadline_ms()), (State::Selecting, deadline_ms));
}

#[test]
fn the_first_offer_wins_and_only_its_server_counts() {
    let mut client = client();
    sent(client.link(0, true));
    sent(say(&mut client, 1, OFFER, SERVER));
    assert_eq!(say(&mut client, 2, OFFER, OTHER), Action::Nothing);
    assert_eq!(say(&mut client, 3, NAK, OTHER), Action::Nothing);
    assert_eq!(say(&mut client, 4, ACK, OTHER), Action::Nothing);
    assert_eq!(say(&mut client, 5, ACK, SERVER), Action::Configure);
    assert_eq!(say(&mut client, 6, ACK, SERVER), Action::Nothing, "a second copy");
}

#[test]
fn a_server_without_identifier_is_known_by_its_address() {
    let mut client = client();
    sent(client.link(0, true));
    let bytes = reply(client.xid, OURS, &[53, 1, OFFER]);
    let (request, _) = sent(client.receive(1, &Message::parse(&bytes).unwrap(), Address(SERVER)));
    assert_eq!(request.offer.map(|(_, server)| server), Some(Address(SERVER)));
}

#[test]
fn an_unanswered_request_is_given_up_after_four() {
    let mut client = client();
    let (discover, _) = sent(client.link(0, true));
    sent(say(&mut client, 1, OFFER, SERVER));
    for _ in 1..MAX_REQUESTS {
        assert_eq!(sent(fire(&mut client).1).0.kind, Kind::Request);
    }
    let (again, _) = sent(fire(&mut client).1);
    assert_eq!(again.kind, Kind::Discover);
    assert_ne!(again.xid, discover.xid);
}

#[test]
fn refusals_start_again_ever_later() {
    let mut client = client();
    sent(client.link(0, true));
    sent(say(&mut client, 0, OFFER, SERVER));
    let mut now_ms = 0;
    assert_eq!(say(&mut client, now_ms, NAK, SERVER), Action::Nothing);
    assert_eq!(client.deadline_ms(), now_ms, "at once the first time");
    assert_eq!(sent(fire(&mut client).1).0.kind, Kind::Discover);
    for wait_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000] {
        sent(say(&mut client, now_ms, OFFER, SERVER));
        assert_eq!(say(&mut client, now_ms, NAK, SERVER), Action::Nothing);
        assert_eq!(say(&mut client, now_ms, OFFER, SERVER), Action::Nothing, "not before a DISCOVER");
        let (then_ms, action) = fire(&mut client);
        assert_eq!((sent(action).0.kind, then_ms - now_ms), (Kind::Discover, wait_ms));
        now_ms = then_ms;
    }
}

#[test]
fn a_lease_is_renewed_then_rebound_then_lost() {
    let mut client = client();
    bound(&mut client, 0);
    let mut trace = Vec::new();
    let end_ms = loop {
        let (now_ms, action) = fire(&mut client);
        if action == Action::Deconfigure {
            break now_ms;
        }
        let (query, to) = sent(action);
        assert_eq!((query.kind, query.ciaddr), (Kind::Request, Address(OURS)));
        assert_eq!(query.offer, None, "RFC 2131 §4.3.2");
        trace.push((now_ms / 1000, to));
    };
    let server = Destination::Server(Address(SERVER));
    let expected = [
        (500, server),
        (687, server),
        (781, server),
        (841, server),
        (875, Destination::Broadcast),
        (937, Destination::Broadcast),
        (997, Destination::Broadcast),
    ];
    assert_eq!((&trace[..], end_ms), (&expected[..], 1_000_000));
    assert_eq!(client.lease(), None);
    assert_eq!(sent(fire(&mut client).1).0.kind, Kind::Discover);
}

#[test]
fn a_renewed_lease_counts_from_its_ack() {
    let mut client = client();
    bound(&mut client, 0);
    let (now_ms, _) = fire(&mut client);
    assert_eq!(say(&mut client, now_ms, ACK, OTHER), Action::Nothing, "RENEWING: only the chosen server");
    assert_eq!(say(&mut client, now_ms + 5, ACK, SERVER), Action::Configure);
    assert_eq!(client.deadline_ms(), now_ms + 5 + 500_000);
}

#[test]
fn any_server_may_refuse_or_grant_while_rebinding() {
    for kind in [ACK, NAK] {
        let mut client = client();
        bound(&mut client, 0);
        while client.state() != State::Rebinding {
            fire(&mut client);
        }
        let now_ms = 900_000;
        let action = say(&mut client, now_ms, kind, OTHER);
        assert_eq!(action, if kind == ACK { Action::Configure } else { Action::Deconfigure });
        if kind == NAK {
            assert_eq!(client.deadline_ms(), now_ms, "and begins at once");
        }
    }
}

#[test]
fn the_link_may_come_and_go() {
    let mut client = client();
    sent(client.link(0, true));
    assert_eq!(client.link(10, true), Action::Nothing);
    assert_eq!(client.link(20, false), Action::Nothing);
    assert_eq!(client.deadline_ms(), NEVER);
    bound(&mut client, 5000);
    assert_eq!(client.link(6000, false), Action::Nothing);
    assert!(client.lease().is_some(), "a lease outlives a short loss");
}

#[test]
fn an_infinite_lease_has_no_deadline() {
    let mut client = client();
    sent(client.link(0, true));
    for kind in [OFFER, ACK] {
        let bytes = reply(client.xid, OURS, &[53, 1, kind, 51, 4, 255, 255, 255, 255]);
        client.receive(0, &Message::parse(&bytes).unwrap(), Address(SERVER));
    }
    assert_eq!(client.state(), State::Bound);
    assert_eq!(client.deadline_ms(), NEVER);
}
