//! Tests of addresses: probed by ARP, declined, released.

use super::*;

/// A client that has an ACK and probes its address for 200 ms.
fn probing() -> Client {
    let mut client = Client::new(&CHADDR, 0x5eed, Timing { probe_ms: 200, ..FAST }, NEVER);
    sent(client.link(0, true), &client);
    sent(deliver(&mut client, 1, OFFER, SERVER), &client);
    assert_eq!(deliver(&mut client, 2, ACK, SERVER), Action::Probe);
    assert_eq!((client.lease().is_none(), client.deadline_ms(), client.address()), (true, 202, Address(OURS)));
    client
}

const OTHER_HOST: HardwareAddress = [2, 0, 0, 0, 0, 9];

#[test]
fn an_unclaimed_address_is_used_after_the_probe() {
    let mut client = probing();
    assert_eq!(client.address_claimed(3, Address(OTHER), OTHER_HOST), Action::Nothing, "another address");
    assert_eq!(client.address_claimed(4, Address(OURS), CHADDR), Action::Nothing, "our own probe");
    assert_eq!(deliver(&mut client, 5, ACK, SERVER), Action::Nothing, "a second copy");
    assert_eq!(fire(&mut client), (202, Action::Configure));
    assert_eq!(client.deadline_ms(), 2 + 500_000, "T1 counts from the ACK");
    assert_eq!(client.address_claimed(300, Address(OURS), OTHER_HOST), Action::Nothing, "it is in use");
    // A renewal does not probe: the address is in use.
    fire(&mut client);
    assert_eq!(deliver(&mut client, 500_100, ACK, SERVER), Action::Extend);
}

#[test]
fn an_address_of_another_host_is_declined() {
    let mut client = probing();
    let xid = client.query.xid;
    assert_eq!(client.address_claimed(50, Address(OURS), OTHER_HOST), Action::Decline);
    let query = *client.query();
    assert_eq!((query.xid, client.destination()), (xid, Destination::Broadcast));
    assert_eq!((query.kind, query.secs, query.ciaddr), (Kind::Decline, 0, Address::UNSPECIFIED));
    assert_eq!((query.requested, query.server), (Some(Address(OURS)), Some(Address(SERVER))));
    assert_eq!(client.address_claimed(51, Address(OURS), OTHER_HOST), Action::Nothing, "once");
    assert_eq!(deliver(&mut client, 60, ACK, SERVER), Action::Nothing);
    assert!(client.lease().is_none());
    let (now_ms, action) = fire(&mut client);
    let (discover, _) = sent(action, &client);
    assert_eq!((now_ms, discover.kind), (50 + 10_000, Kind::Discover), "RFC 2131 §3.1: after at least ten seconds");
}

#[test]
fn an_address_taken_while_the_link_was_down_is_declined() {
    let mut client = probing();
    fire(&mut client);
    client.link(1000, false);
    sent(client.link(2000, true), &client);
    assert_eq!(deliver(&mut client, 2001, ACK, SERVER), Action::Probe);
    assert!(client.lease().is_some(), "it is still configured");
    assert_eq!(client.address_claimed(2002, Address(OURS), OTHER_HOST), Action::Decline);
    assert!(client.lease().is_none());
    assert!(matches!(fire(&mut client), (12_002, Action::Send)), "and it does not expire a second time");
}

#[test]
fn a_link_lost_during_the_probe_starts_over() {
    let mut client = probing();
    assert_eq!(client.link(50, false), Action::Nothing);
    assert_eq!((client.state(), client.deadline_ms()), (State::WaitLink, NEVER));
    assert_eq!(sent(client.link(60, true), &client).0.kind, Kind::Discover);
}

#[test]
fn a_lease_can_be_released() {
    let mut client = client();
    assert_eq!(client.release(), Action::Nothing);
    bound(&mut client, 0);
    let (query, to) = sent(client.release(), &client);
    assert_eq!((query.kind, query.ciaddr, to), (Kind::Release, Address(OURS), Destination::Server(Address(SERVER))));
    assert_eq!((query.requested, query.server, query.secs), (None, Some(Address(SERVER)), 0));
    // A static address has no lease to release.
    let mut static_client = self::client();
    let mut lease = Lease::default();
    lease.address = Address(OURS);
    static_client.fix(lease);
    assert_eq!((static_client.link(0, true), static_client.release()), (Action::Configure, Action::Nothing));
}
