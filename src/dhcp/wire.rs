//! DHCP messages (RFC 2131 §2, options RFC 2132), Ethernet only. Option overload (52) and values in several parts (RFC 3396) are
//! supported.
//!
//! [`Message::parse`] accepts any bytes and returns; every accessor after it is total.

use crate::ipv4::Address;
use crate::text::strip_prefix;

/// An Ethernet address, in transmission order.
pub type HardwareAddress = [u8; 6];

const HTYPE_ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes from op to the end of chaddr's 16 bytes; sname, file, cookie and options follow.
const FIXED: usize = 44;
/// The offset of chaddr.
const CHADDR: usize = 28;
const SNAME: usize = 64;
const FILE: usize = 128;
const OPTIONS_START: usize = FIXED + SNAME + FILE + COOKIE.len();
/// Messages are padded to the length of BOOTP messages (RFC 1542 §2.1): some relays drop shorter ones.
const MIN_MESSAGE: usize = 300;
/// The longest message that a server may send, in bytes (option 57): an Ethernet frame without fragmentation.
const MAX_RECEIVED: u16 = 1500;
/// The longest host name that is sent, in bytes: one DNS label (RFC 1035 §2.3.4).
pub const MAX_HOSTNAME: usize = 63;
/// The longest message that is sent, in bytes.
pub const MAX_SENT: usize = 384;
// Type, client identifier, requested address, server, rapid commit, size and parameter list, host name and END fit.
const _: () = assert!(OPTIONS_START + 3 + 9 + 6 + 6 + 2 + REQUEST_OPTIONS.len() + 2 + MAX_HOSTNAME < MAX_SENT);
const _: () = assert!(MIN_MESSAGE <= MAX_SENT);

/// Option codes (RFC 2132).
pub mod code {
    #![allow(missing_docs, reason = "each is named as in the RFC")]
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DOMAIN_NAME_SERVER: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const INTERFACE_MTU: u8 = 26;
    pub const NTP_SERVERS: u8 = 42;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_IDENTIFIER: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// RFC 4039.
    pub const RAPID_COMMIT: u8 = 80;
    /// RFC 8925.
    pub const IPV6_ONLY_PREFERRED: u8 = 108;
    /// RFC 3397.
    pub const DOMAIN_SEARCH: u8 = 119;
    /// RFC 3442.
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// Microsoft's number for option 121.
    pub const CLASSLESS_ROUTES_MICROSOFT: u8 = 249;
    pub const END: u8 = 255;
}

/// The options that every DISCOVER and REQUEST has: maximum message size and parameter request list. Classless routes precede the
/// router, which they replace (RFC 3442). The last parameter is requested by a client that has IPv6 alone.
const REQUEST_OPTIONS: [u8; 19] = {
    let [m0, m1] = MAX_RECEIVED.to_be_bytes();
    #[rustfmt::skip]
    let options = [
        code::MAX_MESSAGE_SIZE, 2, m0, m1,
        code::PARAMETER_LIST, 13, code::SUBNET_MASK, code::CLASSLESS_ROUTES, code::CLASSLESS_ROUTES_MICROSOFT, code::ROUTER,
        code::DOMAIN_NAME_SERVER, code::DOMAIN_NAME, code::DOMAIN_SEARCH, code::HOST_NAME, code::INTERFACE_MTU,
        code::NTP_SERVERS, code::RENEWAL_TIME, code::REBINDING_TIME, code::IPV6_ONLY_PREFERRED,
    ];
    options
};
/// The same without option 108.
const IPV4_REQUEST_OPTIONS: [u8; 18] = {
    let [mut options @ .., _] = REQUEST_OPTIONS;
    options[5] -= 1;
    options
};

/// The message types that a client sends or receives (option 53), each one less than its number there: a client is zeros at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as in RFC 2131 §3.1, table 2")]
pub enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
}

impl Kind {
    /// Returns a server's message type; `None` for any other number.
    fn from_server(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::Offer),
            5 => Some(Self::Ack),
            6 => Some(Self::Nak),
            _ => None,
        }
    }
}

/// A client's message (RFC 2131 §4.4.1, table 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The hardware address of the interface.
    pub chaddr: HardwareAddress,
    /// DISCOVER, REQUEST, DECLINE or RELEASE.
    pub kind: Kind,
    /// The transaction identifier.
    pub xid: u32,
    /// Seconds since the client began to acquire an address.
    pub secs: u16,
    /// The address in use, when renewing or releasing it; otherwise 0.0.0.0.
    pub ciaddr: Address,
    /// The requested address, from the offer or a previous lease, or the declined address (option 50).
    pub requested: Option<Address>,
    /// The server whose offer is accepted, or whose lease is declined or released (option 54).
    pub server: Option<Address>,
    /// Whether the server should broadcast its reply: some networks lose a unicast to an address that is not configured yet.
    pub broadcast: bool,
}

