//! DHCP messages (RFC 2131 §2, options RFC 2132), Ethernet only. Overload (option 52) is honoured.
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
// Type, identifier, requested address, server, size and parameter list, host name, end: all of them fit.
const _: () = assert!(OPTIONS_START + 3 + 9 + 6 + 6 + WISHES.len() + 2 + MAX_HOSTNAME < MAX_SENT);
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
    pub const END: u8 = 255;
}

/// What is the same in every query: how long an answer may be, and what is asked for.
const WISHES: [u8; 12] = {
    let [m0, m1] = MAX_RECEIVED.to_be_bytes();
    #[rustfmt::skip]
    let wishes = [
        code::MAX_MESSAGE_SIZE, 2, m0, m1,
        code::PARAMETER_LIST, 6, code::SUBNET_MASK, code::ROUTER, code::DOMAIN_NAME_SERVER, code::DOMAIN_NAME,
        code::RENEWAL_TIME, code::REBINDING_TIME,
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
    /// The offer that is accepted: its address (option 50) and its server (option 54).
    pub offer: Option<(Address, Address)>,
    /// The interface's own address.
    pub chaddr: HardwareAddress,
}

/// A message to be sent.
pub type Encoded = heapless::Vec<u8, MAX_SENT>;

impl Query {
    /// Appends the bytes of the message to an empty `out`, with `hostname` as option 12 unless it is empty or too long for a label.
    #[inline(never)]
    pub fn encode(&self, hostname: &[u8], out: &mut Encoded) {
        let ([x0, x1, x2, x3], [s0, s1]) = (self.xid.to_be_bytes(), self.secs.to_be_bytes());
        let [i0, i1, i2, i3] = self.ciaddr.0;
        #[rustfmt::skip]
        put(out, &[
            1, HTYPE_ETHERNET, 6, 0, // op BOOTREQUEST, htype, hlen, hops
            x0, x1, x2, x3,
            s0, s1, 0, 0, // flags: answers may be unicast, the raw socket hears them
            i0, i1, i2, i3,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // yiaddr, siaddr, giaddr
        ]);
        put(out, &self.chaddr);
        pad(out, FIXED + SNAME + FILE);
        let [k0, k1, k2, k3] = COOKIE;
        // The type is first, as some servers expect it. The identifier is type and address, as iPXE and udhcpc send it: the
        // lease outlives a network boot.
        #[rustfmt::skip]
        put(out, &[
            k0, k1, k2, k3,
            code::MESSAGE_TYPE, 1, self.kind as u8,
            code::CLIENT_IDENTIFIER, 7, HTYPE_ETHERNET,
        ]);
        put(out, &self.chaddr);
        if let Some((Address([a0, a1, a2, a3]), Address([s0, s1, s2, s3]))) = self.offer {
            #[rustfmt::skip]
            put(out, &[
                code::REQUESTED_ADDRESS, 4, a0, a1, a2, a3,
                code::SERVER_IDENTIFIER, 4, s0, s1, s2, s3,
            ]);
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
        let [kind] = *first(&areas, code::MESSAGE_TYPE)? else { return None };
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

    /// The first value of an option.
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        first(&self.areas, code)
    }

    /// An option that is one address.
    pub fn address(&self, code: u8) -> Option<Address> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(Address)
    }

    /// An option that is a list of addresses; a remainder of less than four bytes is left out.
    pub fn addresses(&self, code: u8) -> impl Iterator<Item = Address> + use<'a> {
        let (addresses, _) = self.option(code).unwrap_or_default().as_chunks::<4>();
        addresses.iter().copied().map(Address)
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

#[inline(never)]
fn first<'a>(areas: &[&'a [u8]], code: u8) -> Option<&'a [u8]> {
    areas.iter().find_map(|area| find(area, code))
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
            offer: None,
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
            (57, &[0x05, 0xdc]),
            (55, &[1, 3, 6, 15, 58, 59]),
            (12, b"node7"),
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn the_longest_request_fits() {
        let query = Query { offer: Some((Address([1; 4]), Address([2; 4]))), kind: Kind::Request, ..discover() };
        let bytes = encoded(&query, &[b'a'; MAX_HOSTNAME]);
        assert!(bytes.len() <= MAX_SENT && bytes.contains(&code::END));
        assert_eq!(find(&bytes[240..], code::HOST_NAME).map(<[u8]>::len), Some(MAX_HOSTNAME));
        assert_eq!(find(&encoded(&query, &[b'a'; 64])[240..], code::HOST_NAME), None);
    }

    /// Packets of QEMU's user-mode network: see tests/golden/README.md.
    const SLIRP_OFFER: &[u8] = include_bytes!("../../tests/golden/slirp-offer.bin");
    const SLIRP_ACK: &[u8] = include_bytes!("../../tests/golden/slirp-ack.bin");

    fn payload(packet: &'static [u8]) -> &'static [u8] {
        let datagram = ipv4::datagram(packet, UdpChecksum::Verify).expect("a good checksum");
        assert_eq!((datagram.source.port, datagram.destination.port), (67, 68));
        datagram.payload
    }

    #[test]
    fn a_real_offer_and_ack_are_read() {
        for (packet, kind) in [(SLIRP_OFFER, Kind::Offer), (SLIRP_ACK, Kind::Ack)] {
            let message = Message::parse(payload(packet)).unwrap();
            assert_eq!((message.kind, message.xid(), message.chaddr()), (kind, 0x7cc7_ca8c, &CHADDR[..]));
            assert_eq!(message.yiaddr(), Address([10, 0, 2, 15]));
            assert_eq!(message.address(code::SERVER_IDENTIFIER), Some(Address([10, 0, 2, 2])));
            assert_eq!(message.address(code::SUBNET_MASK), Some(Address([255, 255, 255, 0])));
            assert_eq!(message.seconds(code::LEASE_TIME), Some(86400));
            assert_eq!(message.addresses(code::ROUTER).collect::<Vec<_>>(), [Address([10, 0, 2, 2])]);
            assert_eq!(message.addresses(code::DOMAIN_NAME_SERVER).collect::<Vec<_>>(), [Address([10, 0, 2, 3])]);
            assert_eq!(message.option(code::DOMAIN_NAME), None);
        }
    }

    #[test]
    fn every_truncation_of_a_real_packet_is_refused() {
        let packet = SLIRP_OFFER;
        for end in 0..packet.len() {
            assert_eq!(ipv4::datagram(&packet[..end], UdpChecksum::Verify), None, "{end} bytes");
        }
        let message = payload(packet);
        for end in 0..message.len() {
            // Behind the last option it is padding.
            assert_eq!(
                Message::parse(&message[..end]).is_some(),
                end > OPTIONS_START && well_formed(&message[OPTIONS_START..end]),
                "{end} bytes"
            );
        }
    }

    #[test]
    fn one_mutation_for_each_refusal() {
        let good = &payload(SLIRP_OFFER)[..MIN_MESSAGE];
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
        assert_eq!(message.addresses(code::ROUTER).collect::<Vec<_>>(), [Address([10, 0, 0, 1])]);
    }
}
