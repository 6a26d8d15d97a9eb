//! The client's state machine (RFC 2131 §4.4, figure 5), without I/O or a clock: the caller passes the time.
//!
//! The caller calls [`Client::link`], [`Client::receive`] and, at [`Client::deadline_ms`], [`Client::timeout`], and performs
//! the [`Action`] that each returns. [`Client::query`] is the message to send. Times are milliseconds of CLOCK_BOOTTIME, which
//! also counts while the machine is suspended.

use super::lease::{self, Lease, Times};
use super::wire::{self, HardwareAddress, Kind, Message, Query, code};
use crate::features::Feature;
use crate::ipv4::Address;
use crate::time::{NEVER, after_ms, after_s};

/// The first retransmission interval. RFC 2131 §4.1 requires exponential backoff with jitter; its 4 s are an example for 10 Mb/s
/// Ethernet. The first frame after the link comes up is often lost, which costs one interval.
pub const FIRST_GAP_MS: u32 = 250;
/// The first retransmission interval of `dhcp=rfc`: RFC 2131 §4.1's example.
pub const CLASSIC_GAP_MS: u32 = 4000;
/// The longest retransmission interval (RFC 2131 §4.1).
const MAX_GAP_MS: u32 = 64_000;
/// REQUESTs for one offer before the client returns to DISCOVER.
const MAX_REQUESTS: u8 = 4;
/// REQUESTs in INIT-REBOOT before the client returns to DISCOVER, after about 0.75 s.
const MAX_REBOOTS: u8 = 2;
/// The pause after a DECLINE (RFC 2131 §3.1, step 5: at least ten seconds).
const DECLINED_WAIT_MS: u64 = 10_000;
/// DISCOVERs that request the reply that was last received, at first a unicast. After these, the request changes with each DISCOVER.
const FIRST_TRIES: u8 = 3;
/// The limit of the message count, where intervals have stopped growing. From there the count alternates between the last two
/// values, and so does the broadcast flag.
const LAST_TRY: u8 = 9;
/// The shortest time without IPv4 in a network for IPv6 alone (RFC 8925 §3.4, MIN_V6ONLY_WAIT).
const MIN_IPV6_ONLY_S: u32 = 300;
/// The shortest interval between renewal REQUESTs (RFC 2131 §4.4.5).
const MIN_RENEWAL_GAP_MS: u64 = 60_000;

/// The state of the client: those of RFC 2131's figure 5, and WaitLink, Probing and Fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No carrier, so nothing is sent. The interface is brought up at the deadline.
    WaitLink,
    /// A DISCOVER has been sent, or is due at the deadline.
    Selecting,
    /// A REQUEST for an offer has been sent.
    Requesting,
    /// The server has acknowledged an address, and ARP probes the link for another host that uses it, until the deadline.
    Probing,
    /// The lease is valid.
    Bound,
    /// T1 has passed: the client requests a renewal from its server.
    Renewing,
    /// T2 has passed: the client requests a renewal from any server.
    Rebinding,
    /// The link was down, or the lease expired. A REQUEST for the previous address has been sent, or is due at the deadline (the
    /// RFC's INIT-REBOOT and REBOOTING).
    Rebooting,
    /// The address is static. It is configured whenever the link comes up.
    Fixed,
}

/// The destination of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// 255.255.255.255: all hosts on the link.
    Broadcast,
    /// The server of the lease, by unicast.
    Server(Address),
}

/// An action for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do nothing.
    Nothing,
    /// Bring the interface up.
    BringUp,
    /// Send [`Client::query`] to [`Client::destination`].
    Send,
    /// Send an ARP probe for [`Client::address`].
    Probe,
    /// Another host uses [`Client::address`]: broadcast [`Client::query`], and remove the address from the interface.
    Decline,
    /// Configure the interface from [`Client::lease`], in place of its previous address.
    Configure,
    /// Extend the lifetime of the address. The rest of the lease is unchanged.
    Extend,
    /// Remove the address and the lease's routes from the interface.
    Deconfigure,
    /// The network is for IPv6 alone: remove the address, if there is one, and do not wait for a lease.
    Ipv6Only,
}