/// The longest value that is concatenated from parts, in bytes; a longer one is truncated.
pub const MAX_VALUE: usize = 512;

/// The value of an option, concatenated.
pub type Value = crate::bounded::Vec<u8, MAX_VALUE>;

/// An encoded message.
pub type Encoded = crate::bounded::Vec<u8, MAX_SENT>;

impl Query {
    /// Appends the bytes of the message to an empty `out`. `hostname` is option 12, unless it is empty or too long for a label.
    /// `ipv6_only`: option 108 is requested.
    pub fn encode(&self, hostname: &[u8], ipv6_only: bool, out: &mut Encoded) {
        let mut head = [0; HEAD];
        set(&mut head, 0, [1, HTYPE_ETHERNET, 6, 0]); // op BOOTREQUEST, htype, hlen, hops
        set(&mut head, 4, self.xid.to_be_bytes());
        set(&mut head, 8, self.secs.to_be_bytes());
        set(&mut head, 10, [u8::from(self.broadcast) << 7]); // flags: the raw socket receives either reply
        set(&mut head, 12, self.ciaddr.0);
        set(&mut head, CHADDR, self.chaddr);
        set(&mut head, OPTIONS_START - COOKIE.len(), COOKIE);
        // The message type is first: some servers expect it there.
        set(&mut head, OPTIONS_START, [code::MESSAGE_TYPE, 1, self.kind as u8 + 1]);
        // iPXE and udhcpc send the same identifier, so that a lease survives a network boot.
        set(&mut head, OPTIONS_START + 3, [code::CLIENT_IDENTIFIER, IDENTIFIER as u8, HTYPE_ETHERNET]);
        set(&mut head, OPTIONS_START + 6, self.chaddr);
        put(out, &head);
        put_address(out, code::REQUESTED_ADDRESS, self.requested);
        put_address(out, code::SERVER_IDENTIFIER, self.server);
        if self.kind == Kind::Discover {
            put(out, &[code::RAPID_COMMIT, 0]);
        }
        // RFC 2131 §4.4.1, table 5: DECLINE and RELEASE have no parameter list and no host name.
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            put(out, if ipv6_only { &REQUEST_OPTIONS } else { &IPV4_REQUEST_OPTIONS });
            if let (1..=MAX_HOSTNAME, Ok(length)) = (hostname.len(), u8::try_from(hostname.len())) {
                put(out, &[code::HOST_NAME, length]);
                put(out, hostname);
            }
        }
        put(out, &[code::END]);
        pad(out, MIN_MESSAGE);
    }
}

/// Bytes from the start of a message to the end of its second option, the client identifier.
const HEAD: usize = OPTIONS_START + 3 + 2 + IDENTIFIER;

/// Sets bytes of the head. Every offset is a constant inside it, so that the compiler removes the check.
#[inline(always)]
fn set<const SIZE: usize>(head: &mut [u8; HEAD], place: usize, bytes: [u8; SIZE]) {
    if let Some(bytes_there) = head.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) {
        *bytes_there = bytes;
    }
}

/// Appends an option whose value is an address, if there is one.
#[inline(never)]
fn put_address(out: &mut Encoded, code: u8, address: Option<Address>) {
    if let Some(Address([a0, a1, a2, a3])) = address {
        put(out, &[code, 4, a0, a1, a2, a3]);
    }
}

const IDENTIFIER: usize = 1 + size_of::<HardwareAddress>();

/// Whether this is the client identifier (option 61) of a hardware address: hardware type and address.
pub(super) fn is_identifier(identifier: &[u8], chaddr: &HardwareAddress) -> bool {
    matches!(identifier, [HTYPE_ETHERNET, address @ ..] if address == chaddr)
}

/// Appends bytes. They fit, by the assertion above.
#[inline(never)]
fn put(out: &mut Encoded, bytes: &[u8]) {
    let _ = out.extend_from_slice(bytes);
}

/// Pads a message to a length with [`code::PAD`].
fn pad(out: &mut Encoded, length: usize) {
    while out.len() < length && out.push(code::PAD).is_ok() {}
}

/// A server's message whose options all end inside their field.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// OFFER, ACK or NAK.
    pub kind: Kind,
    /// The bytes from op to the end of chaddr.
    fixed: &'a [u8; FIXED],
    /// The option fields in the order of RFC 3396 §5: options, file, sname. The latter two are empty unless overloaded.
    areas: [&'a [u8]; 3],
}

