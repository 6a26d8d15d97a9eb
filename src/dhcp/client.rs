//! The client's state machine (RFC 2131 §4.4, figure 5), without I/O and without a clock of its own.
//!
//! The caller calls [`Client::link`], [`Client::receive`] and, at [`Client::deadline_ms`], [`Client::timeout`], and performs
//! the [`Action`] that each returns. What an action sends is [`Client::query`]. Times are milliseconds of one clock that never stands still
//! (CLOCK_BOOTTIME).

use super::lease::{Lease, Times};
use super::wire::{self, HardwareAddress, Kind, Message, Query, code};
use crate::features::Feature;
use crate::ipv4::Address;
use crate::time::{NEVER, after_ms, after_s};

/// RFC 2131 §4.1 gives 4 s as an example for 10 Mb/s Ethernet; what it demands is exponential growth with jitter. The
/// first frame after a link came up is often lost, which costs one gap: a quarter of a second.
pub const FIRST_GAP_MS: u64 = 250;
/// RFC 2131 §4.1's example: `dhcp=rfc`.
pub const CLASSIC_GAP_MS: u64 = 4000;
/// RFC 2131 §4.1: up to 64 s.
const MAX_GAP_MS: u64 = 64_000;
/// REQUESTs for one offer before the next DISCOVER.
const MAX_REQUESTS: u8 = 4;
/// REQUESTs of the address from before: for some 0.75 s.
const MAX_REBOOTS: u8 = 2;
/// RFC 2131 §3.1, step 5: at least ten seconds between an address that was another's and the next.
const DECLINED_WAIT_MS: u64 = 10_000;
/// So many messages ask for a unicast answer, then every other one does.
const UNICAST_TRIES: u8 = 3;
/// Messages are counted up to here, where the gaps do not grow any more; from there on the last two are meant in turn.
const LAST_TRY: u8 = 9;
/// RFC 2131 §4.4.5: at least 60 s between REQUESTs of a lease that is in use.
const MIN_RENEWAL_GAP_MS: u64 = 60_000;

/// The state of the client: RFC 2131's figure 5, WaitLink before it, and Fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no carrier: what is sent would be lost without a word. At the deadline the interface is brought up.
    WaitLink,
    /// A DISCOVER is out, or will be at the deadline.
    Selecting,
    /// A REQUEST for an offer is out.
    Requesting,
    /// An address was granted: ARP probes the link for another host that has it, until the deadline.
    Probing,
    /// The lease holds.
    Bound,
    /// T1 has passed: the server is asked.
    Renewing,
    /// T2 has passed: every server is asked.
    Rebinding,
    /// The link was gone, or the lease ended: whether the address from before can be had is asked, or will be at the deadline
    /// (the RFC's INIT-REBOOT and REBOOTING).
    Rebooting,
    /// The address was chosen by hand, and is used whenever there is a carrier.
    Fixed,
}

/// The destination of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// All hosts on the link.
    Broadcast,
    /// The server of the lease, routed.
    Server(Address),
}

/// An action for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Bring the interface up.
    BringUp,
    /// Send [`Client::query`].
    Send,
    /// Send an ARP probe for [`Client::address`].
    Probe,
    /// Another host has [`Client::address`]: broadcast [`Client::query`], and remove the address from the interface.
    Decline,
    /// Configure the interface from [`Client::lease`], in place of its previous address.
    Configure,
    /// Extend the lifetime of the address: the lease is the same otherwise.
    Extend,
    /// Remove the address and the lease's routes from the interface.
    Deconfigure,
}

/// Intervals of a client, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between the first two messages; doubled from then on.
    pub first_gap_ms: u64,
    /// How long ARP probes for another host with the granted address; 0: no probe.
    pub probe_ms: u64,
}

/// The client of one interface. Small fields come first: the code that reaches them is shorter.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Client {
    deadline_ms: u64,
    /// When the interface is to lose its address, or [`NEVER`].
    expiry_ms: u64,
    began_ms: u64,
    random: u32,
    state: State,
    /// There is a carrier.
    link: bool,
    /// The interface is configured from a lease.
    configured: bool,
    /// Messages sent in this state.
    sent: u8,
    /// NAKs in a row.
    naks: u8,
    /// The last message that was sent. Its `secs` is that of the last DISCOVER, which a REQUEST repeats (RFC 2131 §4.4.1).
    query: Query,
    timing: Timing,
    /// What was offered in [`State::Requesting`], what was leased from [`State::Bound`] on.
    lease: Lease,
}

