//! Randomized tests: broken packets through the codec, random events through the state machine.
//!
//! The same seed gives the same run. `WHIT_SEED=number` selects another; a failure prints its seed.

extern crate std;
use super::super::wire::tests::{CHADDR, GOLDEN, Golden, message_of};
use super::*;
use crate::ipv4::{self, UdpChecksum};
use crate::random::Random;
use std::vec::Vec;

/// Messages for the codec.
const MESSAGES: usize = 10_000;
/// Clients, and events for each.
const CLIENTS: usize = 200;
const EVENTS: usize = 100;

impl Random {
    /// Returns the message of one of these packets, with this transaction identifier and up to three mistakes.
    fn message(&mut self, xid: u32, packets: &[Golden]) -> Vec<u8> {
        let mut bytes = message_of(self.of(packets)).to_vec();
        bytes[4..8].copy_from_slice(&xid.to_be_bytes());
        bytes[28..34].copy_from_slice(&CHADDR);
        let kind = bytes.windows(2).skip(240).position(|option| option == [53, 1]);
        if let (Some(kind), true) = (kind, self.once_in(2)) {
            bytes[240 + kind + 2] = *self.of(&[2, 5, 5, 6, 6, 9, 0]);
        }
        for _ in 0..self.below(4) {
            self.break_one(&mut bytes);
        }
        bytes
    }

    fn break_one(&mut self, bytes: &mut Vec<u8>) {
        // Mostly in the options: the fields before them have few branches.
        let front = if self.once_in(8) { 0 } else { bytes.len().min(240) };
        let at = front + self.below(bytes.len() - front);
        match self.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.byte()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let part = message_of(self.of(GOLDEN));
                let from = self.below(part.len());
                let until = from + self.below(part.len() - from);
                bytes.splice(at..at, part[from..until].iter().copied());
            }
            _ if at < bytes.len() => {
                let any = self.byte();
                bytes[at] = *self.of(&[0, 1, 3, 52, 53, 119, 121, 127, 128, 192, 255, any])
            }
            _ => {}
        }
    }
}

/// Asserts the invariants of every accepted lease.
fn check_lease(lease: &Lease) {
    assert!(lease.address.is_host() && (1..=32).contains(&lease.prefix_length), "{lease:?}");
    if let Some(times) = lease.times {
        let in_order =
            0 < times.renewal_s && times.renewal_s <= times.rebinding_s && times.rebinding_s < times.expiry_s;
        assert!(in_order && times.expiry_s >= 10, "{times:?}");
    }
    assert!(lease.mtu.is_none_or(|mtu| mtu.get() >= 576), "{lease:?}");
    assert!(lease.name_servers.iter().chain(&lease.time_servers).all(|server| server.is_host()), "{lease:?}");
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    assert!(lease.hostname.iter().all(is_plain), "{lease:?}");
    assert!(lease.search.iter().all(|byte| is_plain(byte) || b". ".contains(byte)), "{lease:?}");
    for route in &lease.routes {
        let host_bits = u32::MAX.checked_shr(u32::from(route.prefix_length)).unwrap_or(0);
        assert!(route.prefix_length <= 32 && route.destination.bits() & host_bits == 0, "{route:?}");
    }
}

#[test]
fn broken_messages_give_valid_leases_or_none() {
    let mut random = Random::new();
    let (mut read, mut leased) = (0, 0);
    for _ in 0..MESSAGES {
        let bytes = random.message(7, GOLDEN);
        let Some(message) = Message::parse(&bytes) else { continue };
        read += 1;
        let mut lease = Lease::default();
        if lease.take_address(&message, Address([10, 0, 0, 9])).is_some() {
            let _ = lease.take_rest(&message);
            assert!(lease.take_rest(&message), "the second call finds the same options");
            check_lease(&lease);
            leased += 1;
        }
    }
    // Enough messages must reach the code after the first checks.
    assert!(read > MESSAGES / 4 && leased > MESSAGES / 8, "{read} read, {leased} leases");
}

#[test]
fn broken_packets_give_valid_datagrams_or_none() {
    let mut random = Random::new();
    for _ in 0..MESSAGES {
        let mut packet = random.of(GOLDEN).packet.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(40);
            packet[at] = random.byte();
        }
        packet.truncate(if random.once_in(2) { random.below(packet.len() + 1) } else { packet.len() });
        for checksum in [UdpChecksum::Verify, UdpChecksum::NotComputed] {
            let Some(datagram) = ipv4::datagram(&packet, checksum) else { continue };
            assert!(datagram.payload.len() + ipv4::HEADERS <= packet.len());
            let _ = Message::parse(datagram.payload);
        }
    }
}

/// A client, and its state as an observer knows it.
struct Watched {
    client: Client,
    /// The index of its server in the golden packets.
    server: usize,
    now_ms: u64,
    link: bool,
    /// The last query that it sent.
    last_query: Option<Query>,
    /// Whether the interface is configured.
    configured: bool,
}

