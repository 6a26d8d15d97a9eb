//! IPv4 addresses and prefixes, and the IPv4 and UDP headers for a raw socket (RFC 791, RFC 768).
//!
//! Fragments are not supported. IP options are never sent, and are skipped in received packets.

use ufmt::{Formatter, uDisplay, uWrite, uwrite};

/// An IPv4 address, in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Address(pub [u8; 4]);

impl Address {
    /// 0.0.0.0.
    pub const UNSPECIFIED: Self = Self([0; 4]);
    /// 255.255.255.255.
    pub const BROADCAST: Self = Self([255; 4]);

    /// Whether a host can have the address: not 0/8, loopback (127/8), multicast (224/4) or broadcast. Clouds use the reserved 240/4.
    pub fn is_host(self) -> bool {
        let [first, ..] = self.0;
        !matches!(first, 0 | 127 | 224..=239) && self != Self::BROADCAST
    }

    /// Returns the address as a number, its first byte the most significant.
    pub fn bits(self) -> u32 {
        u32::from_be_bytes(self.0)
    }
}

impl uDisplay for Address {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        let mut separator = "";
        for byte in self.0 {
            uwrite!(f, "{}{}", separator, u64::from(byte))?;
            separator = ".";
        }
        Ok(())
    }
}

/// Returns the addresses of a list that a host can have. Fewer than four bytes at the end are ignored.
pub fn hosts(list: &[u8]) -> impl Iterator<Item = Address> {
    let (addresses, _) = list.as_chunks::<4>();
    addresses.iter().copied().map(Address).filter(|address| address.is_host())
}

/// Parses `a.b.c.d`, each number decimal and below 256.
#[inline(never)]
pub fn parse(text: &[u8]) -> Option<Address> {
    let mut parts = crate::text::split(text, b'.');
    let mut address = [0; 4];
    for byte in &mut address {
        *byte = u8::try_from(crate::text::number(parts.next()?)?).ok()?;
    }
    parts.next().is_none().then_some(Address(address))
}

/// Returns the prefix length of a subnet mask, 1 to 32; `None` for 0.0.0.0 and for a mask with holes.
pub fn prefix_length(mask: Address) -> Option<u8> {
    let bits = mask.bits();
    let ones = bits.leading_ones();
    let holes = bits.checked_shl(ones).unwrap_or(0);
    (ones > 0 && holes == 0).then_some(u8::try_from(ones).ok()?)
}

/// Returns the prefix length of the address's class (RFC 791 §2.3), for a lease without a subnet mask.
pub fn class_prefix_length(address: Address) -> u8 {
    match address.0 {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

/// Bytes of the IPv4 and UDP headers before the payload.
pub const HEADERS: usize = IP_HEADER + UDP_HEADER;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Bytes of both addresses, which end an IPv4 header.
const ADDRESSES: usize = 8;
const PROTOCOL_UDP: u8 = 17;

/// A UDP endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The port.
    pub port: u16,
}

/// Encodes the headers of a datagram with this `payload`, of less than 64 KiB: 20 bytes of IPv4, 8 of UDP, with both checksums.
pub fn headers(source: Endpoint, destination: Endpoint, payload: &[u8]) -> [u8; HEADERS] {
    let udp_length = payload.len().wrapping_add(UDP_HEADER) as u16;
    let ([t0, t1], [u0, u1]) = (udp_length.wrapping_add(IP_HEADER as u16).to_be_bytes(), udp_length.to_be_bytes());
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (source.address.0, destination.address.0);
    let ([sp0, sp1], [dp0, dp1]) = (source.port.to_be_bytes(), destination.port.to_be_bytes());
    #[rustfmt::skip]
    let mut headers = [
        0x45, 0, t0, t1, // version 4, 5 words; TOS; total length
        0, 0, 0, 0, // identification, fragment
        64, PROTOCOL_UDP, 0, 0, // time to live, protocol, checksum
        s0, s1, s2, s3, d0, d1, d2, d3,
        sp0, sp1, dp0, dp1, u0, u1, 0, 0, // ports, length, checksum
    ];
    let ip_checksum = checksum(sum(headers.first_chunk::<IP_HEADER>().unwrap_or(&[0; _])));
    let covered = headers.last_chunk::<{ ADDRESSES + UDP_HEADER }>().unwrap_or(&[0; _]);
    // RFC 768: a checksum of zero is sent as all ones; zero means "not computed".
    let udp_checksum = match checksum(sum(covered).wrapping_add(pseudo_header(udp_length)).wrapping_add(sum(payload))) {
        0 => 0xffff,
        sum => sum,
    };
    let [_, _, _, _, _, _, _, _, _, _, c0, c1, .., k0, k1] = &mut headers;
    [*c0, *c1] = ip_checksum.to_ne_bytes();
    [*k0, *k1] = udp_checksum.to_ne_bytes();
    headers
}

/// Returns the sum of the pseudo header without its addresses: protocol and UDP length (RFC 768).
fn pseudo_header(udp_length: u16) -> u32 {
    u32::from(u16::from(PROTOCOL_UDP).to_be()).wrapping_add(u32::from(udp_length.to_be()))
}

/// Returns the sum of 16-bit words for the Internet checksum (RFC 1071), without overflow for up to 65,536 words. The words are in the
/// machine's byte order, and so is the checksum (RFC 1071 §2 (B)). A zero byte follows an odd one at the end.
#[inline(never)]
fn sum(bytes: &[u8]) -> u32 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let even = pairs.iter().fold(0u32, |sum, pair| sum.wrapping_add(u32::from(u16::from_ne_bytes(*pair))));
    even.wrapping_add(odd.first().map_or(0, |last| u32::from(u16::from_ne_bytes([*last, 0]))))
}

