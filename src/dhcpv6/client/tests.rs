//! Traces of the client with explicit times.

extern crate std;
use super::*;
use crate::text::tests::shown;
use std::vec::Vec;

pub(super) const CHADDR: HardwareAddress = [2, 0, 0, 0, 0, 7];
pub(super) const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 9];
const ADDRESS: [u8; 16] = [0xfd, 0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x50];

/// Encodes an option.
pub(super) fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// Encodes an IA_NA of the client with these options.
pub(super) fn association(t1: u32, t2: u32, options: &[u8]) -> Vec<u8> {
    option(code::IA_NA, &[&CHADDR[2..], &t1.to_be_bytes(), &t2.to_be_bytes(), options].concat())
}

/// Encodes an address with its lifetimes.
pub(super) fn address(address: [u8; 16], preferred_s: u32, valid_s: u32) -> Vec<u8> {
    option(code::IA_ADDRESS, &[&address[..], &preferred_s.to_be_bytes(), &valid_s.to_be_bytes()].concat())
}

/// Encodes a server's message to the client.
pub(super) fn answer(kind: u32, xid: u32, options: &[Vec<u8>]) -> Vec<u8> {
    let client = duid(CHADDR);
    let both = [option(code::CLIENT_ID, &client), option(code::SERVER_ID, &SERVER)].concat();
    [&(kind << 24 | xid).to_be_bytes()[..], &both, &options.concat()].concat()
}

/// An hour, renewed after 1000 s and rebound after 2000 s.
fn hour() -> Vec<u8> {
    association(1000, 2000, &address(ADDRESS, 3000, 3600))
}

fn receive(client: &mut Client, now_ms: u64, bytes: &[u8]) -> Action {
    client.receive(now_ms, &Message::parse(bytes).unwrap())
}

fn sent(client: &Client, now_ms: u64) -> Vec<u8> {
    let mut message = Encoded::new();
    client.encode(now_ms, &mut message);
    message.to_vec()
}

/// Returns a client with a carrier on a managed network.
fn managed() -> Client {
    let mut client = Client::new(CHADDR, 7);
    client.link(0, true);
    client.advertised(0, MANAGED);
    client
}

/// Returns a client with a lease, from time 0 on.
fn bound() -> Client {
    let mut client = managed();
    assert_eq!(client.timeout(0), Action::Send);
    let reply = answer(wire::REPLY, client.xid, &[option(code::RAPID_COMMIT, &[]), hour()]);
    assert_eq!(receive(&mut client, 0, &reply), Action::Configure);
    assert_eq!(shown(client.address()), "fd55::150");
    client
}

