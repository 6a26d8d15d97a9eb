//! The client's state machine (RFC 8415 §18.2), without I/O or a clock: the caller passes the time.
//!
//! The caller passes events and, at [`Client::deadline_ms`], calls [`Client::timeout`]; it performs the [`Action`] that each returns.
//! Only a timeout sends: an event that begins an exchange makes its first message due at once.
//!
//! Deviations, for a short boot: the first message has no random delay (§18.2.1, SOL_MAX_DELAY), and the first Advertise with an address
//! is accepted without a wait for others. Each interface is a client with its own DUID.

use super::wire::{self, Lease, Message, code};
use crate::dhcp::wire::HardwareAddress;
use crate::ipv6::Address;
use crate::time::{NEVER, after_ms, after_s};

/// The longest DUID of a server, in bytes (RFC 8415 §11.1).
const MAX_DUID: usize = 130;
/// The length of the client's DUID.
const DUID: usize = 4 + size_of::<HardwareAddress>();
/// The longest message that is sent, in bytes.
pub const MAX_SENT: usize = 256;
// Header, client and server identifier, elapsed time, option request, and an association with an address fit.
const _: () = assert!(4 + 4 + DUID + 4 + MAX_DUID + 6 + REQUESTED.len() + ASSOCIATION + 28 <= MAX_SENT);
/// Bytes of an IA_NA without options.
const ASSOCIATION: usize = 16;
/// Requests before the client returns to Solicit (REQ_MAX_RC).
const MAX_REQUESTS: u8 = 10;
/// Declines before the client returns to Solicit (DEC_MAX_RC).
const MAX_DECLINES: u8 = 4;
/// How long a Confirm waits for a server; then the lease is used as before (CNF_MAX_RD).
const CONFIRM_MS: u64 = 10_000;
/// The pause after a server has refused an address that it offered, or after a Decline: a server or an attacker must not make the client
/// send without a pause.
const REFUSED_WAIT_MS: u64 = 10_000;
/// The longest interval of Solicit and Information-request (SOL_MAX_RT, INF_MAX_RT), unless a server says another.
const MAX_GAP_S: u32 = 3600;
/// The flags of a router advertisement (include/net/if_inet6.h: IF_RA_MANAGED, IF_RA_OTHERCONF): addresses, and other configuration, are
/// available by DHCPv6 (RFC 4861 §4.2).
pub const MANAGED: u8 = 0x40;
/// See [`MANAGED`].
pub const OTHER: u8 = 0x80;
/// The time until a client without an address asks again (IRT_DEFAULT, IRT_MINIMUM).
const REFRESH_S: u32 = 86_400;
const MIN_REFRESH_S: u32 = 600;

/// The option request: DNS servers, search list, refresh time, and the limits of intervals (RFC 8415 §21.7).
const REQUESTED: [u8; 14] = [
    0,
    code::OPTION_REQUEST as u8,
    0,
    10,
    0,
    code::DNS_SERVERS as u8,
    0,
    code::DOMAIN_LIST as u8,
    0,
    code::REFRESH_TIME as u8,
    0,
    code::SOL_MAX_RT as u8,
    0,
    code::INF_MAX_RT as u8,
];

/// An encoded message.
pub type Encoded = crate::bounded::Vec<u8, MAX_SENT>;

/// The state of a client. That of an exchange is named for its message, and has its number (RFC 8415 §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as in RFC 8415 §7.3")]
pub enum State {
    /// Nothing is asked before the deadline: the lease holds, or no router advertises DHCPv6.
    Idle = 0,
    Solicit = 1,
    Request = 3,
    Confirm = 4,
    Renew = 5,
    Rebind = 6,
    Release = 8,
    Decline = 9,
    Inform = 11,
}

/// An action for the caller. After each, the interface has [`Client::address`] and no earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do nothing.
    Nothing,
    /// Send [`Client::encode`] to all servers of the link.
    Send,
    /// Set [`Client::address`] on the interface, in place of a previous one, or set its lifetimes.
    Configure,
    /// Use the DNS servers of the message that was received, for [`Client::lifetime_s`]; also after [`Action::Configure`].
    Inform,
}

