//! The client's state machine (RFC 2131 §4.4, figure 5), without I/O and without a clock of its own.
//!
//! Whoever drives it calls [`Client::link`], [`Client::receive`] and, at [`Client::deadline_ms`], [`Client::timeout`], and
//! carries out the [`Action`] that each returns. Times are milliseconds of one clock that never stands still
//! (CLOCK_BOOTTIME).

use super::lease::Lease;
use super::wire::{HardwareAddress, Kind, Message, Query, code};
use crate::ipv4::Address;

/// RFC 2131 §4.1 gives 4 s as an example for 10 Mb/s Ethernet; what it demands is exponential growth with jitter. The
/// first frame behind a link that came up is often lost: a quarter of a second decides what that costs.
const FIRST_GAP_MS: u64 = 250;
/// RFC 2131 §4.1: up to 64 s.
const MAX_GAP_MS: u64 = 64_000;
/// REQUESTs of one offer before another is looked for.
const MAX_REQUESTS: u8 = 4;
/// RFC 2131 §4.4.5: at least 60 s between REQUESTs of a lease that is in use.
const MIN_RENEWAL_GAP_MS: u64 = 60_000;

/// Where the client stands; the states of RFC 2131's figure 5, and the one before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no carrier: what is sent would be lost without a word.
    WaitLink,
    /// A DISCOVER is out.
    Selecting,
    /// A REQUEST for this offer is out.
    Requesting(Lease),
    /// The lease holds, since this moment.
    Bound(Lease, u64),
    /// T1 has passed: the server is asked.
    Renewing(Lease, u64),
    /// T2 has passed: every server is asked.
    Rebinding(Lease, u64),
}

/// Where a query goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Everybody on the link.
    Broadcast,
    /// The server of the lease, by way of the routes.
    Server(Address),
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send this.
    Send(Query, Destination),
    /// Configure the interface as [`Client::lease`] says, in place of what it had.
    Configure,
    /// Take the address and all that came with it from the interface.
    Deconfigure,
}

/// The client of one interface.
#[derive(Clone, Debug)]
pub struct Client {
    chaddr: HardwareAddress,
    state: State,
    xid: u32,
    random: u32,
    began_ms: u64,
    /// secs of the last DISCOVER: its REQUEST repeats it (RFC 2131 §4.4.1).
    secs: u16,
    /// Messages sent in this state.
    sent: u8,
    /// Refusals in a row.
    naks: u8,
    deadline_ms: Option<u64>,
}

impl Client {
    /// A client that waits for its link. `random` should differ between machines and boots.
    pub fn new(chaddr: HardwareAddress, random: u32) -> Self {
        let [.., b2, b3, b4, b5] = chaddr;
        // xorshift needs a state that is not zero.
        let random = (random ^ u32::from_be_bytes([b2, b3, b4, b5])) | 1;
        Self {
            chaddr,
            state: State::WaitLink,
            xid: 0,
            random,
            began_ms: 0,
            secs: 0,
            sent: 0,
            naks: 0,
            deadline_ms: None,
        }
    }