/// Returns the Internet checksum of a sum.
#[inline(never)]
fn checksum(sum: u32) -> u16 {
    let folded = (sum & 0xffff).wrapping_add(sum >> 16);
    !(folded as u16).wrapping_add((folded >> 16) as u16)
}

/// The state of a received frame's checksum (packet(7), `PACKET_AUXDATA`, `TP_STATUS_CSUMNOTREADY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpChecksum {
    /// The frame has a checksum.
    Verify,
    /// The checksum was left to hardware that the frame did not pass: the sender is on this host or hypervisor.
    NotComputed,
}

/// A UDP datagram of an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The sender.
    pub source: Endpoint,
    /// The receiver.
    pub destination: Endpoint,
    /// The payload, without headers.
    pub payload: &'a [u8],
}

/// Parses an IPv4 packet. Returns `None` unless it is a whole, unfragmented UDP datagram with correct checksums.
pub fn datagram(packet: &[u8], udp_checksum: UdpChecksum) -> Option<Datagram<'_>> {
    let first = packet.first()?;
    if first >> 4 != 4 {
        return None;
    }
    let header_length = usize::from(first & 0xf).checked_mul(4).filter(|length| *length >= IP_HEADER)?;
    let (header, _) = packet.split_at_checked(header_length)?;
    let (fixed, _) = header.split_first_chunk::<IP_HEADER>()?;
    let [_, _, t0, t1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
    // Bit 15 is reserved, bit 14 is "don't fragment". The rest is "more fragments" and the offset.
    let fragment = u16::from_be_bytes([f0, f1]) & 0x3fff;
    if protocol != PROTOCOL_UDP || fragment != 0 || checksum(sum(header)) != 0 {
        return None;
    }
    let total_length = usize::from(u16::from_be_bytes([t0, t1]));
    // Ethernet pads short frames: bytes past the total length are not part of the packet.
    let segment = packet.get(header_length..total_length)?;
    let (udp, _) = segment.split_first_chunk::<UDP_HEADER>()?;
    let [sp0, sp1, dp0, dp1, u0, u1, c0, c1] = *udp;
    let udp_length = u16::from_be_bytes([u0, u1]);
    let segment = segment.get(..usize::from(udp_length))?;
    let payload = segment.get(UDP_HEADER..)?;
    let (source, destination) = (Address([s0, s1, s2, s3]), Address([d0, d1, d2, d3]));
    if udp_checksum == UdpChecksum::Verify && [c0, c1] != [0, 0] {
        let addresses = sum(fixed.last_chunk::<ADDRESSES>().unwrap_or(&[0; _]));
        if checksum(addresses.wrapping_add(pseudo_header(udp_length)).wrapping_add(sum(segment))) != 0 {
            return None;
        }
    }
    Some(Datagram {
        source: Endpoint { address: source, port: u16::from_be_bytes([sp0, sp1]) },
        destination: Endpoint { address: destination, port: u16::from_be_bytes([dp0, dp1]) },
        payload,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::text::tests::shown;
    use std::vec::Vec;

    const CLIENT: Endpoint = Endpoint { address: Address::UNSPECIFIED, port: 68 };
    const SERVER: Endpoint = Endpoint { address: Address([192, 168, 0, 1]), port: 67 };

    fn packet(payload: &[u8]) -> Vec<u8> {
        let mut packet = headers(SERVER, CLIENT, payload).to_vec();
        packet.extend_from_slice(payload);
        packet
    }

    /// Returns `packet` with one byte changed and the header's checksum corrected.
    fn with(packet: &[u8], position: usize, value: u8) -> Vec<u8> {
        let mut packet = packet.to_vec();
        packet[position] = value;
        packet[10..12].fill(0);
        let length = (usize::from(packet[0] & 0xf) * 4).clamp(IP_HEADER, packet.len());
        let sum = checksum(sum(&packet[..length]));
        packet[10..12].copy_from_slice(&sum.to_ne_bytes());
        packet
    }

    #[test]
    fn a_datagram_survives_the_round_trip() {
        for payload in [&b""[..], b"x", b"even", b"seven..", &[0xff; 1472]] {
            let packet = packet(payload);
            let expected = Datagram { source: SERVER, destination: CLIENT, payload };
            assert_eq!(datagram(&packet, UdpChecksum::Verify), Some(expected));
        }
    }

    #[test]
    fn the_checksum_matches_rfc_1071() {
        // RFC 1071 §3: the sum of these words is ddf2.
        let checksum_of_these = checksum(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]));
        assert_eq!(checksum_of_these.to_ne_bytes(), (!0xddf2u16).to_be_bytes());
        // An IPv4 header, which has the checksum zero with its own checksum in it.
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
            0x00, 0xc7,
        ];
        assert_eq!(checksum(sum(&header)), 0);
    }

    #[test]
    fn every_truncation_is_refused() {
        let packet = packet(b"payload");
        for end in 0..packet.len() {
            assert_eq!(datagram(&packet[..end], UdpChecksum::Verify), None, "{end} bytes");
        }
    }

    #[test]
    fn one_mutation_for_each_refusal() {
        let good = packet(b"payload");
        assert!(datagram(&with(&good, 0, 0x45), UdpChecksum::Verify).is_some(), "the helper alone changes nothing");
        for (position, value, what) in [
            (0, 0x65, "version 6"),
            (0, 0x44, "a header of 16 bytes"),
            (0, 0x4f, "a header beyond the packet's end"),
            (3, 19, "a total length below the header's"),
            (3, 27, "a total length without UDP header"),
            (3, 200, "a total length beyond the packet's end"),
            (6, 0x20, "more fragments"),
            (7, 0x01, "a fragment's offset"),
            (9, 6, "TCP"),
            (12, 9, "another source: UDP's checksum"),
            (24, 1, "a UDP length beyond the packet's end"),
            (25, 7, "a UDP length below the header's"),
            (25, 0, "a UDP length of 0"),
            (26, 1, "a wrong UDP checksum"),
            (30, 1, "a changed payload"),
        ] {
            assert_eq!(datagram(&with(&good, position, value), UdpChecksum::Verify), None, "{what}");
        }
        let mut header = good.clone();
        header[8] ^= 1;
        assert_eq!(datagram(&header, UdpChecksum::Verify), None, "a wrong header checksum");
    }

    #[test]
    fn checksums_that_were_not_computed_are_not_verified() {
        let good = packet(b"payload");
        let mut partial = good.clone();
        partial[26] ^= 0x55;
        assert_eq!(datagram(&partial, UdpChecksum::Verify), None);
        assert!(datagram(&partial, UdpChecksum::NotComputed).is_some());
        let mut absent = good;
        absent[26..28].fill(0);
        assert!(datagram(&absent, UdpChecksum::Verify).is_some());
    }

    #[test]
    fn ip_options_and_ethernet_padding_are_skipped() {
        let mut options = packet(b"payload");
        options[0] = 0x46;
        options[3] += 4;
        options.splice(20..20, [1, 1, 1, 0]);
        options.extend_from_slice(&[0; 18]);
        let packet = with(&options, 0, 0x46);
        assert_eq!(datagram(&packet, UdpChecksum::Verify).map(|datagram| datagram.payload), Some(&b"payload"[..]));
    }

    #[test]
    fn masks_with_holes_have_no_prefix() {
        for (mask, prefix) in [
            ([255, 255, 255, 0], Some(24)),
            ([255; 4], Some(32)),
            ([128, 0, 0, 0], Some(1)),
            ([0; 4], None),
            ([255, 0, 255, 0], None),
            ([0, 255, 255, 255], None),
        ] {
            assert_eq!(prefix_length(Address(mask)), prefix, "{mask:?}");
        }
    }

    #[test]
    fn addresses_are_four_numbers() {
        assert_eq!(parse(b"10.0.2.15"), Some(Address([10, 0, 2, 15])));
        for text in ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2..4", "a.b.c.d", " 1.2.3.4"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn an_address_is_written_with_dots() {
        assert_eq!(shown(&Address([10, 0, 200, 255])), "10.0.200.255");
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones() {
        // Each payload of two bytes gives another sum. One of them is zero, which would mean "not computed".
        let checksum = |payload: u16| {
            let packet = packet(&payload.to_be_bytes());
            assert!(datagram(&packet, UdpChecksum::Verify).is_some());
            u16::from_be_bytes([packet[26], packet[27]])
        };
        let sums: Vec<u16> = (0..=u16::MAX).map(checksum).collect();
        assert!(!sums.contains(&0) && sums.contains(&0xffff));
    }
}
