//! Tests of the state machine, as traces of events with explicit times.

extern crate std;
use super::super::wire::tests::{CHADDR, reply};
use super::*;
use std::vec::Vec;

const SERVER: [u8; 4] = [10, 0, 0, 1];
const OTHER: [u8; 4] = [10, 0, 0, 2];
const OURS: [u8; 4] = [10, 0, 0, 50];

const FAST: Timing = Timing { ipv6_only: false, first_gap_ms: FIRST_GAP_MS, probe_ms: 0 };

fn client() -> Client {
    Client::new(&CHADDR, 0x5eed, FAST, NEVER)
}

/// Delivers a server's message: a type, a server identifier, a mask, a lease of 1000 s.
fn deliver(client: &mut Client, now_ms: u64, kind: u8, server: [u8; 4]) -> Action {
    let xid = client.query.xid;
    deliver_with(client, now_ms, kind, server, xid)
}

fn deliver_with(client: &mut Client, now_ms: u64, kind: u8, server: [u8; 4], xid: u32) -> Action {
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
fn sent(action: Action, client: &Client) -> (Query, Destination) {
    assert_eq!(action, Action::Send);
    (*client.query(), client.destination())
}

/// Runs the client at its deadline. Returns the time and the action.
#[track_caller]
fn fire(client: &mut Client) -> (u64, Action) {
    let now_ms = client.deadline_ms();
    assert_ne!(now_ms, NEVER, "a deadline");
    (now_ms, client.timeout(now_ms))
}

fn bound(client: &mut Client, now_ms: u64) {
    sent(client.link(now_ms, true), &client);
    sent(deliver(client, now_ms, OFFER, SERVER), &client);
    assert_eq!(deliver(client, now_ms, ACK, SERVER), Action::Configure);
}

#[test]
fn an_interface_may_be_brought_up_later() {
    let mut client = Client::new(&CHADDR, 0x5eed, FAST, 500);
    assert_eq!(client.link(3, false), Action::Nothing);
    assert_eq!(fire(&mut client), (500, Action::BringUp));
    assert_eq!(client.deadline_ms(), NEVER, "once");
    sent(client.link(510, true), &client);

    // Another program brought it up before.
    let mut client = Client::new(&CHADDR, 0x5eed, FAST, 500);
    sent(client.link(100, true), &client);
    assert!(matches!(fire(&mut client), (300..400, Action::Send)));
}

#[test]
fn four_messages_lead_to_bound() {
    let mut client = client();
    assert_eq!(client.deadline_ms(), NEVER, "nothing happens without a link");
    let (discover, to) = sent(client.link(5, true), &client);
    assert_eq!((discover.kind, discover.secs, to), (Kind::Discover, 0, Destination::Broadcast));
    let (request, to) = sent(deliver(&mut client, 6, OFFER, SERVER), &client);
    assert_eq!((request.kind, request.xid, to), (Kind::Request, discover.xid, Destination::Broadcast));
    assert_eq!((request.requested, request.server), (Some(Address(OURS)), Some(Address(SERVER))));
    assert_eq!(deliver(&mut client, 7, ACK, SERVER), Action::Configure);
    let lease = client.lease().expect("a lease");
    assert_eq!((lease.address, lease.prefix_length), (Address(OURS), 24));
    assert_eq!(client.deadline_ms(), 7 + 500_000, "T1");
}

#[test]
fn discovers_keep_their_xid_and_back_off() {
    let mut client = client();
    let (first, _) = sent(client.link(0, true), &client);
    let mut before_ms = 0;
    for gap_ms in [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000, 64_000] {
        let (now_ms, action) = fire(&mut client);
        let gap = now_ms - before_ms;
        assert!((gap_ms * 9 / 10..=gap_ms * 11 / 10).contains(&gap), "{gap} ms for {gap_ms} ms");
        let (query, _) = sent(action, &client);
        assert_eq!((query.kind, query.xid), (Kind::Discover, first.xid));
        assert_eq!(u64::from(query.secs), now_ms / 1000);
        before_ms = now_ms;
    }
    // A slow server's answer to the first counts, and the REQUEST repeats the DISCOVER's secs.
    let (request, _) = sent(deliver(&mut client, before_ms + 1, OFFER, SERVER), &client);
    assert_eq!(u64::from(request.secs), before_ms / 1000);
}

#[test]
fn jitter_differs_between_clients() {
    let deadlines: std::collections::BTreeSet<_> = (0..100u32)
        .map(|seed| {
            let mut client = Client::new(&CHADDR, seed << 8, FAST, NEVER);
            client.link(0, true);
            client.deadline_ms()
        })
        .collect();
    assert!(deadlines.len() > 20, "{deadlines:?}");
}

#[test]
fn messages_for_other_clients_and_unsolicited_ones_are_ignored() {
    let mut client = client();
    sent(client.link(0, true), &client);
    let (xid, deadline_ms) = (client.query.xid, client.deadline_ms());
    assert_eq!(deliver_with(&mut client, 1, OFFER, SERVER, xid ^ 1), Action::Nothing);
    let mut bytes = reply(xid, OURS, &[53, 1, OFFER]);
    bytes[28] ^= 2;
    assert_eq!(client.receive(1, &Message::parse(&bytes).unwrap(), Address(SERVER)), Action::Nothing);
    assert_eq!(deliver(&mut client, 1, ACK, SERVER), Action::Nothing, "an unsolicited ACK");
    assert_eq!(deliver(&mut client, 1, NAK, SERVER), Action::Nothing);
    assert_eq!((client.state(), client.deadline_ms()), (State::Selecting, deadline_ms));
}

#[test]
fn the_first_offer_wins_and_only_its_server_counts() {
    let mut client = client();
    sent(client.link(0, true), &client);
    sent(deliver(&mut client, 1, OFFER, SERVER), &client);
    assert_eq!(deliver(&mut client, 2, OFFER, OTHER), Action::Nothing);
    assert_eq!(deliver(&mut client, 3, NAK, OTHER), Action::Nothing);
    let other_address = reply_of(&client, OTHER, [10, 0, 0, 51]);
    assert_eq!(client.receive(4, &Message::parse(&other_address).unwrap(), Address(OTHER)), Action::Nothing);
    assert_eq!(deliver(&mut client, 5, ACK, SERVER), Action::Configure);
    assert_eq!(deliver(&mut client, 6, ACK, SERVER), Action::Nothing, "a second copy");
}

/// Returns a server's ACK of an address.
fn reply_of(client: &Client, [a, b, c, d]: [u8; 4], yiaddr: [u8; 4]) -> Vec<u8> {
    reply(client.query.xid, yiaddr, &[53, 1, ACK, 54, 4, a, b, c, d, 51, 4, 0, 0, 3, 0xe8])
}

#[test]
fn the_ack_of_the_requested_address_counts_from_any_server() {
    let mut client = client();
    sent(client.link(0, true), &client);
    sent(deliver(&mut client, 1, OFFER, SERVER), &client);
    assert_eq!(deliver(&mut client, 2, NAK, OTHER), Action::Nothing);
    assert_eq!(deliver(&mut client, 3, ACK, OTHER), Action::Configure);
    assert_eq!(client.lease().expect("a lease").server, Address(OTHER));
    // While it is renewed, too.
    let (now_ms, action) = fire(&mut client);
    assert_eq!(sent(action, &client).1, Destination::Server(Address(OTHER)));
    assert_eq!(deliver(&mut client, now_ms, NAK, SERVER), Action::Nothing);
    let other_address = reply_of(&client, SERVER, [10, 0, 0, 51]);
    assert_eq!(client.receive(now_ms, &Message::parse(&other_address).unwrap(), Address(SERVER)), Action::Nothing);
    assert_ne!(deliver(&mut client, now_ms, ACK, SERVER), Action::Nothing);
    assert_eq!(client.state(), State::Bound);
    // The server itself may grant another address than it offered.
    let mut client = self::client();
    sent(client.link(0, true), &client);
    sent(deliver(&mut client, 1, OFFER, SERVER), &client);
    let other_address = reply_of(&client, SERVER, [10, 0, 0, 51]);
    assert_eq!(client.receive(2, &Message::parse(&other_address).unwrap(), Address(SERVER)), Action::Configure);
}

#[test]
fn a_server_without_identifier_is_identified_by_its_address() {
    let mut client = client();
    sent(client.link(0, true), &client);
    let bytes = reply(client.query.xid, OURS, &[53, 1, OFFER]);
    let (request, _) = sent(client.receive(1, &Message::parse(&bytes).unwrap(), Address(SERVER)), &client);
    assert_eq!(request.server, Some(Address(SERVER)));
}

#[test]
fn four_unanswered_requests_lead_to_a_discover() {
    let mut client = client();
    let (discover, _) = sent(client.link(0, true), &client);
    sent(deliver(&mut client, 1, OFFER, SERVER), &client);
    for _ in 1..MAX_REQUESTS {
        assert_eq!(sent(fire(&mut client).1, &client).0.kind, Kind::Request);
    }
    let (again, _) = sent(fire(&mut client).1, &client);
    assert_eq!(again.kind, Kind::Discover);
    assert_ne!(again.xid, discover.xid);
}

#[test]
fn consecutive_naks_back_off() {
    let mut client = client();
    sent(client.link(0, true), &client);
    sent(deliver(&mut client, 0, OFFER, SERVER), &client);
    let mut now_ms = 0;
    assert_eq!(deliver(&mut client, now_ms, NAK, SERVER), Action::Nothing);
    assert_eq!(client.deadline_ms(), now_ms, "no delay after the first");
    assert_eq!(sent(fire(&mut client).1, &client).0.kind, Kind::Discover);
    for wait_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000] {
        sent(deliver(&mut client, now_ms, OFFER, SERVER), &client);
        assert_eq!(deliver(&mut client, now_ms, NAK, SERVER), Action::Nothing);
        assert_eq!(deliver(&mut client, now_ms, OFFER, SERVER), Action::Nothing, "not before a DISCOVER");
        let (then_ms, action) = fire(&mut client);
        assert_eq!((sent(action, &client).0.kind, then_ms - now_ms), (Kind::Discover, wait_ms));
        now_ms = then_ms;
    }
}