    /// When [`Client::timeout`] wants to be called.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    /// Where the client stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The lease in use.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease, _) | State::Renewing(lease, _) | State::Rebinding(lease, _) => Some(lease),
            State::WaitLink | State::Selecting | State::Requesting(_) => None,
        }
    }

    /// The carrier came or went. A lease in use outlives a short loss.
    pub fn link(&mut self, now_ms: u64, up: bool) -> Action {
        match (&self.state, up) {
            (State::WaitLink, true) => {
                self.began_ms = now_ms;
                self.select(now_ms)
            }
            (State::Selecting | State::Requesting(_), false) => {
                self.state = State::WaitLink;
                self.deadline_ms = None;
                Action::Nothing
            }
            _ => Action::Nothing,
        }
    }

    /// The deadline has come.
    pub fn timeout(&mut self, now_ms: u64) -> Action {
        self.deadline_ms = None;
        match &self.state {
            State::WaitLink => Action::Nothing,
            State::Selecting if self.sent == 0 => self.select(now_ms),
            State::Selecting => self.discover(now_ms),
            State::Requesting(_) if self.sent >= MAX_REQUESTS => self.select(now_ms),
            State::Requesting(_) => self.request(now_ms),
            State::Bound(lease, since_ms) => {
                self.state = State::Renewing(*lease, *since_ms);
                self.xid = self.next_random();
                self.renew(now_ms)
            }
            State::Renewing(..) | State::Rebinding(..) => self.renew(now_ms),
        }
    }

    /// A message came from `source`, whatever its transaction.
    pub fn receive(&mut self, now_ms: u64, message: &Message<'_>, source: Address) -> Action {
        if message.xid != self.xid || message.chaddr != self.chaddr {
            return Action::Nothing;
        }
        // A server that does not name itself is known by its address.
        let server = message.address(code::SERVER_IDENTIFIER).unwrap_or(source);
        match (&self.state, message.kind) {
            (State::Selecting, Kind::Offer) if self.sent > 0 => match Lease::read(message, source) {
                Some(offer) => {
                    self.state = State::Requesting(offer);
                    self.sent = 0;
                    self.request(now_ms)
                }
                None => Action::Nothing,
            },
            (State::Requesting(lease) | State::Renewing(lease, _), Kind::Ack | Kind::Nak) if server != lease.server => {
                Action::Nothing
            }
            (State::Requesting(_) | State::Renewing(..) | State::Rebinding(..), Kind::Ack) => {
                match Lease::read(message, source) {
                    Some(lease) => self.bind(now_ms, lease),
                    None => Action::Nothing,
                }
            }
            (State::Requesting(_) | State::Renewing(..) | State::Rebinding(..), Kind::Nak) => self.refused(now_ms),
            _ => Action::Nothing,
        }
    }

    /// Begins anew with a transaction of its own.
    fn select(&mut self, now_ms: u64) -> Action {
        self.state = State::Selecting;
        self.xid = self.next_random();
        self.sent = 0;
        self.discover(now_ms)
    }

    /// Sends a DISCOVER: the same xid each time, so that a slow server's OFFER still counts.
    fn discover(&mut self, now_ms: u64) -> Action {
        self.secs = u16::try_from(now_ms.saturating_sub(self.began_ms) / 1000).unwrap_or(u16::MAX);
        self.wait_for_answer(now_ms);
        Action::Send(self.query(Kind::Discover), Destination::Broadcast)
    }

    fn request(&mut self, now_ms: u64) -> Action {
        let State::Requesting(offer) = &self.state else { return Action::Nothing };
        let (requested, server) = (Some(offer.address), Some(offer.server));
        self.wait_for_answer(now_ms);
        Action::Send(Query { requested, server, ..self.query(Kind::Request) }, Destination::Broadcast)
    }

    fn bind(&mut self, now_ms: u64, lease: Lease) -> Action {
        self.deadline_ms = lease.times.map(|times| after_s(now_ms, times.renewal_s));
        self.state = State::Bound(lease, now_ms);
        self.naks = 0;
        Action::Configure
    }

    /// RENEWING, REBINDING and the end of the lease: by the time that it is.
    fn renew(&mut self, now_ms: u64) -> Action {
        let (State::Renewing(lease, since_ms) | State::Rebinding(lease, since_ms)) = &self.state else {
            return Action::Nothing;
        };
        let (lease, since_ms) = (*lease, *since_ms);
        let Some(times) = lease.times else { return Action::Nothing };
        let expiry_ms = after_s(since_ms, times.expiry_s);
        let rebinding_ms = after_s(since_ms, times.rebinding_s);
        if now_ms >= expiry_ms {
            return self.give_up(now_ms, 0);
        }
        let ciaddr = lease.address;
        let (next_ms, destination) = if now_ms < rebinding_ms {
            (rebinding_ms, Destination::Server(lease.server))
        } else {
            self.state = State::Rebinding(lease, since_ms);
            (expiry_ms, Destination::Broadcast)
        };
        // RFC 2131 §4.4.5: wait half of the time that is left, at least 60 s; less when the whole lease is short.
        let gap_ms = (next_ms.saturating_sub(now_ms) / 2)
            .max(MIN_RENEWAL_GAP_MS.min(u64::from(times.expiry_s).saturating_mul(1000 / 8)));
        self.deadline_ms = Some(now_ms.saturating_add(gap_ms).min(next_ms));
        self.began_ms = now_ms;
        self.secs = 0;
        // No options 50 and 54 here (RFC 2131 §4.3.2).
        Action::Send(Query { ciaddr, ..self.query(Kind::Request) }, destination)
    }

    /// A NAK: begin again, at once the first time, and ever later when refusals follow each other.
    fn refused(&mut self, now_ms: u64) -> Action {
        let wait_ms = match self.naks {
            0 => 0,
            naks => 1000u64.checked_shl(u32::from(naks.min(7)).saturating_sub(1)).unwrap_or(MAX_GAP_MS),
        };
        self.naks = self.naks.saturating_add(1);
        if self.lease().is_some() {
            return self.give_up(now_ms, wait_ms);
        }
        if wait_ms == 0 {
            return self.select(now_ms);
        }
        self.start_over(now_ms, wait_ms);
        Action::Nothing
    }

    /// The lease is lost.
    fn give_up(&mut self, now_ms: u64, wait_ms: u64) -> Action {
        self.start_over(now_ms, wait_ms);
        Action::Deconfigure
    }

    fn start_over(&mut self, now_ms: u64, wait_ms: u64) {
        self.state = State::Selecting;
        self.sent = 0;
        self.began_ms = now_ms;
        self.deadline_ms = Some(now_ms.saturating_add(wait_ms));
    }

    /// Sets the deadline behind a message that wants an answer: 0.25 s, doubling up to 64 s, each ±10 %.
    fn wait_for_answer(&mut self, now_ms: u64) {
        let gap_ms = FIRST_GAP_MS.checked_shl(u32::from(self.sent.min(16))).unwrap_or(MAX_GAP_MS).min(MAX_GAP_MS);
        // 0 to 1023 of 1024ths of a fifth.
        let jitter_ms = (gap_ms / 5).saturating_mul(u64::from(self.next_random() % 1024)) / 1024;
        self.sent = self.sent.saturating_add(1);
        self.deadline_ms = Some(now_ms.saturating_add(gap_ms).saturating_sub(gap_ms / 10).saturating_add(jitter_ms));
    }

    fn query(&self, kind: Kind) -> Query {
        Query {
            kind,
            xid: self.xid,
            secs: self.secs,
            ciaddr: Address::UNSPECIFIED,
            requested: None,
            server: None,
            chaddr: self.chaddr,
        }
    }

    /// Marsaglia's xorshift32.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

fn after_s(since_ms: u64, seconds: u32) -> u64 {
    since_ms.saturating_add(u64::from(seconds).saturating_mul(1000))
}

#[cfg(test)]
mod tests;
