//! DHCP messages (RFC 2131 §2, options RFC 2132), Ethernet only. Overload (option 52) is honoured, and values that come in
//! several parts (RFC 3396).
//!
//! [`Message::parse`] takes any bytes; every accessor of what it returns is total.

use crate::ipv4::Address;
use crate::text::strip_prefix;

/// An Ethernet address.
pub type HardwareAddress = [u8; 6];

const HTYPE_ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// op to the end of chaddr's 16 bytes; sname, file, cookie and options follow.
const FIXED: usize = 44;
/// Where chaddr begins.
const CHADDR: usize = 28;
const SNAME: usize = 64;
const FILE: usize = 128;
const OPTIONS_START: usize = FIXED + SNAME + FILE + COOKIE.len();
/// RFC 1542 §2.1: a message is padded to the length of BOOTP's; some relays drop shorter ones.
const MIN_MESSAGE: usize = 300;
/// What a server must be able to send us whole: a frame without fragments (option 57).
const MAX_RECEIVED: u16 = 1500;
/// A host name that is sent: one label of DNS (RFC 1035 §2.3.4).
pub const MAX_HOSTNAME: usize = 63;
/// The longest message that is sent.
pub const MAX_SENT: usize = 384;
// Type, identifier, requested address, server, rapid commit, size and parameter list, host name, end: all of them fit.
const _: () = assert!(OPTIONS_START + 3 + 9 + 6 + 6 + 2 + WISHES.len() + 2 + MAX_HOSTNAME < MAX_SENT);
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
    /// RFC 3397.
    pub const DOMAIN_SEARCH: u8 = 119;
    /// RFC 3442.
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// The same, as Microsoft numbered it before.
    pub const CLASSLESS_ROUTES_MICROSOFT: u8 = 249;
    pub const END: u8 = 255;
}

/// What is the same in every query: how long an answer may be, and what is asked for. Classless routes stand before the
/// router, which they replace (RFC 3442).
const WISHES: [u8; 18] = {
    let [m0, m1] = MAX_RECEIVED.to_be_bytes();
    #[rustfmt::skip]
    let wishes = [
        code::MAX_MESSAGE_SIZE, 2, m0, m1,
        code::PARAMETER_LIST, 12, code::SUBNET_MASK, code::CLASSLESS_ROUTES, code::CLASSLESS_ROUTES_MICROSOFT, code::ROUTER,
        code::DOMAIN_NAME_SERVER, code::DOMAIN_NAME, code::DOMAIN_SEARCH, code::HOST_NAME, code::INTERFACE_MTU,
        code::NTP_SERVERS, code::RENEWAL_TIME, code::REBINDING_TIME,
    ];
    wishes
};

/// The kinds of message a client deals with (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as in RFC 2131 §3.1, table 2")]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
}

impl Kind {
    /// A server's kinds only: a client has no use for another's.
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
    /// DISCOVER or REQUEST.
    pub kind: Kind,
    /// The transaction.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The address in use, when renewing; else 0.0.0.0.
    pub ciaddr: Address,
    /// The address that is asked for: that of the offer, or of a lease from before (option 50).
    pub requested: Option<Address>,
    /// The server whose offer is accepted (option 54).
    pub server: Option<Address>,
    /// The server is to broadcast its answer: some networks lose a unicast to an address that is not configured yet.
    pub broadcast: bool,
    /// The interface's own address.
    pub chaddr: HardwareAddress,
}

/// The longest value that is put together; what goes beyond is cut off.
pub const MAX_VALUE: usize = 512;

/// The value of an option.
pub type Value = heapless::Vec<u8, MAX_VALUE>;

/// A message to be sent.
pub type Encoded = heapless::Vec<u8, MAX_SENT>;

impl Query {
    /// Appends the bytes of the message to an empty `out`, with `hostname` as option 12 unless it is empty or too long for a label.
    pub fn encode(&self, hostname: &[u8], out: &mut Encoded) {
        let mut head = [0; HEAD];
        set(&mut head, 0, [1, HTYPE_ETHERNET, 6, 0]); // op BOOTREQUEST, htype, hlen, hops
        set(&mut head, 4, self.xid.to_be_bytes());
        set(&mut head, 8, self.secs.to_be_bytes());
        set(&mut head, 10, [u8::from(self.broadcast) << 7]); // flags: the raw socket hears either answer
        set(&mut head, 12, self.ciaddr.0);
        set(&mut head, CHADDR, self.chaddr);
        set(&mut head, OPTIONS_START - COOKIE.len(), COOKIE);
        // The type is first, as some servers expect it.
        set(&mut head, OPTIONS_START, [code::MESSAGE_TYPE, 1, self.kind as u8]);
        set(&mut head, OPTIONS_START + 3, [code::CLIENT_IDENTIFIER, IDENTIFIER as u8]);
        set(&mut head, OPTIONS_START + 5, identifier(&self.chaddr));
        put(out, &head);
        put_address(out, code::REQUESTED_ADDRESS, self.requested);
        put_address(out, code::SERVER_IDENTIFIER, self.server);
        if self.kind == Kind::Discover {
            put(out, &[code::RAPID_COMMIT, 0]);
        }
        // RFC 2131 §4.4.1, table 5: DECLINE and RELEASE have no parameter list and no host name.
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            put(out, &WISHES);
            if let (1..=MAX_HOSTNAME, Ok(length)) = (hostname.len(), u8::try_from(hostname.len())) {
                put(out, &[code::HOST_NAME, length]);
                put(out, hostname);
            }
        }
        put(out, &[code::END]);
        pad(out, MIN_MESSAGE);
    }
}