impl Client {
    /// A client that wants its interface up at `up_ms` and waits for its link. `random` should differ between machines
    /// and boots.
    #[inline(never)]
    pub fn new(chaddr: HardwareAddress, random: u32, timing: Timing, up_ms: u64) -> Self {
        let [.., b2, b3, b4, b5] = chaddr;
        // xorshift needs a state that is not zero.
        let random = (random ^ u32::from_le_bytes([b2, b3, b4, b5])) | 1;
        let query = Query {
            kind: Kind::Discover,
            xid: 0,
            secs: 0,
            ciaddr: Address::UNSPECIFIED,
            requested: None,
            server: None,
            broadcast: false,
            chaddr,
        };
        Self {
            query,
            state: State::WaitLink,
            link: false,
            configured: false,
            lease: Lease::default(),
            expiry_ms: NEVER,
            random,
            timing,
            began_ms: 0,
            sent: 0,
            naks: 0,
            deadline_ms: up_ms,
        }
    }

    /// Sets a static address: no server is asked, and it does not expire.
    pub fn fix(&mut self, lease: Lease) {
        self.lease = lease;
        self.state = State::Fixed;
    }

    /// When [`Client::timeout`] wants to be called, or [`NEVER`].
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// The hardware address of its interface.
    pub fn chaddr(&self) -> HardwareAddress {
        self.query.chaddr
    }

    /// The message that [`Action::Send`] and [`Action::Decline`] mean.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Where it goes.
    pub fn destination(&self) -> Destination {
        if self.query.kind == Kind::Release || self.state == State::Renewing {
            Destination::Server(self.lease.server)
        } else {
            Destination::Broadcast
        }
    }