#[test]
fn messages_have_these_bytes() {
    let mut client = managed();
    assert_eq!(client.timeout(0), Action::Send);
    let [_, x0, x1, x2] = client.xid.to_be_bytes();
    let identifier = [0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 7];
    let request = [0, 6, 0, 10, 0, 23, 0, 24, 0, 32, 0, 82, 0, 83];
    let expected = [
        &[1, x0, x1, x2][..],
        &identifier,
        &[0, 8, 0, 2, 0, 0],
        &request,
        &[0, 14, 0, 0],
        &[0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(sent(&client, 0), expected.concat());
    // The second Solicit has the elapsed time, in hundredths of a second.
    let second_ms = client.deadline_ms();
    assert_eq!(client.timeout(second_ms), Action::Send);
    assert_eq!(sent(&client, second_ms)[18..24], [&[0, 8, 0, 2][..], &(second_ms as u16 / 10).to_be_bytes()].concat());

    let mut client = bound();
    assert_eq!(client.timeout(1_000_000), Action::Send);
    let [_, x0, x1, x2] = client.xid.to_be_bytes();
    let address = [&[0, 5, 0, 24][..], &ADDRESS, &[0; 8]].concat();
    let expected = [
        &[5, x0, x1, x2][..],
        &identifier,
        &[0, 8, 0, 2, 0, 0],
        &[0, 2, 0, 10],
        &SERVER,
        &request,
        &[0, 3, 0, 40, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0],
        &address,
    ];
    assert_eq!(sent(&client, 1_000_000), expected.concat());
    client.release(1_000_000);
    assert_eq!(client.timeout(1_000_000), Action::Send);
    let release = sent(&client, 1_000_000);
    assert!(release[0] == 8 && release.ends_with(&address) && !release.windows(14).any(|part| part == request));
}

#[test]
fn the_longest_message_fits() {
    let mut client = bound();
    client.server = crate::bounded::Vec::from_slice(&[7; MAX_DUID]).unwrap();
    client.timeout(1_000_000);
    let message = sent(&client, 1_000_000);
    assert!(message.len() < MAX_SENT && message.ends_with(&[0; 8]), "{}", message.len());
}

#[test]
fn an_advertise_is_requested_and_a_reply_used() {
    let mut client = managed();
    assert_eq!(client.timeout(0), Action::Send);
    // Without an address, or without the agreement to a rapid commit, nothing happens.
    let none = association(0, 0, &option(code::STATUS, &[0, 2]));
    for (kind, options) in [(wire::ADVERTISE, none.clone()), (wire::REPLY, hour()), (wire::ADVERTISE, Vec::new())] {
        let message = answer(kind, client.xid, &[options]);
        assert_eq!((receive(&mut client, 5, &message), client.state()), (Action::Nothing, State::Solicit));
    }
    let advertise = answer(wire::ADVERTISE, client.xid, &[hour()]);
    assert_eq!(receive(&mut client, 5, &advertise), Action::Nothing);
    assert_eq!((client.state(), client.deadline_ms()), (State::Request, 5));
    assert_eq!(client.timeout(5), Action::Send);
    assert!(sent(&client, 5).ends_with(&[&ADDRESS[..], &[0; 8]].concat()));
    let reply = answer(wire::REPLY, client.xid, &[hour()]);
    assert_eq!(receive(&mut client, 6, &reply), Action::Configure);
    assert_eq!((client.state(), client.deadline_ms()), (State::Idle, 1_000_006));
    assert_eq!((client.lifetimes_s(6), client.lifetimes_s(100_006)), ([3000, 3600], [2900, 3500]));
    // The same message again is of no exchange.
    assert_eq!(receive(&mut client, 7, &reply), Action::Nothing);
}

#[test]
fn messages_of_others_are_ignored() {
    let mut client = managed();
    client.timeout(0);
    let rapid = [option(code::RAPID_COMMIT, &[]), hour()];
    let right = answer(wire::REPLY, client.xid, &rapid);
    let mutations: [fn(&mut Vec<u8>); 7] = [
        |bytes| bytes[3] ^= 1,                      // the transaction
        |bytes| bytes[0] = 3,                       // a client's message
        |bytes| bytes[17] ^= 1,                     // another client
        |bytes| bytes[9] ^= 1,                      // another type of its identifier
        |bytes| bytes[5] = 99,                      // no client identifier
        |bytes| bytes[19] = 99,                     // no server identifier
        |bytes| drop(bytes.splice(20..32, [0, 0])), // an empty one
    ];
    for (number, mutate) in mutations.iter().enumerate() {
        let mut wrong = right.clone();
        mutate(&mut wrong);
        assert_eq!(receive(&mut client, 1, &wrong), Action::Nothing, "{number}");
    }
    let long = option(code::SERVER_ID, &[7; MAX_DUID + 1]);
    let wrong = [&right[..18], &long, &right[32..]].concat();
    assert_eq!(receive(&mut client, 1, &wrong), Action::Nothing);
    assert_eq!(receive(&mut client, 1, &right), Action::Configure);
}

#[test]
fn intervals_double_up_to_their_limit() {
    // First and longest interval, and the number of messages, of each exchange (RFC 8415 §7.6).
    let expect = |client: &mut Client, state: State, first_ms: u64, most_ms: u64, count: usize| {
        let mut now_ms = client.deadline_ms();
        let mut last_ms = 0;
        for _ in 0..count {
            assert_eq!((client.timeout(now_ms), client.state()), (Action::Send, state));
            let gap_ms = client.deadline_ms() - now_ms;
            let least_ms = if last_ms == 0 { first_ms } else { (last_ms * 2).min(most_ms) };
            assert!(gap_ms > least_ms && gap_ms <= least_ms + least_ms / 10, "{state:?}: {gap_ms} after {last_ms}");
            (last_ms, now_ms) = (gap_ms, client.deadline_ms());
        }
    };
    expect(&mut managed(), State::Solicit, 1000, 3_600_000, 20);
    let mut client = managed();
    client.timeout(0);
    let advertise = answer(wire::ADVERTISE, client.xid, &[hour()]);
    receive(&mut client, 5, &advertise);
    expect(&mut client, State::Request, 1000, 30_000, 10);
    // After ten Requests the client solicits again, at once.
    let now_ms = client.deadline_ms();
    assert_eq!((client.timeout(now_ms), client.state()), (Action::Send, State::Solicit));
    // A server may set the longest interval of Solicit, also with a message that has no address.
    let mut client = managed();
    client.timeout(0);
    let message = answer(wire::ADVERTISE, client.xid, &[option(code::SOL_MAX_RT, &60u32.to_be_bytes())]);
    receive(&mut client, 0, &message);
    let message = answer(wire::ADVERTISE, client.xid, &[option(code::SOL_MAX_RT, &59u32.to_be_bytes())]);
    receive(&mut client, 0, &message);
    for _ in 0..20 {
        let now_ms = client.deadline_ms();
        client.timeout(now_ms);
    }
    assert!(client.deadline_ms() < 20 * 66_000);
}

#[test]
fn a_lease_is_renewed_rebound_and_lost() {
    let mut client = bound();
    let mut now_ms = client.deadline_ms();
    assert_eq!(now_ms, 1_000_000);
    let mut states = Vec::new();
    while client.has_lease() {
        let action = client.timeout(now_ms);
        states.push(client.state());
        assert!(matches!(action, Action::Send | Action::Nothing), "{action:?}");
        now_ms = client.deadline_ms().max(now_ms);
    }
    states.dedup();
    assert_eq!(states, [State::Renew, State::Rebind, State::Solicit]);
    assert_eq!((*client.address(), client.expiry_ms), (Address::default(), NEVER));
    // A renewal sets the times anew.
    let mut client = bound();
    client.timeout(1_000_000);
    let reply = answer(wire::REPLY, client.xid, &[hour()]);
    assert_eq!(receive(&mut client, 1_000_000, &reply), Action::Configure);
    assert_eq!((client.deadline_ms(), client.expiry_ms), (2_000_000, 4_600_000));
    // A server that has lost the lease is asked for it again.
    client.timeout(2_000_000);
    let reply = answer(wire::REPLY, client.xid, &[association(0, 0, &option(code::STATUS, &[0, 3]))]);
    assert_eq!(receive(&mut client, 2_000_000, &reply), Action::Nothing);
    assert_eq!(client.timeout(2_000_000), Action::Send);
    assert_eq!(client.state(), State::Request);
    // It refuses: the client waits before it asks again. The lease holds meanwhile.
    let reply = answer(wire::REPLY, client.xid, &[association(0, 0, &option(code::STATUS, &[0, 2]))]);
    assert_eq!(receive(&mut client, 2_000_000, &reply), Action::Nothing);
    assert_eq!((client.state(), client.deadline_ms(), client.has_lease()), (State::Solicit, 2_010_000, true));
    // A suspended machine: the lease is lost at its end.
    let mut client = bound();
    assert_eq!((client.timeout(9_000_000), client.has_lease(), client.state()), (Action::Send, false, State::Solicit));
}

#[test]
fn a_carrier_that_returns_confirms_the_lease() {
    let confirm = || {
        let mut client = bound();
        client.link(5000, false);
        assert_eq!((client.deadline_ms(), client.has_lease()), (3_600_000, true));
        client.link(6000, true);
        assert_eq!((client.timeout(6000), client.state()), (Action::Send, State::Confirm));
        assert!(sent(&client, 6000).ends_with(&[&ADDRESS[..], &[0; 8]].concat()));
        client
    };
    let mut client = confirm();
    let yes = answer(wire::REPLY, client.xid, &[option(code::STATUS, &[0, 0])]);
    assert_eq!((receive(&mut client, 6001, &yes), client.deadline_ms()), (Action::Configure, 1_000_000));
    let mut client = confirm();
    let no = answer(wire::REPLY, client.xid, &[option(code::STATUS, &[0, 4])]);
    assert_eq!((receive(&mut client, 6001, &no), client.has_lease()), (Action::Nothing, false));
    assert_eq!((client.timeout(6001), client.state()), (Action::Send, State::Solicit));
    // Without an answer within ten seconds the lease holds.
    let mut client = confirm();
    let mut now_ms = 6000;
    while client.state() == State::Confirm {
        now_ms = client.deadline_ms();
        let action = client.timeout(now_ms);
        assert_eq!(action == Action::Configure, client.state() == State::Idle);
    }
    assert_eq!((now_ms, client.deadline_ms()), (16_000, 1_000_000));
    // Without a lease, each carrier begins again.
    let mut client = managed();
    client.timeout(0);
    client.link(1, false);
    assert_eq!(client.deadline_ms(), NEVER);
    client.link(2, true);
    assert_eq!((client.deadline_ms(), client.state()), (2, State::Solicit));
}

#[test]
fn an_address_in_use_is_declined() {
    let mut client = bound();
    client.conflict(2000, Address([9; 16]));
    assert!(client.has_lease(), "another address");
    client.conflict(2000, Address(ADDRESS));
    assert_eq!((*client.address(), client.timeout(2000)), (Address::default(), Action::Send));
    let message = sent(&client, 2000);
    assert!(message[0] == 9 && message.ends_with(&[&ADDRESS[..], &[0; 8]].concat()));
    let reply = answer(wire::REPLY, client.xid, &[]);
    assert_eq!(receive(&mut client, 2001, &reply), Action::Nothing);
    assert_eq!((client.state(), client.deadline_ms()), (State::Solicit, 12_001));
    // Without an answer, after four messages.
    let mut client = bound();
    client.conflict(2000, Address(ADDRESS));
    let mut count = 0;
    while client.timeout(client.deadline_ms()) == Action::Send {
        count += 1;
    }
    assert_eq!((count, client.state()), (4, State::Solicit));
}

#[test]
fn the_flags_of_routers_choose_the_exchange() {
    let mut client = Client::new(CHADDR, 7);
    client.advertised(0, OTHER);
    assert_eq!(client.deadline_ms(), NEVER, "no carrier");
    client.link(1, true);
    assert_eq!((client.timeout(1), client.state()), (Action::Send, State::Inform));
    let message = sent(&client, 1);
    assert!(message[0] == 11 && message.ends_with(&REQUESTED), "no association");
    let reply = answer(wire::REPLY, client.xid, &[option(code::REFRESH_TIME, &5u32.to_be_bytes())]);
    assert_eq!(receive(&mut client, 2, &reply), Action::Inform);
    assert_eq!((client.lifetime_s(), client.deadline_ms(), client.has_lease()), (1200, 600_002, false));
    assert_eq!((client.timeout(600_002), client.state()), (Action::Send, State::Inform));
    let reply = answer(wire::REPLY, client.xid, &[]);
    assert_eq!(receive(&mut client, 600_002, &reply), Action::Inform);
    assert_eq!(client.deadline_ms(), 600_002 + 86_400_000);
    // Now there are addresses too; then there is no server any more.
    client.advertised(600_003, MANAGED | OTHER);
    assert_eq!((client.timeout(600_003), client.state()), (Action::Send, State::Solicit));
    client.advertised(600_004, 0);
    assert_eq!((client.state(), client.deadline_ms(), client.is_active()), (State::Idle, NEVER, false));
    // A lease outlives the flag.
    let mut client = bound();
    client.advertised(5, 0);
    assert_eq!((client.has_lease(), client.deadline_ms()), (true, 1_000_000));
    assert_eq!(client.timeout(4_000_000), Action::Nothing);
    assert_eq!((client.has_lease(), client.state()), (false, State::Idle));
}

#[test]
fn times_that_a_server_leaves_to_the_client() {
    let lease = |t1, t2, preferred_s, valid_s| {
        let bytes = answer(wire::REPLY, 7, &[association(t1, t2, &address(ADDRESS, preferred_s, valid_s))]);
        let lease = Message::parse(&bytes).unwrap().lease(&CHADDR[2..]);
        lease.map(|lease| (lease.renewal_s, lease.rebinding_s, lease.preferred_s, lease.valid_s))
    };
    assert_eq!(lease(0, 0, 1000, 2000), Ok((500, 750, 1000, 2000)));
    assert_eq!(lease(0, 0, 0, 2000), Ok((1000, 1500, 0, 2000)));
    assert_eq!(lease(0, 300, 1000, 2000), Ok((300, 300, 1000, 2000)));
    assert_eq!(lease(400, 0, 1000, 2000), Ok((400, 750, 1000, 2000)));
    assert_eq!(lease(0, 0, 1, 1), Ok((1, 1, 1, 1)));
    assert_eq!(lease(0, 0, u32::MAX, u32::MAX), Ok((u32::MAX / 2, 0xc000_0000, u32::MAX, u32::MAX)));
    for refused in [lease(2, 1, 1000, 2000), lease(0, 0, 2001, 2000), lease(0, 0, 0, 0)] {
        assert_eq!(refused, Err(wire::SUCCESS));
    }
}

#[test]
fn the_first_usable_address_is_taken() {
    let other = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    let [mut link_local, mut multicast] = [ADDRESS; 2];
    (link_local[0], link_local[1], multicast[0]) = (0xfe, 0x80, 0xff);
    let options = [
        option(99, b"?"),
        option(code::IA_ADDRESS, &ADDRESS[..15]),
        address([0; 16], 10, 10),
        address(link_local, 10, 10),
        address(multicast, 10, 10),
        address(ADDRESS, 0, 0),
        address(other, 10, 10),
        address(ADDRESS, 10, 10),
    ];
    let foreign = option(code::IA_NA, &[&[9; 12][..], &address(ADDRESS, 10, 10)].concat());
    let bytes = answer(wire::REPLY, 7, &[foreign, association(0, 0, &options.concat())]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.lease(&CHADDR[2..]).unwrap().address, Address(other));
    assert_eq!(message.lease(&[1, 2, 3, 4]), Err(wire::SUCCESS));
    let refused =
        answer(wire::REPLY, 7, &[association(0, 0, &[option(code::STATUS, &[0, 3, b'?']), options.concat()].concat())]);
    assert_eq!(Message::parse(&refused).unwrap().lease(&CHADDR[2..]), Err(wire::NO_BINDING));
}
