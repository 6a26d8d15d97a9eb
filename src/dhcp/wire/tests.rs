//! Tests of parsing, with messages of real servers and broken ones, and of encoding.

extern crate std;
use super::*;
use crate::ipv4::{self, UdpChecksum};
use std::vec::Vec;

pub(crate) const CHADDR: HardwareAddress = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// A server's message with the given options after the cookie.
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
    query.encode(hostname, false, &mut bytes);
    bytes
}

#[test]
fn a_discover_has_these_bytes() {
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
    let mut bytes = Encoded::new();
    discover().encode(b"", true, &mut bytes);
    let requested = find(&bytes[240..], code::PARAMETER_LIST);
    assert_eq!(requested, Some(&[1, 121, 249, 3, 6, 15, 119, 12, 26, 42, 58, 59, 108][..]));
}

#[test]
fn declines_and_releases_have_no_parameter_list() {
    let release = Query {
        kind: Kind::Release,
        ciaddr: Address([10, 0, 0, 50]),
        server: Some(Address([10, 0, 0, 1])),
        ..discover()
    };
    let decline =
        Query { kind: Kind::Decline, requested: Some(release.ciaddr), ciaddr: Address::UNSPECIFIED, ..release };
    let identifier = (61, &[1, 0x52, 0x54, 0, 0x12, 0x34, 0x56][..]);
    let (server, requested) = ((54, &[10, 0, 0, 1][..]), (50, &[10, 0, 0, 50][..]));
    // RFC 2131 §4.4.1, table 5.
    for (query, ciaddr, expected) in [
        (release, [10, 0, 0, 50], std::vec![(53, &[7][..]), identifier, server]),
        (decline, [0; 4], std::vec![(53, &[4][..]), identifier, requested, server]),
    ] {
        let bytes = encoded(&query, b"node7");
        assert_eq!((bytes.len(), &bytes[12..16]), (300, &ciaddr[..]));
        assert_eq!(Options(&bytes[240..]).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn the_longest_request_fits_the_buffer() {
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
            packet: include_bytes!(concat!("../../../tests/golden/", $name, ".bin")),
            checksum: UdpChecksum::$checksum,
        },)*]
    };
}

/// An OFFER and its ACK from each server.
pub(crate) const GOLDEN: &[Golden] = golden! {
    "slirp-offer" Verify,
    "slirp-ack" Verify,
    "dnsmasq-offer" NotComputed, // the kernel leaves it incomplete on a virtual link
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
            assert_eq!(ipv4::datagram(&golden.packet[..end], golden.checksum), None, "{}, {end} bytes", golden.name);
        }
        let message = message_of(golden);
        for end in 0..message.len() {
            // Some servers send the message type late. After the last option there is only padding.
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
    // file: the message type, and an overload option that must be ignored. sname: a router, no END.
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
fn options_of_a_wrong_length_count_as_absent() {
    let bytes = reply(7, [10, 0, 2, 15], &[53, 1, 5, 1, 3, 255, 255, 255, 51, 0, 3, 5, 10, 0, 0, 1, 9, 255]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.address(code::SUBNET_MASK), None);
    assert_eq!(message.seconds(code::LEASE_TIME), None);
}

#[test]
fn the_parts_of_a_value_are_concatenated() {
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
    // sname is not overloaded: it holds a name.
    bytes[44..50].copy_from_slice(&[3, 4, 9, 9, 9, 9]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.address(code::ROUTER), Some(Address([10, 0, 0, 1])));
    assert_eq!(message.address(code::DOMAIN_NAME_SERVER), Some(Address([10, 0, 0, 2])));
}

#[test]
fn an_overload_of_another_length_or_value_is_ignored() {
    for overload in [&[52, 0][..], &[52, 2, 3, 3], &[52, 1, 0], &[52, 1, 4], &[52, 1, 255]] {
        let mut bytes = reply(7, [10, 0, 2, 15], &[&[53, 1, 5], overload, &[255]].concat());
        bytes[108..114].copy_from_slice(&[3, 4, 9, 9, 9, 9]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.address(code::ROUTER), None, "{overload:?}");
    }
}

#[test]
fn overloaded_fields_end_at_a_truncated_option() {
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
fn an_option_past_the_end_invalidates_the_message() {
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
fn padding_unknown_options_and_bytes_after_end_are_ignored() {
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
fn a_message_without_its_cookie_is_refused() {
    let bytes = reply(7, [10, 0, 2, 15], &[53, 1, 5, 255]);
    for end in [0, 1, 100, 235, 236, 237, 238, 239, 240] {
        assert!(Message::parse(&bytes[..end]).is_none(), "{end} bytes");
    }
}

#[test]
fn a_message_has_exactly_one_type() {
    for (options, kind) in [
        (&[53, 1, 5][..], Some(Kind::Ack)),
        (&[53, 1, 5, 53, 1, 2], None),
        (&[53, 0], None),
        (&[53, 2, 5, 5], None),
        (&[0, 255, 53, 1, 5], None),
    ] {
        assert_eq!(Message::parse(&reply(7, [10, 0, 2, 15], options)).map(|message| message.kind), kind, "{options:?}");
    }
}