/// The client of one interface. Small fields come first: the code that reaches them is shorter.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Client {
    deadline_ms: u64,
    /// The end of the exchange, besides that of the lease.
    limit_ms: u64,
    /// When the lease expires; NEVER without a lease.
    expiry_ms: u64,
    /// When the first message of the exchange was sent: the elapsed time counts from here.
    began_ms: u64,
    /// When the lease was granted.
    granted_ms: u64,
    /// The last interval between two messages.
    gap_ms: u32,
    random: u32,
    xid: u32,
    /// The longest interval of Solicit and Information-request.
    max_gap_s: u32,
    state: State,
    /// Messages sent in this exchange, counted up to [`MAX_REQUESTS`]; 0 if no answer is awaited.
    sent: u8,
    link: bool,
    /// The flags of the last router advertisement.
    flags: u8,
    duid: [u8; DUID],
    /// The address that a server offers.
    offered: Address,
    lease: Lease,
    server: crate::bounded::Vec<u8, MAX_DUID>,
}

impl Client {
    /// A client that is not started. The compiler fills a constant with zeros; each field of a call would be an instruction.
    pub const EMPTY: Self = Self {
        deadline_ms: 0,
        limit_ms: 0,
        expiry_ms: 0,
        began_ms: 0,
        granted_ms: 0,
        gap_ms: 0,
        random: 0,
        xid: 0,
        max_gap_s: 0,
        state: State::Idle,
        sent: 0,
        link: false,
        flags: 0,
        duid: [0; _],
        offered: Address::NONE,
        lease: Lease { address: Address::NONE, preferred_s: 0, valid_s: 0, renewal_s: 0, rebinding_s: 0 },
        server: crate::bounded::Vec::new(),
    };

    /// Creates a client that is started.
    pub fn new(chaddr: HardwareAddress, random: u32) -> Self {
        let mut client = Self::EMPTY;
        client.init(chaddr, random);
        client
    }

    /// Starts an empty client, without a carrier. `random` seeds transaction identifiers and intervals.
    pub fn init(&mut self, chaddr: HardwareAddress, random: u32) {
        self.duid = duid(chaddr);
        self.random = random.max(1); // xorshift needs a nonzero state
        (self.deadline_ms, self.limit_ms, self.expiry_ms) = (NEVER, NEVER, NEVER);
        self.max_gap_s = MAX_GAP_S;
    }

    /// Returns the time of the next [`Client::timeout`] call, or [`NEVER`].
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether an answer is awaited, or will be.
    pub fn is_active(&self) -> bool {
        self.state != State::Idle
    }

    /// Returns the address of the lease; `::` without one.
    pub fn address(&self) -> &Address {
        if self.has_lease() { &self.lease.address } else { &Address::NONE }
    }

    /// Returns the preferred and the valid lifetime of the lease, in seconds from now.
    pub fn lifetimes_s(&self, now_ms: u64) -> [u32; 2] {
        let passed_s = (now_ms.wrapping_sub(self.granted_ms) / 1000) as u32;
        [self.lease.preferred_s.saturating_sub(passed_s), self.lease.valid_s.saturating_sub(passed_s)]
    }

    /// Whether there is a lease.
    pub fn has_lease(&self) -> bool {
        self.expiry_ms != NEVER
    }

    /// Notes the flags of router advertisements. A lease that holds is kept: the flags are hints (RFC 4861 §4.2).
    #[inline(never)]
    pub fn advertised(&mut self, now_ms: u64, flags: u8) {
        if core::mem::replace(&mut self.flags, flags) != flags && !self.has_lease() {
            self.start(now_ms, 0);
        }
    }

    /// Handles a change of the carrier. A lease survives its loss, and is confirmed when it returns (RFC 8415 §18.2.12).
    #[inline(never)]
    pub fn link(&mut self, now_ms: u64, up: bool) {
        if core::mem::replace(&mut self.link, up) == up {
            return;
        }
        if !self.has_lease() {
            self.start(now_ms, 0);
        } else if up {
            self.begin(now_ms, State::Confirm);
            self.limit_ms = after_ms(now_ms, CONFIRM_MS);
        } else {
            (self.sent, self.deadline_ms) = (0, self.expiry_ms);
        }
    }

    /// Begins to acquire what routers advertise, in `wait_ms`.
    fn start(&mut self, now_ms: u64, wait_ms: u64) {
        let state = match self.flags {
            flags if flags & MANAGED != 0 => State::Solicit,
            0 => State::Idle,
            _ => State::Inform,
        };
        self.begin(after_ms(now_ms, wait_ms), state);
        if state == State::Idle {
            self.deadline_ms = NEVER;
        }
    }

    /// Begins an exchange: its first message is due at that time, or with the next carrier.
    #[inline(never)]
    fn begin(&mut self, at_ms: u64, state: State) {
        self.xid = self.next_random() >> 8;
        (self.state, self.sent) = (state, 0);
        self.deadline_ms = if self.link { at_ms } else { NEVER };
        self.limit_ms = NEVER;
    }