impl Watched {
    fn event(&mut self, random: &mut Random) {
        self.now_ms += *random.of(&[0, 1, 20, 300, 5000, 100_000]) as u64;
        let due_ms = self.client.deadline_ms();
        match random.below(10) {
            0 => {
                self.link = !random.once_in(3);
                let action = self.client.link(self.now_ms, self.link);
                self.check(action);
            }
            1..=3 if due_ms != NEVER => {
                // At the deadline, or late: the machine was busy, or suspended for a week.
                let late_ms = if random.once_in(20) { 604_800_000 } else { 0 };
                self.now_ms = self.now_ms.max(due_ms + late_ms);
                let ends = self.now_ms >= self.client.expiry_ms;
                let action = self.client.timeout(self.now_ms);
                assert_eq!(ends, action == Action::Deconfigure, "{:?}", self.client);
                assert!(action != Action::Nothing, "{:?}: a timeout for nothing", self.client);
                self.check(action);
                if action == Action::Send {
                    assert!(
                        self.client.deadline_ms() > self.now_ms,
                        "{:?} would send without an interval",
                        self.client
                    );
                }
            }
            4 => {
                let address = if random.once_in(2) { self.client.lease.address } else { Address([10, 0, 0, 9]) };
                let by = if random.once_in(2) { CHADDR } else { [2, 0, 0, 0, 0, 9] };
                let action = self.client.address_claimed(self.now_ms, address, by);
                assert!(action == Action::Nothing || by != CHADDR, "{:?} conflicts with itself", self.client);
                self.check(action);
            }
            _ => self.reply(random),
        }
    }

    /// Delivers a server's message, one in eight of another transaction.
    fn reply(&mut self, random: &mut Random) {
        let xid = self.last_query.map_or(0, |query| query.xid) ^ u32::from(random.once_in(8));
        // Mostly from the same server. Its OFFER and ACK are adjacent.
        let packets = if random.once_in(8) { GOLDEN } else { GOLDEN.chunks(2).nth(self.server).unwrap() };
        let bytes = random.message(xid, packets);
        let Some(message) = Message::parse(&bytes) else { return };
        let before = self.client.clone();
        let action = self.client.receive(self.now_ms, &message, Address([10, 0, 2, 2]));
        if action != Action::Nothing {
            let ours = self.last_query.is_some_and(|query| query.xid == message.xid()) && message.chaddr() == CHADDR;
            assert!(ours, "{before:?}: {action:?} for a message to another client");
        }
        match action {
            Action::Configure | Action::Extend => assert_eq!(message.kind, Kind::Ack, "{before:?}"),
            Action::Deconfigure => assert_eq!(message.kind, Kind::Nak, "{before:?}"),
            Action::Ipv6Only => assert!(before.timing.ipv6_only && self.client.lease().is_none(), "{before:?}"),
            Action::Send => {
                assert_eq!((message.kind, self.client.query().kind), (Kind::Offer, Kind::Request));
            }
            Action::Probe => assert_eq!((message.kind, message.yiaddr()), (Kind::Ack, self.client.address())),
            Action::Decline => panic!("{before:?} declines a server's message"),
            Action::BringUp | Action::Nothing => {}
        }
        self.check(action);
    }

    fn check(&mut self, action: Action) {
        let client = &self.client;
        let query = *client.query();
        match action {
            Action::Send => {
                let renews = query.ciaddr != Address::UNSPECIFIED;
                assert!(renews || self.link, "{client:?} requests a lease without a carrier");
                assert!(renews || client.destination() == Destination::Broadcast, "{client:?}");
                assert!(!renews || (query.requested, query.server) == (None, None), "RFC 2131 §4.3.2: {query:?}");
                self.last_query = Some(query);
            }
            Action::Configure => self.configured = true,
            Action::Ipv6Only => self.configured = false,
            Action::Extend => assert!(self.configured, "{client:?} extends an address that is not configured"),
            Action::Deconfigure => {
                // Exception: the lease expired while its address was probed, as after a suspend.
                assert!(
                    core::mem::take(&mut self.configured) || client.timing.probe_ms > 0,
                    "{client:?} removes an address that is not configured"
                );
                assert!(client.lease().is_none(), "{client:?}");
            }
            Action::Decline => {
                self.configured = false;
                assert_eq!((query.kind, query.ciaddr), (Kind::Decline, Address::UNSPECIFIED));
                assert!(query.requested.is_some() && query.server.is_some() && client.lease().is_none(), "{client:?}");
            }
            Action::Probe | Action::BringUp | Action::Nothing => {}
        }
        if let Some(lease) = client.lease() {
            assert!(self.configured, "a lease without an ACK: {client:?}");
            check_lease(lease);
        }
        let never_expires = client.expiry_ms == NEVER;
        assert!(client.configured || never_expires || client.state() == State::Probing, "{client:?}");
        let waits_for_ever = match client.state() {
            State::WaitLink | State::Fixed | State::Bound => never_expires,
            State::Selecting | State::Rebooting => !self.link && never_expires,
            State::Requesting | State::Probing | State::Renewing | State::Rebinding => false,
        };
        assert_eq!(client.deadline_ms() == NEVER, waits_for_ever, "{client:?}");
    }
}

#[test]
fn random_events_keep_the_client_consistent() {
    let mut random = Random::new();
    let mut bound = 0;
    for number in 0..CLIENTS {
        // Every other client probes its address.
        let timing = Timing {
            ipv6_only: number % 3 == 0,
            first_gap_ms: FIRST_GAP_MS,
            probe_ms: if number % 2 == 0 { 0 } else { 200 },
        };
        let client = Client::new(&CHADDR, u32::try_from(number).unwrap(), timing, NEVER);
        let mut watched = Watched {
            client,
            server: number % (GOLDEN.len() / 2),
            now_ms: 0,
            link: false,
            last_query: None,
            configured: false,
        };
        for _ in 0..EVENTS {
            watched.event(&mut random);
            bound += usize::from(watched.client.state() == State::Bound);
        }
    }
    assert!(bound > CLIENTS * EVENTS / 40, "{bound} events in BOUND");
}