#[test]
fn a_lease_is_renewed_then_rebound_then_expires() {
    let mut client = client();
    bound(&mut client, 0);
    let mut trace = Vec::new();
    let end_ms = loop {
        let (now_ms, action) = fire(&mut client);
        if action == Action::Deconfigure {
            break now_ms;
        }
        let (query, to) = sent(action, &client);
        assert_eq!((query.kind, query.ciaddr), (Kind::Request, Address(OURS)));
        assert_eq!((query.requested, query.server), (None, None), "RFC 2131 §4.3.2");
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
    assert!(client.lease().is_none());
    let (query, _) = sent(fire(&mut client).1, &client);
    assert_eq!((query.kind, query.requested), (Kind::Request, Some(Address(OURS))), "INIT-REBOOT");
}

#[test]
fn a_renewed_lease_counts_from_its_ack() {
    let mut client = client();
    bound(&mut client, 0);
    let (now_ms, _) = fire(&mut client);
    assert_eq!(deliver(&mut client, now_ms + 5, ACK, SERVER), Action::Extend);
    assert_eq!(client.deadline_ms(), now_ms + 5 + 500_000);
    let (now_ms, _) = fire(&mut client);
    let [a, b, c, d] = SERVER;
    let bytes = reply(client.query.xid, OURS, &[53, 1, ACK, 54, 4, a, b, c, d, 51, 4, 0, 0, 3, 0xe8, 6, 4, 8, 8, 8, 8]);
    let action = client.receive(now_ms, &Message::parse(&bytes).unwrap(), Address(SERVER));
    assert_eq!(action, Action::Configure, "another mask, and a DNS server");
}

#[test]
fn any_server_may_reply_while_rebinding() {
    for kind in [ACK, NAK] {
        let mut client = client();
        bound(&mut client, 0);
        while client.state() != State::Rebinding {
            fire(&mut client);
        }
        let now_ms = 900_000;
        let action = deliver(&mut client, now_ms, kind, OTHER);
        assert_eq!(action, if kind == ACK { Action::Configure } else { Action::Deconfigure });
        if kind == NAK {
            assert_eq!(client.deadline_ms(), now_ms, "no delay");
        }
    }
}

#[test]
fn a_rapid_commit_skips_two_messages() {
    let mut client = client();
    sent(client.link(0, true), &client);
    let rapid = |client: &Client, kind| {
        let [a, b, c, d] = SERVER;
        reply(client.query.xid, OURS, &[53, 1, kind, 54, 4, a, b, c, d, 80, 0, 51, 4, 0, 0, 3, 0xe8])
    };
    let offer = rapid(&client, OFFER);
    let mut other = client.clone();
    sent(other.receive(1, &Message::parse(&offer).unwrap(), Address(SERVER)), &other);
    assert_eq!(other.state(), State::Requesting, "an OFFER with option 80 is still an OFFER");
    let ack = rapid(&client, ACK);
    assert_eq!(client.receive(1, &Message::parse(&ack).unwrap(), Address(SERVER)), Action::Configure);
    assert_eq!((client.state(), client.deadline_ms()), (State::Bound, 500_001));
}

#[test]
fn a_nak_needs_a_server_identifier() {
    let mut client = client();
    sent(client.link(0, true), &client);
    sent(deliver(&mut client, 1, OFFER, SERVER), &client);
    let nak = reply(client.query.xid, [0; 4], &[53, 1, NAK]);
    assert_eq!(client.receive(2, &Message::parse(&nak).unwrap(), Address(SERVER)), Action::Nothing);
    assert_eq!(client.state(), State::Requesting);
    assert_eq!(deliver(&mut client, 3, ACK, SERVER), Action::Configure);
}

#[test]
fn a_reply_with_another_client_identifier_is_ignored() {
    let mut client = client();
    sent(client.link(0, true), &client);
    let mut options = std::vec![53, 1, OFFER, 61, 7, 1];
    options.extend(CHADDR);
    let mut other = options.clone();
    other[6] ^= 1;
    for options in [&other, &options[..6].iter().chain(b"\x01").copied().collect()] {
        let bytes = reply(client.query.xid, OURS, options);
        let ignored = Message::parse(&bytes)
            .is_none_or(|message| client.receive(1, &message, Address(SERVER)) == Action::Nothing);
        assert!(ignored, "{options:?}");
    }
    let bytes = reply(client.query.xid, OURS, &options);
    sent(client.receive(1, &Message::parse(&bytes).unwrap(), Address(SERVER)), &client);
}

#[test]
fn some_messages_request_a_broadcast_reply() {
    let mut client = client();
    let mut flags = std::vec![sent(client.link(0, true), &client).0.broadcast];
    flags.extend((0..11).map(|_| sent(fire(&mut client).1, &client).0.broadcast));
    let expected = [false, false, false, true, false, true, false, true, false, true, false, true];
    assert_eq!(flags, expected);
}

/// A client whose fourth DISCOVER requests a broadcast, and the time.
fn without_unicast() -> (Client, u64) {
    let mut client = client();
    sent(client.link(0, true), &client);
    let mut now_ms = 0;
    while !client.query.broadcast {
        now_ms = fire(&mut client).0;
    }
    (client, now_ms)
}

#[test]
fn a_request_is_answered_like_the_discover_and_so_is_a_reboot() {
    let (mut client, now_ms) = without_unicast();
    for number in 0..MAX_REQUESTS {
        let action = if number == 0 { deliver(&mut client, now_ms, OFFER, SERVER) } else { fire(&mut client).1 };
        let (request, _) = sent(action, &client);
        assert!(request.kind == Kind::Request && request.broadcast, "{request:?}");
    }
    let now_ms = client.deadline_ms() - 1;
    assert_eq!(deliver(&mut client, now_ms, ACK, SERVER), Action::Configure);
    // The carrier returns: also after a renewal.
    let (renewed_ms, _) = fire(&mut client);
    assert_eq!(deliver(&mut client, renewed_ms, ACK, SERVER), Action::Extend);
    client.link(renewed_ms + 1000, false);
    for action in [client.link(renewed_ms + 2000, true), fire(&mut client).1] {
        let (request, _) = sent(action, &client);
        assert!(request.kind == Kind::Request && request.broadcast, "{request:?}");
    }
    let (discover, _) = sent(fire(&mut client).1, &client);
    assert!(discover.kind == Kind::Discover && discover.broadcast, "{discover:?}");
}

#[test]
fn a_late_offer_is_requested_in_the_way_that_it_came() {
    let (mut client, _) = without_unicast();
    let (now_ms, action) = fire(&mut client);
    assert!(!sent(action, &client).0.broadcast);
    let mut offer = reply(client.query.xid, OURS, &[53, 1, OFFER, 54, 4, 10, 0, 0, 1, 51, 4, 0, 0, 3, 0xe8]);
    offer[10] = 0x80;
    let action = client.receive(now_ms + 1, &Message::parse(&offer).unwrap(), Address(SERVER));
    assert!(sent(action, &client).0.broadcast);
    // Requests for the reply of an offer that came by unicast end with one for a broadcast.
    let mut client = self::client();
    sent(client.link(0, true), &client);
    let first = deliver(&mut client, 1, OFFER, SERVER);
    let mut flags = std::vec![sent(first, &client).0.broadcast];
    flags.extend((1..MAX_REQUESTS).map(|_| sent(fire(&mut client).1, &client).0.broadcast));
    assert_eq!(flags, [false, false, false, true]);
}

#[test]
fn a_lease_holds_while_another_one_is_requested() {
    let (mut client, now_ms) = returned();
    while client.state() != State::Selecting {
        fire(&mut client);
    }
    assert_eq!(client.lease().expect("the lease holds").address, Address(OURS));
    let offer = reply(client.query.xid, [10, 0, 0, 99], &[53, 1, OFFER, 54, 4, 10, 0, 0, 2, 51, 4, 0, 0, 3, 0xe8]);
    let (request, _) = sent(client.receive(now_ms + 2000, &Message::parse(&offer).unwrap(), Address(OTHER)), &client);
    assert_eq!((request.requested, request.server), (Some(Address([10, 0, 0, 99])), Some(Address(OTHER))));
    let lease = client.lease().expect("the lease holds");
    assert_eq!((lease.address, lease.server), (Address(OURS), Address(SERVER)));
}

#[test]
fn the_classic_timing_starts_at_four_seconds() {
    let mut client = Client::new(&CHADDR, 0x5eed, Timing { first_gap_ms: CLASSIC_GAP_MS, ..FAST }, NEVER);
    sent(client.link(0, true), &client);
    let mut before_ms = 0;
    for gap_ms in [4000, 8000, 16_000, 32_000, 64_000, 64_000, 64_000, 64_000, 64_000, 64_000, 64_000] {
        let (now_ms, _) = fire(&mut client);
        let gap = now_ms - before_ms;
        assert!((gap_ms * 9 / 10..=gap_ms * 11 / 10).contains(&gap), "{gap} ms for {gap_ms} ms");
        before_ms = now_ms;
    }
}

/// A client whose link was down for a second, and the time.
fn returned() -> (Client, u64) {
    let mut client = client();
    bound(&mut client, 0);
    assert_eq!(client.link(5000, false), Action::Nothing);
    let (query, to) = sent(client.link(6000, true), &client);
    assert_eq!((query.kind, query.requested, query.server), (Kind::Request, Some(Address(OURS)), None));
    assert_eq!((query.ciaddr, to), (Address::UNSPECIFIED, Destination::Broadcast), "RFC 2131 §4.3.2, INIT-REBOOT");
    assert!(client.lease().is_some(), "until a NAK or its expiry");
    (client, 6000)
}

#[test]
fn an_infinite_lease_has_no_deadline() {
    let mut client = client();
    sent(client.link(0, true), &client);
    for kind in [OFFER, ACK] {
        let bytes = reply(client.query.xid, OURS, &[53, 1, kind, 51, 4, 255, 255, 255, 255]);
        client.receive(0, &Message::parse(&bytes).unwrap(), Address(SERVER));
    }
    assert_eq!(client.state(), State::Bound);
    assert_eq!(client.deadline_ms(), NEVER);
}

#[test]
fn offers_of_unusable_addresses_are_ignored() {
    let mut client = client();
    assert_eq!(client.chaddr(), CHADDR);
    let _ = client.link(0, true);
    for address in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        for kind in [OFFER, ACK] {
            let bytes =
                reply(client.query.xid, address, &[53, 1, kind, 54, 4, 10, 0, 0, 1, 51, 4, 0, 0, 3, 0xe8, 80, 0]);
            let action = client.receive(1, &Message::parse(&bytes).unwrap(), Address(SERVER));
            assert!(matches!(action, Action::Nothing), "{address:?} {kind}: {action:?}");
        }
    }
    let action = deliver(&mut client, 2, OFFER, SERVER);
    assert_eq!(sent(action, &client).0.kind, Kind::Request);
    assert_eq!(deliver(&mut client, 3, ACK, SERVER), Action::Configure);
}

