//! The client's state machine (RFC 2131 §4.4, figure 5), without I/O and without a clock of its own.
//!
//! Whoever drives it calls [`Client::link`], [`Client::receive`] and, at [`Client::deadline_ms`], [`Client::timeout`], and
//! carries out the [`Action`] that each returns. Times are milliseconds of one clock that never stands still
//! (CLOCK_BOOTTIME).

use super::lease::Lease;
use super::wire::{HardwareAddress, Kind, Message, Query, code};
use crate::ipv4::Address;
use crate::time::{NEVER, after_ms, after_s};

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
    /// There is no carrier: what is sent would be lost without a word. At the deadline the interface is brought up.
    WaitLink,
    /// A DISCOVER is out, or will be at the deadline.
    Selecting,
    /// A REQUEST for an offer is out.
    Requesting,
    /// The lease holds.
    Bound,
    /// T1 has passed: the server is asked.
    Renewing,
    /// T2 has passed: every server is asked.
    Rebinding,
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
    /// Bring the interface up.
    BringUp,
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
    /// What was offered in [`State::Requesting`], what was leased from [`State::Bound`] on.
    lease: Option<Lease>,
    /// When it was leased.
    leased_ms: u64,
    xid: u32,
    random: u32,
    began_ms: u64,
    /// secs of the last DISCOVER: its REQUEST repeats it (RFC 2131 §4.4.1).
    secs: u16,
    /// Messages sent in this state.
    sent: u8,
    /// Refusals in a row.
    naks: u8,
    deadline_ms: u64,
}

impl Client {
    /// A client that wants its interface up at `up_ms` and waits for its link. `random` should differ between machines
    /// and boots.
    pub fn new(chaddr: HardwareAddress, random: u32, up_ms: u64) -> Self {
        let [.., b2, b3, b4, b5] = chaddr;
        // xorshift needs a state that is not zero.
        let random = (random ^ u32::from_le_bytes([b2, b3, b4, b5])) | 1;
        Self {
            chaddr,
            state: State::WaitLink,
            lease: None,
            leased_ms: 0,
            xid: 0,
            random,
            began_ms: 0,
            secs: 0,
            sent: 0,
            naks: 0,
            deadline_ms: up_ms,
        }
    }

