//! Randomized tests: broken messages and random events through the state machine.
//!
//! The same seed gives the same run. `WHIT_SEED=number` selects another; a failure prints its seed.

extern crate std;
use super::tests::{CHADDR, address, answer, association, option};
use super::*;
use crate::random::Random;
use std::vec::Vec;

/// Clients, and events for each.
const CLIENTS: usize = 400;
const EVENTS: usize = 100;

impl Random {
    /// Returns an answer with up to two mistakes.
    fn dhcpv6_message(&mut self, xid: u32) -> Vec<u8> {
        let times = [0, 1, 10, 3600, u32::MAX];
        let status = option(code::STATUS, &[0, *self.of(&[0, 0, 1, 2, 3, 4])]);
        let host = address(*self.of(&[[0xfd; 16], [0x20; 16], [0xff; 16]]), *self.of(&times), *self.of(&times));
        let inside = if self.below(4) == 0 { [status.clone(), host].concat() } else { host };
        let mut options = std::vec![association(*self.of(&times), *self.of(&times), &inside)];
        for more in [option(code::RAPID_COMMIT, &[]), status, option(code::SOL_MAX_RT, &[0, 0, 1, 0])] {
            if self.below(2) == 0 {
                options.push(more);
            }
        }
        let mut bytes = answer(*self.of(&[wire::ADVERTISE, wire::REPLY, wire::REPLY]), xid, &options);
        for _ in 0..self.below(3) {
            let at = self.below(bytes.len());
            match self.below(3) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, *self.of(&[0, 1, 5, 255])),
                _ if at < bytes.len() => bytes[at] = *self.of(&[0, 1, 3, 5, 13, 127, 255]),
                _ => {}
            }
        }
        bytes
    }
}

#[test]
fn every_truncation_of_an_answer_is_read() {
    let whole = answer(wire::REPLY, 7, &[association(1, 2, &address([0xfd; 16], 10, 10))]);
    for end in 0..=whole.len() {
        let Some(message) = Message::parse(&whole[..end]) else {
            assert!(end < 4);
            continue;
        };
        let _ = (message.number(code::SOL_MAX_RT), message.status());
        assert_eq!(message.lease(&CHADDR[2..]).is_ok(), end == whole.len(), "{end}");
    }
}

#[test]
fn random_events_keep_the_invariants() {
    let mut random = Random::new();
    let (mut leases, mut messages) = (0, 0);
    for number in 0..CLIENTS {
        let mut client = Client::new(CHADDR, u32::try_from(number).unwrap());
        let (mut now_ms, mut has_link) = (1000u64, false);
        for _ in 0..EVENTS {
            let before = *client.address();
            match random.below(8) {
                0 if random.below(4) == 0 => {
                    has_link = !has_link;
                    client.link(now_ms, has_link);
                }
                0 => client.link(now_ms, has_link),
                1 => client.advertised(now_ms, *random.of(&[0, MANAGED, MANAGED, OTHER, MANAGED | OTHER])),
                2 if random.below(8) == 0 => client.conflict(now_ms, before),
                2 => now_ms += 1 << random.below(24),
                3..6 => {
                    let xid = if random.below(8) == 0 { 7 } else { client.xid };
                    let bytes = random.dhcpv6_message(xid);
                    if let Some(message) = Message::parse(&bytes) {
                        let action = client.receive(now_ms, &message);
                        leases += usize::from(action == Action::Configure);
                        assert!(action != Action::Send, "only a deadline sends");
                    }
                }
                _ if client.deadline_ms() < NEVER / 2 => {
                    now_ms = now_ms.max(client.deadline_ms());
                    let action = client.timeout(now_ms);
                    if action == Action::Send {
                        messages += 1;
                        assert!(has_link, "nothing is sent without a carrier");
                        // A Rebind follows a Renew at once if T1 is T2.
                        let has_pause = client.deadline_ms() > now_ms || client.state() == State::Renew;
                        assert!(has_pause, "two messages without a pause");
                        let mut message = Encoded::new();
                        client.encode(now_ms, &mut message);
                        let parsed = Message::parse(&message).unwrap();
                        assert_eq!((parsed.head & 0xff_ffff, parsed.head >> 24), (client.xid, client.state() as u32));
                        assert!(parsed.option(code::CLIENT_ID).is_some() && !message.is_full());
                    }
                }
                _ => {}
            }
            assert_eq!(*client.address() == Address::default(), !client.has_lease());
            assert!(!client.has_lease() || client.deadline_ms() <= client.expiry_ms, "the lease would outlive its end");
        }
    }
    assert!(leases > 20 && messages > CLIENTS, "{leases} leases, {messages} messages");
}
