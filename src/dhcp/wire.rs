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
    Ack = 5,
    Nak = 6,
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
    /// Answers are to be broadcast: some networks lose those to an address that nobody has yet.
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
        let ([x0, x1, x2, x3], [s0, s1]) = (self.xid.to_be_bytes(), self.secs.to_be_bytes());
        let [i0, i1, i2, i3] = self.ciaddr.0;
        #[rustfmt::skip]
        put(out, &[
            1, HTYPE_ETHERNET, 6, 0, // op BOOTREQUEST, htype, hlen, hops
            x0, x1, x2, x3,
            s0, s1, if self.broadcast { 0x80 } else { 0 }, 0, // secs, flags: the raw socket hears either answer
            i0, i1, i2, i3,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // yiaddr, siaddr, giaddr
        ]);
        put(out, &self.chaddr);
        pad(out, FIXED + SNAME + FILE);
        let [k0, k1, k2, k3] = COOKIE;
        // The type is first, as some servers expect it.
        #[rustfmt::skip]
        put(out, &[
            k0, k1, k2, k3,
            code::MESSAGE_TYPE, 1, self.kind as u8,
            code::CLIENT_IDENTIFIER, IDENTIFIER as u8,
        ]);
        put(out, &identifier(&self.chaddr));
        for (code, address) in [(code::REQUESTED_ADDRESS, self.requested), (code::SERVER_IDENTIFIER, self.server)] {
            if let Some(Address([a0, a1, a2, a3])) = address {
                put(out, &[code, 4, a0, a1, a2, a3]);
            }
        }
        if self.kind == Kind::Discover {
            put(out, &[code::RAPID_COMMIT, 0]);
        }
        put(out, &WISHES);
        if let (1..=MAX_HOSTNAME, Ok(length)) = (hostname.len(), u8::try_from(hostname.len())) {
            put(out, &[code::HOST_NAME, length]);
            put(out, hostname);
        }
        put(out, &[code::END]);
        pad(out, MIN_MESSAGE);
    }
}

const IDENTIFIER: usize = 1 + size_of::<HardwareAddress>();

/// Who the client is (option 61): type and address, as iPXE and udhcpc say it, so that a lease outlives a network boot.
pub fn identifier(chaddr: &HardwareAddress) -> [u8; IDENTIFIER] {
    let [c0, c1, c2, c3, c4, c5] = *chaddr;
    [HTYPE_ETHERNET, c0, c1, c2, c3, c4, c5]
}

/// Everything fits, by the assertion above.
#[inline(never)]
fn put(out: &mut Encoded, bytes: &[u8]) {
    let _ = out.extend_from_slice(bytes);
}