impl<'a> Message<'a> {
    /// Parses a BOOTREPLY for Ethernet with the message type of a server. Returns `None` for anything else, and if an option of
    /// the options field runs past its end.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        // One check for the three fields: the compiler removes those of the parts.
        let (head, rest) = bytes.split_first_chunk::<{ FIXED + SNAME + FILE }>()?;
        let (fixed, fields) = head.split_first_chunk::<FIXED>()?;
        let (sname, file) = fields.split_at_checked(SNAME)?;
        let options = strip_prefix(rest, &COOKIE)?;
        let [2, HTYPE_ETHERNET, 6, ..] = *fixed else { return None };
        if !well_formed(options) {
            return None;
        }
        let overload = match find(options, code::OVERLOAD) {
            Some([value @ 1..=3]) => *value,
            _ => 0,
        };
        let area = |bit: u8, field| if overload & bit != 0 { field } else { &[][..] };
        let areas = [options, area(1, file), area(2, sname)];
        let mut kind = Value::new();
        whole(&areas, code::MESSAGE_TYPE, &mut kind);
        // Two message types concatenate to a longer value, which is invalid.
        let [kind] = *kind else { return None };
        Some(Self { kind: Kind::from_server(kind)?, fixed, areas })
    }

    /// Returns the transaction identifier.
    pub fn xid(&self) -> u32 {
        let [_, _, _, _, x0, x1, x2, x3, ..] = *self.fixed;
        u32::from_be_bytes([x0, x1, x2, x3])
    }

    /// Whether the client's message requested a broadcast reply: a server repeats the flag.
    pub fn wants_broadcast(&self) -> bool {
        let [_, _, _, _, _, _, _, _, _, _, flags, ..] = *self.fixed;
        flags & 0x80 != 0
    }

    /// Returns the client's address ("your" address).
    pub fn yiaddr(&self) -> Address {
        let [.., y0, y1, y2, y3] = *self.fixed.first_chunk::<20>().unwrap_or(&[0; 20]);
        Address([y0, y1, y2, y3])
    }

    /// Returns the hardware address of the client, 6 bytes.
    pub fn chaddr(&self) -> &'a [u8] {
        self.fixed.get(CHADDR..CHADDR + size_of::<HardwareAddress>()).unwrap_or_default()
    }

    /// Returns a checksum (FNV-1a) of the address and all options, message type and lease times excluded. Replies that differ
    /// only in these have the same checksum.
    pub fn sum(&self) -> u32 {
        let add = |sum: u32, byte: u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let mut sum = self.yiaddr().bits();
        for area in &self.areas {
            for (code, value) in Options(area) {
                if !matches!(code, code::LEASE_TIME | code::MESSAGE_TYPE | code::RENEWAL_TIME | code::REBINDING_TIME) {
                    sum = value.iter().fold(add(sum, code), |sum, byte| add(sum, *byte));
                }
            }
        }
        sum
    }

    /// Returns the first part of an option's value: the whole value, unless it is split (RFC 3396).
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        self.areas.iter().find_map(|area| find(area, code))
    }

    /// Replaces `value` by the whole value of an option; empty if the option is absent.
    #[inline(never)]
    pub fn whole(&self, code: u8, value: &mut Value) {
        value.clear();
        whole(&self.areas, code, value);
    }

    /// Returns the value of an option of one address; `None` if absent or of another length.
    pub fn address(&self, code: u8) -> Option<Address> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(Address)
    }

    /// Returns the value of a 16-bit option; `None` if absent or of another length.
    pub fn number(&self, code: u8) -> Option<u16> {
        <[u8; 2]>::try_from(self.option(code)?).ok().map(u16::from_be_bytes)
    }

    /// Returns the value of an option of 32 bits, a time in seconds; `None` if absent or of another length.
    pub fn seconds(&self, code: u8) -> Option<u32> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(u32::from_be_bytes)
    }
}

/// The options of a field up to END or its end. Ends early at a truncated option: see [`well_formed`].
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (code, rest) = self.0.split_first()?;
            match *code {
                code::PAD => self.0 = rest,
                code::END => return None,
                code => {
                    let (length, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    self.0 = rest;
                    return Some((code, value));
                }
            }
        }
    }
}

/// Whether no option up to END is truncated.
fn well_formed(area: &[u8]) -> bool {
    let mut options = Options(area);
    options.by_ref().for_each(drop);
    matches!(options.0, [] | [code::END, ..])
}

/// Appends the parts of an option's value (RFC 3396 §7), up to [`MAX_VALUE`] bytes.
#[inline(never)]
fn whole(areas: &[&[u8]; 3], wanted: u8, value: &mut Value) {
    for area in areas {
        for (_, part) in Options(area).filter(|(code, _)| *code == wanted) {
            let room = MAX_VALUE.wrapping_sub(value.len());
            let _ = value.extend_from_slice(part.get(..room).unwrap_or(part));
        }
    }
}

/// Returns the value of the first such option in a field.
fn find(area: &[u8], wanted: u8) -> Option<&[u8]> {
    Options(area).find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

#[cfg(test)]
pub(crate) mod tests;