mod address;
mod carrier;

#[test]
fn clients_of_one_machine_have_different_transactions() {
    // As the network does: the index of the interface is spread over 32 bits. The hardware addresses may be the same.
    let xids: std::collections::BTreeSet<u32> = (1..1000u32)
        .map(|index| {
            let mut client = Client::new(&CHADDR, seed_of(0x5eed, index), FAST, NEVER);
            sent(client.link(0, true), &client).0.xid
        })
        .collect();
    assert_eq!(xids.len(), 999);
}

#[test]
fn a_network_for_ipv6_alone_is_left_for_a_time() {
    let answer = |client: &Client, kind, wait_s: u32| {
        let [a, b, c, d] = wait_s.to_be_bytes();
        reply(
            client.query.xid,
            OURS,
            &[53, 1, kind, 54, 4, 10, 0, 0, 1, 80, 0, 51, 4, 0, 0, 3, 0xe8, 108, 4, a, b, c, d],
        )
    };
    let receive = |client: &mut Client, now_ms, bytes: &[u8]| {
        client.receive(now_ms, &Message::parse(bytes).unwrap(), Address(SERVER))
    };
    let new = || Client::new(&CHADDR, 0x5eed, Timing { ipv6_only: true, ..FAST }, NEVER);
    for (kind, wait_s, waited_ms) in [(OFFER, 1800, 1_800_000), (ACK, 0, 300_000), (ACK, u32::MAX, 4_294_967_295_000)] {
        let mut client = new();
        let (discover, _) = sent(client.link(0, true), &client);
        let bytes = answer(&client, kind, wait_s);
        assert_eq!(receive(&mut client, 5, &bytes), Action::Ipv6Only);
        assert!(client.needs_no_lease() && client.lease().is_none());
        assert_eq!(receive(&mut client, 6, &bytes), Action::Nothing, "once");
        let (now_ms, action) = fire(&mut client);
        let (again, _) = sent(action, &client);
        assert_eq!((now_ms, again.kind, client.needs_no_lease()), (5 + waited_ms, Kind::Discover, false));
        assert_ne!(again.xid, discover.xid);
    }
    // A lease in use goes with the next carrier. Its renewals are not affected.
    let mut client = new();
    bound(&mut client, 0);
    let (now_ms, _) = fire(&mut client);
    let bytes = answer(&client, ACK, 1800);
    assert_ne!(receive(&mut client, now_ms, &bytes), Action::Ipv6Only);
    client.link(now_ms + 1, false);
    sent(client.link(now_ms + 2, true), &client);
    let bytes = answer(&client, ACK, 1800);
    assert_eq!(receive(&mut client, now_ms + 3, &bytes), Action::Ipv6Only);
    assert_eq!((client.lease().is_none(), client.deadline_ms()), (true, now_ms + 3 + 1_800_000));
    client.link(now_ms + 4, false);
    assert_eq!(sent(client.link(now_ms + 5, true), &client).0.kind, Kind::Discover);
}