    /// When [`Client::timeout`] wants to be called, or [`NEVER`].
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Where the client stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The lease in use.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref().filter(|_| matches!(self.state, State::Bound | State::Renewing | State::Rebinding))
    }

    /// The carrier came or went. A lease in use outlives a short loss.
    pub fn link(&mut self, now_ms: u64, up: bool) -> Action {
        match (self.state, up) {
            (State::WaitLink, true) => {
                self.began_ms = now_ms;
                return self.select(now_ms);
            }
            (State::Selecting | State::Requesting, false) => {
                self.state = State::WaitLink;
                self.deadline_ms = NEVER;
            }
            _ => {}
        }
        Action::Nothing
    }

    /// The deadline has come.
    pub fn timeout(&mut self, now_ms: u64) -> Action {
        self.deadline_ms = NEVER;
        match self.state {
            State::WaitLink => Action::BringUp,
            State::Selecting if self.sent > 0 => self.discover(now_ms),
            State::Requesting if self.sent < MAX_REQUESTS => self.request(now_ms),
            State::Selecting | State::Requesting => self.select(now_ms),
            State::Bound => {
                self.state = State::Renewing;
                self.xid = self.next_random();
                self.renew(now_ms)
            }
            State::Renewing | State::Rebinding => self.renew(now_ms),
        }
    }

    /// A message came from `source`, whatever its transaction.
    #[inline(never)]
    pub fn receive(&mut self, now_ms: u64, message: &Message<'_>, source: Address) -> Action {
        if message.xid() != self.xid || message.chaddr() != self.chaddr {
            return Action::Nothing;
        }
        // A server that does not name itself is known by its address.
        let server = message.address(code::SERVER_IDENTIFIER).unwrap_or(source);
        let from_ours = self.lease.as_ref().is_some_and(|lease| lease.server == server);
        match (self.state, message.kind) {
            (State::Selecting, Kind::Offer) if self.sent > 0 => {
                self.lease = Lease::read(message, server);
                if self.lease.is_some() {
                    self.state = State::Requesting;
                    self.sent = 0;
                    return self.request(now_ms);
                }
            }
            (State::Requesting | State::Renewing, _) if !from_ours => {}
            (State::Requesting | State::Renewing | State::Rebinding, Kind::Ack) => {
                if let Some(lease) = Lease::read(message, server) {
                    self.leased_ms = now_ms;
                    self.state = State::Bound;
                    self.naks = 0;
                    self.deadline_ms = lease.times.map_or(NEVER, |times| after_s(now_ms, times.renewal_s));
                    self.lease = Some(lease);
                    return Action::Configure;
                }
            }
            (State::Requesting | State::Renewing | State::Rebinding, Kind::Nak) => return self.refused(now_ms),
            _ => {}
        }
        Action::Nothing
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
        let mut query = self.query(Kind::Request);
        query.offer = self.lease.as_ref().map(|offer| (offer.address, offer.server));
        self.wait_for_answer(now_ms);
        Action::Send(query, Destination::Broadcast)
    }

    /// RENEWING, REBINDING and the end of the lease: by the time that it is.
    fn renew(&mut self, now_ms: u64) -> Action {
        let lease = self.lease.as_ref().and_then(|lease| Some((lease.address, lease.server, lease.times?)));
        let Some((address, server, times)) = lease else { return Action::Nothing }; // For ever.
        let expiry_ms = after_s(self.leased_ms, times.expiry_s);
        let rebinding_ms = after_s(self.leased_ms, times.rebinding_s);
        if now_ms >= expiry_ms {
            self.start_over(now_ms, 0);
            return Action::Deconfigure;
        }
        let (next_ms, destination) = if now_ms < rebinding_ms {
            (rebinding_ms, Destination::Server(server))
        } else {
            self.state = State::Rebinding;
            (expiry_ms, Destination::Broadcast)
        };
        // RFC 2131 §4.4.5: wait half of the time that is left, at least 60 s; less when the whole lease is short.
        let min_gap_ms = MIN_RENEWAL_GAP_MS.min(u64::from(times.expiry_s) * (1000 / 8));
        let gap_ms = (next_ms.saturating_sub(now_ms) / 2).max(min_gap_ms);
        self.deadline_ms = after_ms(now_ms, gap_ms).min(next_ms);
        self.secs = 0;
        // No options 50 and 54 here (RFC 2131 §4.3.2).
        let mut query = self.query(Kind::Request);
        query.ciaddr = address;
        Action::Send(query, destination)
    }

    /// A NAK: begin again, at once the first time, and ever later when refusals follow each other.
    fn refused(&mut self, now_ms: u64) -> Action {
        let had_lease = self.lease().is_some();
        // 0, 1, 2, 4 … 64 s
        self.start_over(now_ms, if self.naks == 0 { 0 } else { 500 << self.naks });
        self.naks = (self.naks + 1).min(7);
        if had_lease { Action::Deconfigure } else { Action::Nothing }
    }

    fn start_over(&mut self, now_ms: u64, wait_ms: u64) {
        self.state = State::Selecting;
        self.sent = 0;
        self.began_ms = now_ms;
        self.deadline_ms = after_ms(now_ms, wait_ms);
    }

    /// Sets the deadline behind a message that wants an answer: 0.25 s, doubling up to 64 s, each ±10 %.
    fn wait_for_answer(&mut self, now_ms: u64) {
        let gap_ms = (FIRST_GAP_MS << self.sent).min(MAX_GAP_MS);
        // 0 to 1023 of 1024ths of a fifth.
        let jitter_ms = gap_ms / 5 * u64::from(self.next_random() % 1024) / 1024;
        self.sent = (self.sent + 1).min(8); // Which is 64 s.
        self.deadline_ms = after_ms(now_ms, gap_ms - gap_ms / 10 + jitter_ms);
    }

    fn query(&self, kind: Kind) -> Query {
        Query { kind, xid: self.xid, secs: self.secs, ciaddr: Address::UNSPECIFIED, offer: None, chaddr: self.chaddr }
    }

    /// Marsaglia's xorshift32.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

#[cfg(test)]
mod tests;
