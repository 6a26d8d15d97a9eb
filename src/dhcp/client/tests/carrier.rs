//! Tests of a carrier that goes and returns, and of leases that expire meanwhile.

use super::*;

#[test]
fn any_server_may_confirm_the_lease_when_the_link_returns() {
    let (mut client, now_ms) = returned();
    assert_eq!(deliver(&mut client, now_ms + 1, ACK, SERVER), Action::Configure, "its routes may have been lost");
    assert_eq!((client.state(), client.deadline_ms()), (State::Bound, now_ms + 1 + 500_000));
    let (mut client, now_ms) = returned();
    assert_eq!(deliver(&mut client, now_ms + 1, ACK, OTHER), Action::Configure, "the lease of another server");
    let (mut client, now_ms) = returned();
    assert_eq!(deliver(&mut client, now_ms + 1, NAK, OTHER), Action::Deconfigure, "another network");
    assert!(client.lease().is_none());
    assert_eq!(sent(fire(&mut client).1, &client).0.kind, Kind::Discover);
}

#[test]
fn a_returned_link_without_a_reply_counts_as_a_new_network() {
    let (mut client, now_ms) = returned();
    assert_eq!(sent(fire(&mut client).1, &client).0.kind, Kind::Request);
    let (then_ms, action) = fire(&mut client);
    assert_eq!(sent(action, &client).0.kind, Kind::Discover);
    assert!((600..900).contains(&(then_ms - now_ms)), "{then_ms}");
    sent(deliver(&mut client, then_ms, OFFER, SERVER), &client);
    assert_eq!(deliver(&mut client, then_ms, ACK, SERVER), Action::Configure, "even for the same address");
}

#[test]
fn a_lease_expires_also_while_another_is_requested() {
    // No server replies any more.
    let (mut client, _) = returned();
    let lost_ms = loop {
        let (now_ms, action) = fire(&mut client);
        assert!(now_ms < 1_100_000, "{client:?}");
        if action == Action::Deconfigure {
            break now_ms;
        }
    };
    assert!(lost_ms >= 1_000_000, "{lost_ms}");
    // The link goes down meanwhile: before the first retransmission, or after the last.
    for timeouts in [0, 3] {
        let (mut client, _) = returned();
        for _ in 0..timeouts {
            fire(&mut client);
        }
        assert_eq!(client.link(7500, false), Action::Nothing);
        assert_eq!(fire(&mut client), (1_000_000, Action::Deconfigure));
        assert_eq!(client.deadline_ms(), NEVER);
    }
}

#[test]
fn a_link_that_goes_down_again_is_waited_for() {
    let (mut client, now_ms) = returned();
    assert_eq!(client.link(now_ms + 10, false), Action::Nothing);
    assert_eq!(client.deadline_ms(), 1_000_000, "or the lease expires");
    assert_eq!(sent(client.link(now_ms + 60_000, true), &client).0.kind, Kind::Request);
}

#[test]
fn a_lease_lost_without_a_carrier_is_requested_when_the_link_returns() {
    // The lease expires.
    let mut client = client();
    bound(&mut client, 0);
    assert_eq!(client.link(5000, false), Action::Nothing);
    assert_eq!(client.timeout(1_000_000), Action::Deconfigure);
    assert_eq!(client.deadline_ms(), NEVER, "a message sent now would be lost");
    let (query, _) = sent(client.link(2_000_000, true), &client);
    assert_eq!((query.kind, query.requested), (Kind::Request, Some(Address(OURS))));

    // A NAK that was received just before ends it.
    let mut client = self::client();
    bound(&mut client, 0);
    sent(client.timeout(500_000), &client);
    assert_eq!(client.link(500_001, false), Action::Nothing);
    assert_eq!(deliver(&mut client, 500_001, NAK, SERVER), Action::Deconfigure);
    assert_eq!(client.deadline_ms(), NEVER);
    assert_eq!(sent(client.link(600_000, true), &client).0.kind, Kind::Discover);
}

#[test]
fn a_machine_suspended_past_its_lease_requests_the_same_address() {
    let mut client = client();
    bound(&mut client, 0);
    assert_eq!(client.timeout(2_000_000), Action::Deconfigure);
    assert_eq!((client.lease().is_none(), client.deadline_ms()), (true, 2_000_000));
    let (query, _) = sent(client.timeout(2_000_000), &client);
    assert_eq!((query.kind, query.requested, query.server), (Kind::Request, Some(Address(OURS)), None));
    assert_eq!(deliver(&mut client, 2_000_001, ACK, SERVER), Action::Configure);
}

#[test]
fn a_lease_survives_a_short_loss_of_the_link() {
    let mut client = client();
    sent(client.link(0, true), &client);
    assert_eq!(client.link(10, true), Action::Nothing);
    assert_eq!(client.link(20, false), Action::Nothing);
    assert_eq!(client.deadline_ms(), NEVER);
    bound(&mut client, 5000);
    assert_eq!(client.link(6000, false), Action::Nothing);
    assert!(client.lease().is_some(), "the lease is kept");
}