/// Intervals of a client, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Whether the client prefers to have IPv6 alone, if the network is made for that (RFC 8925).
    pub ipv6_only: bool,
    /// The interval between the first two messages. It doubles with each further message.
    pub first_gap_ms: u32,
    /// How long ARP probes a new address before it is used; 0 disables the probe.
    pub probe_ms: u32,
}

/// Returns the seed of the client of an interface from that of the machine. The factor is odd: two interfaces have two seeds.
pub fn seed_of(machine: u32, interface: u32) -> u32 {
    machine ^ interface.wrapping_mul(0x9e37_79b9) // the golden ratio: spreads an index over 32 bits
}

/// The client of one interface. Small fields come first: the code that reaches them is shorter.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Client {
    deadline_ms: u64,
    /// When the lease expires, or [`NEVER`].
    expiry_ms: u64,
    random: u32,
    /// The last message. Its `secs` is from the last DISCOVER, which a REQUEST repeats (RFC 2131 §4.4.1), and so is `broadcast`, also
    /// after a reboot: a REQUEST is answered in the way that brought the offer.
    query: Query,
    /// Whether the interface is configured from a lease.
    configured: bool,
    state: State,
    /// Messages sent in this state, as far as [`LAST_TRY`].
    sent: u8,
    /// The server of the last offer or lease.
    server: Address,
    /// The network is for IPv6 alone.
    is_ipv6_only: bool,
    /// Whether the link has a carrier.
    link: bool,
    /// Consecutive NAKs.
    naks: u8,
    /// The address of the last offer or lease.
    address: Address,
    /// When the acquisition began: `secs` counts from here.
    began_ms: u64,
    timing: Timing,
    /// The lease from [`State::Probing`] on, as long as it holds.
    lease: Lease,
}

impl Client {
    /// A client that is not started. The compiler fills a constant with zeros; each field of a call would be an instruction.
    pub const EMPTY: Self = Self {
        deadline_ms: 0,
        expiry_ms: 0,
        began_ms: 0,
        random: 0,
        state: State::WaitLink,
        link: false,
        configured: false,
        is_ipv6_only: false,
        sent: 0,
        naks: 0,
        address: Address::UNSPECIFIED,
        server: Address::UNSPECIFIED,
        query: Query {
            kind: Kind::Discover,
            xid: 0,
            secs: 0,
            ciaddr: Address::UNSPECIFIED,
            requested: None,
            server: None,
            broadcast: false,
            chaddr: [0; 6],
        },
        timing: Timing { ipv6_only: false, first_gap_ms: 0, probe_ms: 0 },
        lease: Lease::EMPTY,
    };

    /// Creates a client that is started.
    pub fn new(chaddr: &HardwareAddress, random: u32, timing: Timing, up_ms: u64) -> Self {
        let mut client = Self::EMPTY;
        client.start(chaddr, random, timing, up_ms);
        client
    }

    /// Starts an empty client in [`State::WaitLink`], which requests [`Action::BringUp`] at `up_ms`. `random` seeds transaction
    /// identifiers and jitter, and should differ between machines and boots.
    #[inline(never)]
    pub fn start(&mut self, chaddr: &HardwareAddress, random: u32, timing: Timing, up_ms: u64) {
        let own = chaddr.last_chunk().copied().map_or(0, u32::from_le_bytes);
        self.query.chaddr = *chaddr;
        self.random = (random ^ own).max(1); // xorshift needs a nonzero state
        self.timing = timing;
        (self.deadline_ms, self.expiry_ms) = (up_ms, NEVER);
    }

    /// Sets a static address, which needs no server and does not expire.
    pub fn fix(&mut self, lease: Lease) {
        self.lease = lease;
        self.state = State::Fixed;
    }

    /// Returns the time of the next [`Client::timeout`] call, or [`NEVER`].
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Returns the hardware address of the interface.
    pub fn chaddr(&self) -> HardwareAddress {
        self.query.chaddr
    }