    /// Handles the deadline: sends, renews, or expires the lease.
    #[inline(never)]
    pub fn timeout(&mut self, now_ms: u64) -> Action {
        let is_over = now_ms >= self.limit_ms;
        match self.state {
            _ if now_ms >= self.expiry_ms => self.lose(now_ms),
            State::Idle if !self.has_lease() => self.start(now_ms, 0),
            State::Idle => {
                self.begin(now_ms, State::Renew);
                self.limit_ms = after_s(self.granted_ms, self.lease.rebinding_s);
            }
            State::Renew if is_over => self.begin(now_ms, State::Rebind),
            State::Confirm if is_over => return self.hold(),
            State::Request if self.sent == MAX_REQUESTS => self.start(now_ms, 0),
            State::Decline if self.sent == MAX_DECLINES => self.start(now_ms, REFUSED_WAIT_MS),
            _ => {}
        }
        if now_ms < self.deadline_ms {
            return Action::Nothing;
        }
        // RFC 8415 §7.6: the first and the longest interval.
        let (first_s, most_s) = match self.state {
            State::Renew | State::Rebind => (10, 600),
            State::Request => (1, 30),
            State::Confirm => (1, 4),
            _ => (1, self.max_gap_s),
        };
        // RFC 8415 §15: an interval is twice the previous one, and a random part of the previous one, between minus a tenth and a tenth,
        // and positive in the first interval of a Solicit (§18.2.1). Here it always is, and at most a twentieth of the interval.
        let mut gap_ms = self.gap_ms.wrapping_mul(2).min(most_s.wrapping_mul(1000));
        if self.sent == 0 {
            (gap_ms, self.began_ms) = (first_s * 1000, now_ms);
        }
        // 1 to 128/128 of a twentieth, rounded up.
        let random = self.next_random() % 128 + 1;
        self.gap_ms = gap_ms.wrapping_add((gap_ms / 20 * random).div_ceil(128));
        self.sent += u8::from(self.sent < MAX_REQUESTS);
        self.deadline_ms = after_ms(now_ms, self.gap_ms.into()).min(self.limit_ms).min(self.expiry_ms);
        Action::Send
    }

    /// Handles a message. Those of other transactions and other clients are ignored.
    #[inline(never)]
    pub fn receive(&mut self, now_ms: u64, message: &Message<'_>) -> Action {
        self.accept(now_ms, message).unwrap_or(Action::Nothing)
    }

    fn accept(&mut self, now_ms: u64, message: &Message<'_>) -> Option<Action> {
        // RFC 8415 §16: a server's message has the identifiers of both.
        let server = message.option(code::SERVER_ID)?;
        let client = message.option(code::CLIENT_ID)?;
        if self.sent == 0
            || message.head & 0xff_ffff != self.xid
            || client != self.duid
            || !(1..=MAX_DUID).contains(&server.len())
        {
            return None;
        }
        // Any server may confirm a lease, but this does not make it its own.
        if self.state != State::Confirm {
            self.server.clear();
            let _ = self.server.extend_from_slice(server);
        }
        // RFC 8415 §18.2.9, §21.24: also of a message that is not used otherwise.
        let limit = if self.state == State::Inform { code::INF_MAX_RT } else { code::SOL_MAX_RT };
        if let limit_s @ 60..=86_400 = message.number(limit) {
            self.max_gap_s = limit_s;
        }
        let lease = message.lease(self.iaid());
        let is_solicit = self.state == State::Solicit;
        let kind = message.head >> 24;
        if kind != wire::REPLY {
            if let (true, wire::ADVERTISE, Ok(lease)) = (is_solicit, kind, lease) {
                self.offered = lease.address;
                self.begin(now_ms, State::Request);
            }
            return None;
        }
        match self.state {
            State::Confirm if message.status() == wire::SUCCESS => return Some(self.hold()),
            State::Confirm => self.lose(now_ms),
            State::Decline => self.start(now_ms, REFUSED_WAIT_MS),
            State::Inform => {
                let refresh_s = match message.number(code::REFRESH_TIME) {
                    0 => REFRESH_S,
                    refresh_s => refresh_s.max(MIN_REFRESH_S),
                };
                (self.state, self.sent) = (State::Idle, 0);
                self.deadline_ms = after_s(now_ms, refresh_s);
                self.lease.valid_s = refresh_s.saturating_mul(2);
                return Some(Action::Inform);
            }
            // Solicit, Request, Renew, Rebind.
            _ if is_solicit && message.option(code::RAPID_COMMIT).is_none() => {}
            _ => match lease {
                Ok(lease) => {
                    (self.lease, self.offered, self.granted_ms) = (lease, lease.address, now_ms);
                    self.expiry_ms = after_s(now_ms, lease.valid_s);
                    return Some(self.hold());
                }
                // RFC 8415 §18.2.10.1: no such address here.
                Err(_) if self.state == State::Request => self.start(now_ms, REFUSED_WAIT_MS),
                // The server has lost the lease.
                Err(wire::NO_BINDING) => self.begin(now_ms, State::Request),
                Err(_) => {}
            },
        }
        None
    }

