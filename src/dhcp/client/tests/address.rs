//! Whose address it is: probed before it is used, declined, given back.

use super::*;

/// A client that has been granted an address and asks for 200 ms whether somebody has it.
fn probing() -> Client {
    let mut client = Client::new(CHADDR, 0x5eed, Timing { probe_ms: 200, ..FAST }, NEVER);
    sent(client.link(0, true), &client);
    sent(say(&mut client, 1, OFFER, SERVER), &client);
    assert_eq!(say(&mut client, 2, ACK, SERVER), Action::Probe);
    assert_eq!((client.lease().is_none(), client.deadline_ms(), client.address()), (true, 202, Address(OURS)));
    client
}

const SOMEBODY: HardwareAddress = [2, 0, 0, 0, 0, 9];

#[test]
fn an_address_that_nobody_claims_is_used_after_the_probe() {
    let mut client = probing();
    assert_eq!(client.address_claimed(3, Address(OTHER), SOMEBODY), Action::Nothing, "another address");
    assert_eq!(client.address_claimed(4, Address(OURS), CHADDR), Action::Nothing, "our own question");
    assert_eq!(say(&mut client, 5, ACK, SERVER), Action::Nothing, "a second copy");
    assert_eq!(fire(&mut client), (202, Action::Configure));
    assert_eq!(client.deadline_ms(), 2 + 500_000, "T1 counts from the grant");
    assert_eq!(client.address_claimed(300, Address(OURS), SOMEBODY), Action::Nothing, "it is in use");
    // A renewal is for an address that is in use.
    fire(&mut client);
    assert_eq!(say(&mut client, 500_100, ACK, SERVER), Action::Extend);
}

#[test]
fn an_address_that_somebody_has_is_declined() {
    let mut client = probing();
    let xid = client.query.xid;
    assert_eq!(client.address_claimed(50, Address(OURS), SOMEBODY), Action::Decline);
    let query = *client.query();
    assert_eq!((query.xid, client.destination()), (xid, Destination::Broadcast));
    assert_eq!((query.kind, query.secs, query.ciaddr), (Kind::Decline, 0, Address::UNSPECIFIED));
    assert_eq!((query.requested, query.server), (Some(Address(OURS)), Some(Address(SERVER))));
    assert_eq!(client.address_claimed(51, Address(OURS), SOMEBODY), Action::Nothing, "once");
    assert_eq!(say(&mut client, 60, ACK, SERVER), Action::Nothing);
    assert!(client.lease().is_none());
    let (now_ms, action) = fire(&mut client);
    let (discover, _) = sent(action, &client);
    assert_eq!((now_ms, discover.kind), (50 + 10_000, Kind::Discover), "RFC 2131 §3.1: not before ten seconds");
}

#[test]
fn an_address_that_was_taken_meanwhile_is_given_up() {
    let mut client = probing();
    fire(&mut client);
    client.link(1000, false);
    sent(client.link(2000, true), &client);
    assert_eq!(say(&mut client, 2001, ACK, SERVER), Action::Probe);
    assert!(client.lease().is_some(), "it is still configured");
    assert_eq!(client.address_claimed(2002, Address(OURS), SOMEBODY), Action::Decline);
    assert!(client.lease().is_none());
    assert!(matches!(fire(&mut client), (12_002, Action::Send)), "and does not end a second time");
}

#[test]
fn a_link_that_goes_while_an_address_is_probed_begins_anew() {
    let mut client = probing();
    assert_eq!(client.link(50, false), Action::Nothing);
    assert_eq!((client.state(), client.deadline_ms()), (State::WaitLink, NEVER));
    assert_eq!(sent(client.link(60, true), &client).0.kind, Kind::Discover);
}

#[test]
fn what_is_leased_can_be_given_back() {
    let mut client = client();
    assert_eq!(client.release(), Action::Nothing);
    bound(&mut client, 0);
    let (query, to) = sent(client.release(), &client);
    assert_eq!((query.kind, query.ciaddr, to), (Kind::Release, Address(OURS), Destination::Server(Address(SERVER))));
    assert_eq!((query.requested, query.server, query.secs), (None, Some(Address(SERVER)), 0));
    // Nobody leased what was chosen by hand.
    let mut fixed = self::client();
    let mut lease = Lease::default();
    lease.address = Address(OURS);
    fixed.fix(lease);
    assert_eq!((fixed.link(0, true), fixed.release()), (Action::Configure, Action::Nothing));
}