    /// Returns the message to send on [`Action::Send`] and [`Action::Decline`].
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Returns the destination of [`Client::query`].
    pub fn destination(&self) -> Destination {
        if self.query.kind == Kind::Release || self.state == State::Renewing {
            Destination::Server(self.lease.server)
        } else {
            Destination::Broadcast
        }
    }

    /// Returns the address of the last lease, in use or not.
    pub fn address(&self) -> Address {
        self.lease.address
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether option 108 is requested and obeyed.
    pub fn prefers_ipv6(&self) -> bool {
        Feature::Ipv6.is_enabled() && self.timing.ipv6_only
    }

    /// Whether no lease is to come: the network is for IPv6 alone, as its server says, or the address is static.
    pub fn needs_no_lease(&self) -> bool {
        self.is_ipv6_only || Feature::StaticIp.is_enabled() && self.state == State::Fixed
    }

    /// Returns the lease in use, or `None`.
    #[inline(never)]
    pub fn lease(&self) -> Option<&Lease> {
        // An interface without DHCP may have IPv6 addresses alone.
        let has_address = !Feature::StaticIp.is_enabled() || self.lease.address != Address::UNSPECIFIED;
        (self.configured && has_address).then_some(&self.lease)
    }

    /// Handles a change of the carrier. A lease in use survives its loss, and is confirmed when it returns (INIT-REBOOT).
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
                    self.expiry_ms = NEVER; // the address was probed, but not yet in use
                }
                self.deadline_ms = self.expiry_ms;
            }
            // The next carrier begins with a REQUEST in any case.
            State::Bound | State::Renewing | State::Rebinding | State::Rebooting if !up => {
                self.deadline_ms = self.expiry_ms;
            }
            State::Fixed if Feature::StaticIp.is_enabled() && up && !was_up => {
                self.configured = true;
                return Action::Configure;
            }
            State::Bound | State::Renewing | State::Rebinding | State::Rebooting if up && !was_up => {
                // The link may lead to another network now.
                self.begin(State::Rebooting);
                self.start_over(now_ms, 0);
                return self.request(now_ms);
            }
            _ => {}
        }
        Action::Nothing
    }

    /// Handles the deadline: retransmits, renews, or expires the lease.
    pub fn timeout(&mut self, now_ms: u64) -> Action {
        if now_ms >= self.expiry_ms {
            // The machine may have been suspended past its renewal.
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

    /// Handles a message from `source`. Messages of other transactions and other clients are ignored.
    #[inline(never)]
    pub fn receive(&mut self, now_ms: u64, message: &Message<'_>, source: Address) -> Action {
        if message.xid() != self.query.xid || message.chaddr() != self.query.chaddr {
            return Action::Nothing;
        }
        // RFC 6842 §3: a server returns the client identifier unchanged; older servers omit it.
        if message
            .option(code::CLIENT_IDENTIFIER)
            .is_some_and(|identifier| !wire::is_identifier(identifier, &self.query.chaddr))
        {
            return Action::Nothing;
        }
        // RFC 2131 §4.3.1, table 3: a NAK must have option 54. Without it, another message's server is its source address.
        let named = message.address(code::SERVER_IDENTIFIER);
        let server = named.unwrap_or(source);
        // The ACK of the requested address is accepted from any server: relays and pairs of servers replace option 54.
        let from_ours = match message.kind {
            Kind::Ack if message.yiaddr() == self.address => true,
            Kind::Nak if named.is_none() => false,
            _ => server == self.server,
        };
        if self.prefers_ipv6()
            && (self.state == State::Selecting && self.sent > 0 || self.state == State::Rebooting)
            && let Some(wait_s) = message.seconds(code::IPV6_ONLY_PREFERRED)
        {
            // RFC 8925 §3.2: IPv4 is not configured for that time, at least 300 s, or until the next carrier.
            self.stop(now_ms, u64::from(wait_s.max(MIN_IPV6_ONLY_S)) * 1000);
            self.is_ipv6_only = true;
            return Action::Ipv6Only;
        }
        match (self.state, message.kind) {
            // RFC 4039 §3.1: the server replies to the DISCOVER with an ACK (Rapid Commit).
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

    /// Accepts an offer if its address is usable, and sends the REQUEST.
    fn accept(&mut self, now_ms: u64, message: &Message<'_>, server: Address) -> Action {
        // A lease that still holds stays as it is until the ACK.
        if lease::prefix_length(message).is_none() {
            return Action::Nothing;
        }
        (self.address, self.server) = (message.yiaddr(), server);
        self.state = State::Requesting;
        self.sent = 0;
        // The offer may be the late answer to an earlier DISCOVER, whose flag it repeats (RFC 2131 §4.3.1, table 3).
        self.query.broadcast |= message.wants_broadcast();
        self.request(now_ms)
    }

    /// Stores the lease of an ACK, and probes its address or configures it.
    fn bind(&mut self, now_ms: u64, message: &Message<'_>, server: Address) -> Action {
        if self.lease.take_address(message, server).is_none() {
            return Action::Nothing;
        }
        (self.address, self.server) = (self.lease.address, self.lease.server);
        let is_same = self.lease.take_rest(message);
        self.naks = 0;
        self.expiry_ms = self.lease.times.map_or(NEVER, |times| after_s(now_ms, times.expiry_s));
        // A link that went down has lost its routes, which Extend would not restore.
        let was_kept = matches!(self.state, State::Renewing | State::Rebinding);
        if Feature::Arp.is_enabled() && !was_kept && self.timing.probe_ms > 0 {
            self.state = State::Probing;
            self.deadline_ms = after_ms(now_ms, self.timing.probe_ms.into()).min(self.expiry_ms.saturating_sub(1));
            return Action::Probe;
        }
        let action = self.use_lease();
        if is_same && was_kept { Action::Extend } else { action }
    }

    /// Enters BOUND, with T1 as the deadline.
    fn use_lease(&mut self) -> Action {
        self.state = State::Bound;
        self.configured = true;
        self.deadline_ms = self.lease.times.map_or(NEVER, |times| self.moment_ms(times, times.renewal_s));
        Action::Configure
    }

    /// Returns the time that is `time_s` after the lease's ACK.
    fn moment_ms(&self, times: Times, time_s: u32) -> u64 {
        self.expiry_ms.saturating_sub(u64::from(times.expiry_s.wrapping_sub(time_s)) * 1000)
    }

    /// Handles an ARP claim: the host `by` uses `address`, or probes for it. A conflict with the probed address is declined.
    #[inline(never)]
    pub fn address_claimed(&mut self, now_ms: u64, address: Address, by: HardwareAddress) -> Action {
        if self.state != State::Probing || address != self.lease.address || by == self.query.chaddr {
            return Action::Nothing;
        }
        self.prepare(Kind::Decline);
        self.query.broadcast = false; // RFC 2131 §4.4.1, table 5, as for RELEASE
        self.query.requested = Some(address);
        self.query.server = Some(self.lease.server);
        (self.state, self.sent) = (State::Selecting, 0);
        self.start_over(now_ms, DECLINED_WAIT_MS);
        (self.configured, self.expiry_ms) = (false, NEVER);
        Action::Decline
    }

    /// Releases the lease in use, if any (RFC 2131 §4.4.6). Must be the last call on a client: it does not change the state.
    #[inline(never)]
    pub fn release(&mut self) -> Action {
        if !matches!(self.state, State::Bound | State::Renewing | State::Rebinding) {
            return Action::Nothing;
        }
        self.prepare(Kind::Release);
        self.query.broadcast = false;
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
        if Feature::Ipv6.is_enabled() {
            self.is_ipv6_only = false;
        }
        self.begin(State::Selecting);
        self.discover(now_ms)
    }

    /// Sends a DISCOVER: the same xid each time, so that a slow server's OFFER still counts.
    fn discover(&mut self, now_ms: u64) -> Action {
        self.query.secs = u16::try_from(now_ms.saturating_sub(self.began_ms) / 1000).unwrap_or(u16::MAX);
        self.wait_for_answer(now_ms);
        self.prepare(Kind::Discover);
        self.query.broadcast ^= self.sent > FIRST_TRIES;
        Action::Send
    }

    /// Sends the REQUEST of REQUESTING or REBOOTING. The last one before a return to DISCOVER requests a broadcast in any case.
    fn request(&mut self, now_ms: u64) -> Action {
        self.prepare(Kind::Request);
        // RFC 2131 §4.3.2: in INIT-REBOOT the server identifier must not be filled in.
        self.query.requested = Some(self.lease.address);
        if self.state == State::Requesting {
            (self.query.requested, self.query.server) = (Some(self.address), Some(self.server));
        }
        self.wait_for_answer(now_ms);
        self.query.broadcast |= self.sent == MAX_REQUESTS;
        Action::Send
    }

    /// Sends the REQUEST of RENEWING or REBINDING.
    fn renew(&mut self, now_ms: u64) -> Action {
        let Lease { address, times: Some(times), .. } = self.lease else { return Action::Nothing }; // It does not expire.
        let expiry_ms = self.expiry_ms;
        let rebinding_ms = self.moment_ms(times, times.rebinding_s);
        let next_ms = if now_ms < rebinding_ms {
            rebinding_ms
        } else {
            self.state = State::Rebinding;
            expiry_ms
        };
        // RFC 2131 §4.4.5: wait half of the remaining time, at least 60 s. Deviation: at least an eighth of a lease under 480 s.
        let min_gap_ms = MIN_RENEWAL_GAP_MS.min(u64::from(times.expiry_s) * (1000 / 8));
        let gap_ms = (next_ms.saturating_sub(now_ms) / 2).max(min_gap_ms);
        self.deadline_ms = after_ms(now_ms, gap_ms).min(next_ms);
        // No options 50 and 54 here (RFC 2131 §4.3.2).
        self.prepare(Kind::Request);
        self.query.secs = 0;
        self.query.ciaddr = address;
        Action::Send
    }

    /// Handles a NAK: returns to SELECTING, immediately after the first, with a growing delay after each further consecutive NAK.
    fn handle_nak(&mut self, now_ms: u64) -> Action {
        // 0, 1, 2, 4 … 64 s
        let wait_ms = if self.naks == 0 { 0 } else { 500 << self.naks };
        self.naks = (self.naks + 1).min(7);
        if self.stop(now_ms, wait_ms) { Action::Deconfigure } else { Action::Nothing }
    }

    /// Gives the lease up, and returns to SELECTING in `wait_ms`. Returns whether there was one in use.
    fn stop(&mut self, now_ms: u64, wait_ms: u64) -> bool {
        self.begin(State::Selecting);
        self.start_over(now_ms, wait_ms);
        self.expiry_ms = NEVER;
        core::mem::take(&mut self.configured)
    }

    /// Restarts the acquisition: the first message is due in `wait_ms`, or when the link comes up.
    fn start_over(&mut self, now_ms: u64, wait_ms: u64) {
        self.began_ms = now_ms;
        self.query.secs = 0;
        // A lease may expire without a carrier. Client::link then sends the first message.
        self.deadline_ms = if self.link { after_ms(now_ms, wait_ms) } else { NEVER };
    }

    /// Sets the deadline for a reply: the first interval, doubled with each message up to 64 s, ±10 % jitter.
    #[inline(never)]
    fn wait_for_answer(&mut self, now_ms: u64) {
        let gap_ms = (self.timing.first_gap_ms << self.sent).min(MAX_GAP_MS);
        // 0 to 1023/1024 of a fifth of the interval.
        let jitter_ms = gap_ms / 5 * (self.next_random() % 1024) / 1024;
        self.sent = if self.sent < LAST_TRY { self.sent + 1 } else { LAST_TRY - 1 };
        // The previous lease may expire meanwhile.
        self.deadline_ms = after_ms(now_ms, (gap_ms - gap_ms / 10 + jitter_ms).into()).min(self.expiry_ms);
    }

    /// Resets the query to this kind, without addresses. The broadcast flag stays.
    fn prepare(&mut self, kind: Kind) {
        self.query.kind = kind;
        self.query.ciaddr = Address::UNSPECIFIED;
        (self.query.requested, self.query.server) = (None, None);
    }

    /// Returns the next number of Marsaglia's xorshift32.
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