/// Bytes that every message begins with: up to its second option, the identifier.
const HEAD: usize = OPTIONS_START + 3 + 2 + IDENTIFIER;

/// Sets bytes at a place of the head. All of them lie in it; the compiler knows each place and checks none.
#[inline(always)]
fn set<const SIZE: usize>(head: &mut [u8; HEAD], place: usize, bytes: [u8; SIZE]) {
    if let Some(found) = head.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) {
        *found = bytes;
    }
}

/// Appends an option that is an address.
#[inline(never)]
fn put_address(out: &mut Encoded, code: u8, address: Option<Address>) {
    if let Some(Address([a0, a1, a2, a3])) = address {
        put(out, &[code, 4, a0, a1, a2, a3]);
    }
}

const IDENTIFIER: usize = 1 + size_of::<HardwareAddress>();

/// The client identifier (option 61): type and address, the same as iPXE's and udhcpc's, so that a lease survives a network boot.
pub fn identifier(chaddr: &HardwareAddress) -> [u8; IDENTIFIER] {
    let [c0, c1, c2, c3, c4, c5] = *chaddr;
    [HTYPE_ETHERNET, c0, c1, c2, c3, c4, c5]
}

/// Everything fits, by the assertion above.
#[inline(never)]
fn put(out: &mut Encoded, bytes: &[u8]) {
    let _ = out.extend_from_slice(bytes);
}

/// Pads to a length with zeros, which are [`code::PAD`] after the cookie.
#[inline(never)]
fn pad(out: &mut Encoded, length: usize) {
    while out.len() < length && out.push(code::PAD).is_ok() {}
}

/// A server's message whose options are all whole.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// OFFER, ACK or NAK.
    pub kind: Kind,
    /// op to the end of chaddr.
    fixed: &'a [u8; FIXED],
    /// The option fields in the order of RFC 3396 §5: options, file, sname; the latter two only when overloaded.
    areas: [&'a [u8]; 3],
}

impl<'a> Message<'a> {
    /// Reads a BOOTREPLY for Ethernet; `None` for anything else, and for one whose options run past their field.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
        let (sname, rest) = rest.split_at_checked(SNAME)?;
        let (file, rest) = rest.split_at_checked(FILE)?;
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
        // The second of two types makes it a longer value, which is none.
        let [kind] = *kind else { return None };
        Some(Self { kind: Kind::from_server(kind)?, fixed, areas })
    }

    /// The transaction it answers.
    pub fn xid(&self) -> u32 {
        let [_, _, _, _, x0, x1, x2, x3, ..] = *self.fixed;
        u32::from_be_bytes([x0, x1, x2, x3])
    }

    /// "Your" address.
    pub fn yiaddr(&self) -> Address {
        let [.., y0, y1, y2, y3] = *self.fixed.first_chunk::<20>().unwrap_or(&[0; 20]);
        Address([y0, y1, y2, y3])
    }

    /// The client it is for.
    pub fn chaddr(&self) -> &'a [u8] {
        self.fixed.get(CHADDR..CHADDR + size_of::<HardwareAddress>()).unwrap_or_default()
    }

    /// Checksum of the address and all options, message type and lease times excluded (FNV-1a): equal for messages that grant the
    /// same.
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

    /// The first part of an option's value: all of what is never longer than that.
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        self.areas.iter().find_map(|area| find(area, code))
    }

    /// The whole value of an option, in the place of what `value` held; empty when it is not there.
    pub fn whole(&self, code: u8, value: &mut Value) {
        value.clear();
        whole(&self.areas, code, value);
    }

    /// An option that is one address.
    pub fn address(&self, code: u8) -> Option<Address> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(Address)
    }

    /// An option that is a number of 16 bits.
    pub fn number(&self, code: u8) -> Option<u16> {
        <[u8; 2]>::try_from(self.option(code)?).ok().map(u16::from_be_bytes)
    }

    /// An option that is a time in seconds.
    pub fn seconds(&self, code: u8) -> Option<u32> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(u32::from_be_bytes)
    }
}

/// Options up to END or the end of the field. Ends early at an option that is not whole: see [`well_formed`].
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

/// Whether every option up to END is whole.
fn well_formed(area: &[u8]) -> bool {
    let mut options = Options(area);
    options.by_ref().for_each(drop);
    matches!(options.0, [] | [code::END, ..])
}

/// Concatenates the parts of an option's value (RFC 3396 §7).
#[inline(never)]
fn whole(areas: &[&[u8]; 3], wanted: u8, value: &mut Value) {
    for area in areas {
        for (_, part) in Options(area).filter(|(code, _)| *code == wanted) {
            let room = MAX_VALUE.wrapping_sub(value.len());
            let _ = value.extend_from_slice(part.get(..room).unwrap_or(part));
        }
    }
}

fn find(area: &[u8], wanted: u8) -> Option<&[u8]> {
    Options(area).find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

#[cfg(test)]
pub(crate) mod tests;