/// Fills up to a length with zeros, which are [`code::PAD`] behind the cookie.
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

    /// A number by which messages that grant the same can be told from others: of the address and all options, but for the
    /// type and the times (FNV-1a).
    pub fn sum(&self) -> u32 {
        let mut sum = self.yiaddr().bits();
        for area in &self.areas {
            for (code, value) in Options(area) {
                if !matches!(code, code::LEASE_TIME | code::MESSAGE_TYPE | code::RENEWAL_TIME | code::REBINDING_TIME) {
                    for byte in [code].iter().chain(value) {
                        sum = (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
                    }
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

/// Puts the parts of a value together (RFC 3396 §7).
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
pub(crate) mod tests {
    extern crate std;
    use super::*;
    use crate::ipv4::{self, UdpChecksum};
    use std::vec::Vec;

    pub(crate) const CHADDR: HardwareAddress = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// A server's message with the given options behind the cookie.
    pub(crate) fn reply(xid: u32, yiaddr: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut bytes = std::vec![0; OPTIONS_START];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[4..8].copy_from_slice(&xid.to_be_bytes());
        bytes[16..20].copy_from_slice(&yiaddr);
        bytes[28..34].copy_from_slice(&CHADDR);
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend_from_slice(options);
        bytes
    }

    fn discover() -> Query {
        Query {
            kind: Kind::Discover,
            xid: 0x1234_5678,
            secs: 2,
            ciaddr: Address::UNSPECIFIED,
            requested: None,
            server: None,
            broadcast: false,
            chaddr: CHADDR,
        }
    }

    fn encoded(query: &Query, hostname: &[u8]) -> Encoded {
        let mut bytes = Encoded::new();
        query.encode(hostname, &mut bytes);
        bytes
    }

    #[test]
    fn a_discover_is_these_bytes() {
        let bytes = encoded(&discover(), b"node7");
        assert_eq!(bytes.len(), 300);
        assert_eq!(&bytes[..12], [1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 2, 0, 0]);
        assert_eq!(&bytes[28..34], CHADDR);
        assert_eq!(&bytes[236..243], [99, 130, 83, 99, 53, 1, 1]);
        let options: Vec<_> = Options(&bytes[240..]).collect();
        let expected: &[(u8, &[u8])] = &[
            (53, &[1]),
            (61, &[1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            (80, &[]),
            (57, &[0x05, 0xdc]),
            (55, &[1, 121, 249, 3, 6, 15, 119, 12, 26, 42, 58, 59]),
            (12, b"node7"),
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn the_longest_request_fits() {
        let query = Query { requested: Some(Address([1; 4])), server: Some(Address([2; 4])), ..discover() };
        let bytes = encoded(&query, &[b'a'; MAX_HOSTNAME]);
        assert!(bytes.len() <= MAX_SENT && bytes.contains(&code::END));
        assert_eq!(find(&bytes[240..], code::HOST_NAME).map(<[u8]>::len), Some(MAX_HOSTNAME));
        assert_eq!(find(&encoded(&query, &[b'a'; 64])[240..], code::HOST_NAME), None);
    }

    /// A packet of a real server, from the IPv4 header on: see tests/golden/README.md.
    pub(crate) struct Golden {
        pub(crate) name: &'static str,
        pub(crate) packet: &'static [u8],
        checksum: UdpChecksum,
    }

    macro_rules! golden {
        ($($name:literal $checksum:ident,)*) => {
            &[$(Golden {
                name: $name,
                packet: include_bytes!(concat!("../../tests/golden/", $name, ".bin")),
                checksum: UdpChecksum::$checksum,
            },)*]
        };
    }

    /// An OFFER and its ACK, of each server.
    pub(crate) const GOLDEN: &[Golden] = golden! {
        "slirp-offer" Verify,
        "slirp-ack" Verify,
        "dnsmasq-offer" NotComputed, // by the kernel, for a cable that needs no checksum
        "dnsmasq-ack" NotComputed,
        "udhcpd-offer" Verify,
        "udhcpd-ack" Verify,
        "dhcpd-offer" Verify,
        "dhcpd-ack" Verify,
        "kea-offer" Verify,
        "kea-ack" Verify,
    };

    const SLIRP_OFFER: &Golden = &GOLDEN[0];

    pub(crate) fn message_of(golden: &Golden) -> &'static [u8] {
        let datagram = ipv4::datagram(golden.packet, golden.checksum).expect("a good checksum");
        assert_eq!((datagram.source.port, datagram.destination.port), (67, 68), "{}", golden.name);
        datagram.payload
    }

    #[test]
    fn a_real_offer_and_ack_are_read() {
        for (golden, kind) in GOLDEN[..2].iter().zip([Kind::Offer, Kind::Ack]) {
            let message = Message::parse(message_of(golden)).unwrap();
            assert_eq!((message.kind, message.xid(), message.chaddr()), (kind, 0x7cc7_ca8c, &CHADDR[..]));
            assert_eq!(message.yiaddr(), Address([10, 0, 2, 15]));
            assert_eq!(message.address(code::SERVER_IDENTIFIER), Some(Address([10, 0, 2, 2])));
            assert_eq!(message.address(code::SUBNET_MASK), Some(Address([255, 255, 255, 0])));
            assert_eq!(message.seconds(code::LEASE_TIME), Some(86400));
            assert_eq!(message.address(code::ROUTER), Some(Address([10, 0, 2, 2])));
            assert_eq!(message.address(code::DOMAIN_NAME_SERVER), Some(Address([10, 0, 2, 3])));
            assert_eq!(message.option(code::DOMAIN_NAME), None);
        }
    }

    #[test]
    fn every_truncation_of_a_real_packet_is_refused() {
        for golden in GOLDEN {
            let is_whole = ipv4::datagram(golden.packet, UdpChecksum::Verify).is_some();
            assert_eq!(is_whole, golden.checksum == UdpChecksum::Verify, "{}: its UDP checksum", golden.name);
            for end in 0..golden.packet.len() {
                assert_eq!(
                    ipv4::datagram(&golden.packet[..end], golden.checksum),
                    None,
                    "{}, {end} bytes",
                    golden.name
                );
            }
            let message = message_of(golden);
            for end in 0..message.len() {
                // Some servers say the type late; behind the last option it is padding.
                let options = message.get(OPTIONS_START..end).unwrap_or_default();
                assert_eq!(
                    Message::parse(&message[..end]).is_some(),
                    well_formed(options) && find(options, code::MESSAGE_TYPE).is_some(),
                    "{}, {end} bytes",
                    golden.name
                );
            }
        }
    }

    #[test]
    fn one_mutation_for_each_refusal() {
        let good = &message_of(SLIRP_OFFER)[..MIN_MESSAGE];
        for (position, value, what) in [
            (0, 1, "a BOOTREQUEST"),
            (1, 6, "not Ethernet"),
            (2, 16, "a longer hardware address"),
            (236, 0, "another cookie"),
            (240, 200, "no message type"),
            (242, 3, "a client's kind"),
            (242, 9, "an unknown kind"),
            (244, 255, "an option past the end"),
        ] {
            let mut bytes = good.to_vec();
            bytes[position] = value;
            assert!(Message::parse(&bytes).is_none(), "{what}");
        }
    }

    #[test]
    fn overloaded_fields_are_read_once() {
        let mut bytes = reply(7, [10, 0, 2, 15], &[52, 1, 3, 255]);
        // file: the kind, and an overload of its own that must not be followed; sname: a router, no END.
        bytes[108..114].copy_from_slice(&[52, 1, 3, 53, 1, 2]);
        bytes[44..50].copy_from_slice(&[3, 4, 10, 0, 0, 1]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.kind, Kind::Offer);
        assert_eq!(message.address(code::ROUTER), Some(Address([10, 0, 0, 1])));
        for overload in [[52, 1, 0], [52, 1, 4], [52, 0, 3]] {
            bytes[240..243].copy_from_slice(&overload);
            assert!(Message::parse(&bytes).is_none(), "{overload:?}");
        }
    }

    #[test]
    fn odd_option_lengths_are_absent_values() {
        let bytes = reply(7, [10, 0, 2, 15], &[53, 1, 5, 1, 3, 255, 255, 255, 51, 0, 3, 5, 10, 0, 0, 1, 9, 255]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.address(code::SUBNET_MASK), None);
        assert_eq!(message.seconds(code::LEASE_TIME), None);
    }

    #[test]
    fn the_parts_of_a_value_are_one() {
        // In the order of RFC 3396 §5: options, file, sname.
        let mut bytes = reply(7, [10, 0, 2, 15], &[119, 1, 1, 53, 1, 5, 119, 0, 119, 2, 2, 3, 52, 1, 3, 255]);
        bytes[44..48].copy_from_slice(&[119, 2, 5, 6]);
        bytes[108..111].copy_from_slice(&[119, 1, 4]);
        let message = Message::parse(&bytes).unwrap();
        let mut value = Value::new();
        message.whole(119, &mut value);
        assert_eq!(value, [1, 2, 3, 4, 5, 6]);
        message.whole(121, &mut value);
        assert_eq!(value, []);
        let mut long = std::vec![53, 1, 5];
        for part in 0..4 {
            long.extend([119, 200]);
            long.extend([part; 200]);
        }
        let bytes = reply(7, [10, 0, 2, 15], &long);
        Message::parse(&bytes).unwrap().whole(119, &mut value);
        assert_eq!((value.len(), value[399], value[511]), (MAX_VALUE, 1, 2));
    }

    #[test]
    fn options_that_are_only_in_an_overloaded_field_are_used() {
        let mut bytes = reply(7, [10, 0, 2, 15], &[53, 1, 5, 52, 1, 1, 255]);
        bytes[108..121].copy_from_slice(&[3, 4, 10, 0, 0, 1, 6, 4, 10, 0, 0, 2, 255]);
        // sname is not overloaded: what stands there is a name.
        bytes[44..50].copy_from_slice(&[3, 4, 9, 9, 9, 9]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.address(code::ROUTER), Some(Address([10, 0, 0, 1])));
        assert_eq!(message.address(code::DOMAIN_NAME_SERVER), Some(Address([10, 0, 0, 2])));
    }

    #[test]
    fn an_overload_of_another_length_or_value_is_none() {
        for overload in [&[52, 0][..], &[52, 2, 3, 3], &[52, 1, 0], &[52, 1, 4], &[52, 1, 255]] {
            let mut bytes = reply(7, [10, 0, 2, 15], &[&[53, 1, 5], overload, &[255]].concat());
            bytes[108..114].copy_from_slice(&[3, 4, 9, 9, 9, 9]);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.address(code::ROUTER), None, "{overload:?}");
        }
    }

    #[test]
    fn overloaded_fields_end_where_they_stop_making_sense() {
        let mut bytes = reply(7, [10, 0, 2, 15], &[53, 1, 5, 52, 1, 3, 255]);
        bytes[44..50].copy_from_slice(&[3, 4, 10, 0, 0, 1]);
        bytes[108..114].copy_from_slice(&[6, 4, 10, 0, 0, 2]);
        for (sname, file) in [([0, 0], [0, 0]), ([0, 12], [0, 12]), ([12, 1], [12, 255])] {
            // The last two bytes of each: padding, a code without a length, a length without a value.
            bytes[106..108].copy_from_slice(&sname);
            bytes[234..236].copy_from_slice(&file);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.address(code::ROUTER), Some(Address([10, 0, 0, 1])));
            assert_eq!(message.address(code::DOMAIN_NAME_SERVER), Some(Address([10, 0, 0, 2])));
            assert_eq!(message.option(code::HOST_NAME), None);
        }
    }

    #[test]
    fn options_past_the_end_spoil_a_message_wherever_they_stand() {
        let good = [53, 1, 2, 54, 4, 10, 0, 0, 1];
        for code in [53, 54, 6, 43, 125] {
            for odd in [&[code][..], &[code, 1], &[code, 200, 7], &[code, 255]] {
                let (last, middle) = ([&good[..], odd].concat(), [&good[..3], &[code, 255], &good[3..]].concat());
                let first = [&[code, 255][..], &good].concat();
                for options in [last, middle, first] {
                    assert!(Message::parse(&reply(7, [10, 0, 2, 15], &options)).is_none(), "{options:?}");
                }
            }
        }
        assert!(Message::parse(&reply(7, [10, 0, 2, 15], &good)).is_some(), "an END is not needed");
    }

    #[test]
    fn what_is_between_and_behind_options_does_not_matter() {
        let unknown = (128..=254).filter(|code| *code != 249).flat_map(|code| [code, 1, 7]);
        let (unknown, pads): (Vec<u8>, _) = (unknown.collect(), [0; 1000]);
        for options in [
            [&pads[..], &[53, 1, 5], &pads, &[3, 4, 10, 0, 0, 1], &pads].concat(),
            [&[53, 1, 5, 3, 4, 10, 0, 0, 1, 255][..], &[3, 4, 9, 9, 9, 9, 53, 1, 2, 6, 200]].concat(),
            [&unknown[..], &[53, 1, 5], &unknown, &[3, 4, 10, 0, 0, 1]].concat(),
        ] {
            let bytes = reply(7, [10, 0, 2, 15], &options);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!((message.kind, message.address(code::ROUTER)), (Kind::Ack, Some(Address([10, 0, 0, 1]))));
        }
    }

    #[test]
    fn a_message_without_its_cookie_is_none() {
        let bytes = reply(7, [10, 0, 2, 15], &[53, 1, 5, 255]);
        for end in [0, 1, 100, 235, 236, 237, 238, 239, 240] {
            assert!(Message::parse(&bytes[..end]).is_none(), "{end} bytes");
        }
    }

    #[test]
    fn a_message_has_one_type() {
        for (options, kind) in [
            (&[53, 1, 5][..], Some(Kind::Ack)),
            (&[53, 1, 5, 53, 1, 2], None),
            (&[53, 0], None),
            (&[53, 2, 5, 5], None),
            (&[0, 255, 53, 1, 5], None),
        ] {
            assert_eq!(
                Message::parse(&reply(7, [10, 0, 2, 15], options)).map(|message| message.kind),
                kind,
                "{options:?}"
            );
        }
    }
}