    /// Uses the lease until T1.
    #[inline(never)]
    fn hold(&mut self) -> Action {
        (self.state, self.sent) = (State::Idle, 0);
        self.deadline_ms = after_s(self.granted_ms, self.lease.renewal_s).min(self.expiry_ms);
        Action::Configure
    }

    /// Gives the lease up, and begins again.
    fn lose(&mut self, now_ms: u64) {
        self.expiry_ms = NEVER;
        self.start(now_ms, 0);
    }

    /// Handles the failure of the kernel's duplicate address detection: gives the lease up, and declines it (RFC 8415 §18.2.8).
    pub fn conflict(&mut self, now_ms: u64, address: Address) {
        if self.has_lease() && address == self.lease.address {
            self.expiry_ms = NEVER;
            self.begin(now_ms, State::Decline);
        }
    }

    /// Releases the lease, if any (RFC 8415 §18.2.7): the next timeout sends the message. Must be the last other call on a client.
    pub fn release(&mut self, now_ms: u64) {
        if self.has_lease() && self.link {
            self.begin(now_ms, State::Release);
        }
    }

    /// Returns how long the DNS servers of the last message are used, in seconds: as long as its lease, or until the second refresh has
    /// failed.
    pub fn lifetime_s(&self) -> u32 {
        self.lease.valid_s
    }

    /// Appends the bytes of the message to send to an empty `out`.
    #[inline(never)]
    pub fn encode(&self, now_ms: u64, out: &mut Encoded) {
        put_number(out, (self.state as u32) << 24 | self.xid);
        put_number(out, option(code::CLIENT_ID, DUID));
        put(out, &self.duid);
        // Hundredths of a second; 0 in the first message (RFC 8415 §21.9).
        let elapsed = now_ms.wrapping_sub(self.began_ms) / 10;
        put_number(out, option(code::ELAPSED_TIME, 2));
        put(out, &u16::try_from(elapsed).unwrap_or(u16::MAX).to_be_bytes());
        let is_solicit = self.state == State::Solicit;
        if matches!(self.state, State::Request | State::Renew | State::Release | State::Decline) {
            put_number(out, option(code::SERVER_ID, self.server.len()));
            put(out, &self.server);
        }
        if !matches!(self.state, State::Confirm | State::Release | State::Decline) {
            put(out, &REQUESTED);
        }
        if is_solicit {
            put_number(out, option(code::RAPID_COMMIT, 0));
        }
        if self.state != State::Inform {
            put_number(out, option(code::IA_NA, if is_solicit { 12 } else { 12 + 28 }));
            put(out, self.iaid());
            put(out, &[0; 8]); // T1 and T2 are the server's choice
            if !is_solicit {
                put_number(out, option(code::IA_ADDRESS, 24));
                let is_request = self.state == State::Request;
                put(out, if is_request { &self.offered.0 } else { &self.lease.address.0 });
                put(out, &[0; 8]);
            }
        }
    }

    /// Returns the identifier of the association: the end of the hardware address, as dhcpcd does.
    fn iaid(&self) -> &[u8] {
        let [_, _, _, _, _, _, iaid @ ..] = &self.duid;
        iaid
    }

    /// Returns the next number of Marsaglia's xorshift32.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

/// Returns the DUID-LL of an Ethernet interface (RFC 8415 §11.4): an initramfs has no memory of the last boot, which the types with a
/// time need, and the UUID of the firmware is the same in the clones of a machine, and missing in others.
const fn duid([m0, m1, m2, m3, m4, m5]: HardwareAddress) -> [u8; DUID] {
    [0, 3, 0, 1, m0, m1, m2, m3, m4, m5]
}

/// Returns the head of an option.
const fn option(code: u16, length: usize) -> u32 {
    (code as u32) << 16 | length as u32
}

#[inline(never)]
fn put_number(out: &mut Encoded, number: u32) {
    put(out, &number.to_be_bytes());
}

/// Appends bytes. They fit, by the assertion above.
#[inline(never)]
fn put(out: &mut Encoded, bytes: &[u8]) {
    let _ = out.extend_from_slice(bytes);
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