    /// The address that was offered last, whether it is in use or not.
    pub fn address(&self) -> Address {
        self.lease.address
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The lease in use.
    pub fn lease(&self) -> Option<&Lease> {
        let holds = self.configured && !matches!(self.state, State::Selecting | State::Requesting);
        holds.then_some(&self.lease)
    }

    /// Handles a change of the carrier. A lease in use survives a short loss.
    pub fn link(&mut self, now_ms: u64, up: bool) -> Action {
        let was_up = core::mem::replace(&mut self.link, up);
        match self.state {
            State::WaitLink | State::Selecting if up && !was_up => {
                self.began_ms = now_ms;
                return self.select(now_ms);
            }
            State::Selecting | State::Requesting | State::Probing if !up => {
                self.state = State::WaitLink;
                if !self.configured {
                    self.expiry_ms = NEVER; // of what was only probed
                }
                self.deadline_ms = self.expiry_ms;
            }
            State::Rebooting if !up => self.deadline_ms = self.expiry_ms,
            State::Fixed if up && !was_up => {
                self.configured = true;
                return Action::Configure;
            }
            State::Bound | State::Renewing | State::Rebinding | State::Rebooting if up && !was_up => {
                // It may lead to another network now.
                self.begin(State::Rebooting);
                self.start_over(now_ms, 0);
                return self.request(now_ms);
            }
            _ => {}
        }
        Action::Nothing
    }

    /// Handles the deadline.
    #[inline(never)]
    pub fn timeout(&mut self, now_ms: u64) -> Action {
        if now_ms >= self.expiry_ms {
            // Also after the machine was suspended, without a renewal.
            self.begin(State::Rebooting);
            self.start_over(now_ms, 0);
            (self.configured, self.expiry_ms) = (false, NEVER);
            return Action::Deconfigure;
        }
        self.deadline_ms = NEVER;
        match self.state {
            State::WaitLink | State::Fixed => Action::BringUp,
            State::Selecting if self.sent > 0 => self.discover(now_ms),
            State::Requesting if self.sent < MAX_REQUESTS => self.request(now_ms),
            State::Rebooting if self.sent < MAX_REBOOTS => self.request(now_ms),
            State::Selecting | State::Requesting | State::Rebooting => self.select(now_ms),
            State::Probing => self.use_lease(),
            State::Bound => {
                self.begin(State::Renewing);
                self.renew(now_ms)
            }
            State::Renewing | State::Rebinding => self.renew(now_ms),
        }
    }

    /// Handles a message from `source`, of any transaction.
    #[inline(never)]
    pub fn receive(&mut self, now_ms: u64, message: &Message<'_>, source: Address) -> Action {
        if message.xid() != self.query.xid || message.chaddr() != self.query.chaddr {
            return Action::Nothing;
        }
        // RFC 6842: the identifier comes back as it was sent, or not at all.
        if message
            .option(code::CLIENT_IDENTIFIER)
            .is_some_and(|identifier| identifier != wire::identifier(&self.query.chaddr))
        {
            return Action::Nothing;
        }
        // A server without option 54 is known by its address; a NAK must have the option.
        let named = message.address(code::SERVER_IDENTIFIER);
        let server = named.unwrap_or(source);
        let from_ours = self.lease.server == server && (named.is_some() || message.kind != Kind::Nak);
        match (self.state, message.kind) {
            // RFC 4039: the server has skipped two messages, as it was offered to.
            (State::Selecting, Kind::Ack) if self.sent > 0 && message.option(code::RAPID_COMMIT).is_some() => {
                return self.bind(now_ms, message, server);
            }
            (State::Selecting, Kind::Offer) if self.sent > 0 => return self.accept(now_ms, message, server),
            (State::Requesting | State::Renewing, _) if !from_ours => {}
            (State::Requesting | State::Renewing | State::Rebinding | State::Rebooting, Kind::Ack) => {
                return self.bind(now_ms, message, server);
            }
            (State::Requesting | State::Renewing | State::Rebinding | State::Rebooting, Kind::Nak) => {
                return self.handle_nak(now_ms);
            }
            _ => {}
        }
        Action::Nothing
    }

    /// Accepts an offer, if its address is usable.
    fn accept(&mut self, now_ms: u64, message: &Message<'_>, server: Address) -> Action {
        if self.lease.take_address(message, server).is_none() {
            return Action::Nothing;
        }
        self.state = State::Requesting;
        self.sent = 0;
        self.request(now_ms)
    }

    /// Takes the lease of an ACK, and probes its address or uses it.
    fn bind(&mut self, now_ms: u64, message: &Message<'_>, server: Address) -> Action {
        if self.lease.take_address(message, server).is_none() {
            return Action::Nothing;
        }
        let is_same = self.lease.take_rest(message);
        self.naks = 0;
        self.expiry_ms = self.lease.times.map_or(NEVER, |times| after_s(now_ms, times.expiry_s));
        // A link that was taken down has lost its routes.
        let was_kept = matches!(self.state, State::Renewing | State::Rebinding);
        if Feature::Arp.is_enabled() && !was_kept && self.timing.probe_ms > 0 {
            self.state = State::Probing;
            self.deadline_ms = after_ms(now_ms, self.timing.probe_ms).min(self.expiry_ms.saturating_sub(1));
            return Action::Probe;
        }
        let action = self.use_lease();
        if is_same && was_kept { Action::Extend } else { action }
    }

    /// Enters BOUND.
    fn use_lease(&mut self) -> Action {
        self.state = State::Bound;
        self.configured = true;
        self.deadline_ms = self.lease.times.map_or(NEVER, |times| self.moment_ms(times, times.renewal_s));
        Action::Configure
    }

    /// When so much of a lease is over.
    fn moment_ms(&self, times: Times, time_s: u32) -> u64 {
        self.expiry_ms.saturating_sub(u64::from(times.expiry_s.wrapping_sub(time_s)) * 1000)
    }

    /// Handles an ARP claim: another host on the link has an address, or probes for it.
    pub fn address_claimed(&mut self, now_ms: u64, address: Address, by: HardwareAddress) -> Action {
        if self.state != State::Probing || address != self.lease.address || by == self.query.chaddr {
            return Action::Nothing;
        }
        self.ask(Kind::Decline);
        self.query.requested = Some(address);
        self.query.server = Some(self.lease.server);
        (self.state, self.sent) = (State::Selecting, 0);
        self.start_over(now_ms, DECLINED_WAIT_MS);
        (self.configured, self.expiry_ms) = (false, NEVER);
        Action::Decline
    }

    /// Releases a lease in use. The last call on a client: the machine ends.
    pub fn release(&mut self) -> Action {
        if !matches!(self.state, State::Bound | State::Renewing | State::Rebinding) {
            return Action::Nothing;
        }
        self.ask(Kind::Release);
        self.query.secs = 0;
        self.query.ciaddr = self.lease.address;
        self.query.server = Some(self.lease.server);
        Action::Send
    }

    /// Enters a state with a new transaction.
    fn begin(&mut self, state: State) {
        self.state = state;
        self.query.xid = self.next_random();
        self.sent = 0;
    }

    /// Enters SELECTING with a new transaction.
    fn select(&mut self, now_ms: u64) -> Action {
        self.begin(State::Selecting);
        self.discover(now_ms)
    }

    /// Sends a DISCOVER: the same xid each time, so that a slow server's OFFER still counts.
    fn discover(&mut self, now_ms: u64) -> Action {
        self.query.secs = u16::try_from(now_ms.saturating_sub(self.began_ms) / 1000).unwrap_or(u16::MAX);
        self.wait_for_answer(now_ms);
        self.ask(Kind::Discover);
        Action::Send
    }

    fn request(&mut self, now_ms: u64) -> Action {
        self.ask(Kind::Request);
        self.query.requested = Some(self.lease.address);
        // RFC 2131 §4.3.2: INIT-REBOOT must not fill in the server identifier.
        self.query.server = (self.state == State::Requesting).then_some(self.lease.server);
        self.wait_for_answer(now_ms);
        Action::Send
    }

    /// Sends the REQUEST of RENEWING or REBINDING.
    fn renew(&mut self, now_ms: u64) -> Action {
        let Lease { address, times: Some(times), .. } = self.lease else { return Action::Nothing }; // For ever.
        let expiry_ms = self.expiry_ms;
        let rebinding_ms = self.moment_ms(times, times.rebinding_s);
        let next_ms = if now_ms < rebinding_ms {
            rebinding_ms
        } else {
            self.state = State::Rebinding;
            expiry_ms
        };
        // RFC 2131 §4.4.5: wait half of the time that is left, at least 60 s; less when the whole lease is short.
        let min_gap_ms = MIN_RENEWAL_GAP_MS.min(u64::from(times.expiry_s) * (1000 / 8));
        let gap_ms = (next_ms.saturating_sub(now_ms) / 2).max(min_gap_ms);
        self.deadline_ms = after_ms(now_ms, gap_ms).min(next_ms);
        // No options 50 and 54 here (RFC 2131 §4.3.2).
        self.ask(Kind::Request);
        self.query.secs = 0;
        self.query.ciaddr = address;
        Action::Send
    }

    /// Handles a NAK: starts over, at once after the first, later after each further one in a row.
    fn handle_nak(&mut self, now_ms: u64) -> Action {
        // 0, 1, 2, 4 … 64 s
        self.begin(State::Selecting);
        self.start_over(now_ms, if self.naks == 0 { 0 } else { 500 << self.naks });
        self.naks = (self.naks + 1).min(7);
        self.expiry_ms = NEVER;
        if core::mem::take(&mut self.configured) { Action::Deconfigure } else { Action::Nothing }
    }

    /// The next message is the first one, after so long.
    fn start_over(&mut self, now_ms: u64, wait_ms: u64) {
        self.began_ms = now_ms;
        self.query.secs = 0;
        // A lease may be lost while there is no carrier: the next one begins.
        self.deadline_ms = if self.link { after_ms(now_ms, wait_ms) } else { NEVER };
    }

    /// Sets the deadline for the answer to a message: 0.25 s, doubling up to 64 s, each ±10 %.
    #[inline(never)]
    fn wait_for_answer(&mut self, now_ms: u64) {
        let gap_ms = (self.timing.first_gap_ms << self.sent).min(MAX_GAP_MS);
        // 0 to 1023 of 1024ths of a fifth.
        let jitter_ms = gap_ms / 5 * u64::from(self.next_random() % 1024) / 1024;
        self.sent = if self.sent < LAST_TRY { self.sent + 1 } else { LAST_TRY - 1 };
        self.deadline_ms = after_ms(now_ms, gap_ms - gap_ms / 10 + jitter_ms);
    }

    /// Begins a query of this kind, without an address.
    #[inline(never)]
    fn ask(&mut self, kind: Kind) {
        self.query.kind = kind;
        self.query.ciaddr = Address::UNSPECIFIED;
        (self.query.requested, self.query.server) = (None, None);
        self.query.broadcast = self.sent > UNICAST_TRIES && self.sent.is_multiple_of(2);
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
mod fuzz;
#[cfg(test)]
mod tests;
