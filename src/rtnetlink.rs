//! rtnetlink(7) messages that bring an interface up, set its address and routes, and report its carrier.
//!
//! Requests are built in bounded storage. Replies are parsed by total functions.

use linux_raw_sys::net::net_device_flags::IFF_UP;
use linux_raw_sys::netlink as nl;

use crate::dhcp::routes::Route;
use crate::dhcp::wire::HardwareAddress;
use crate::ipv4::Address;
use crate::ipv6;

mod message;

pub use message::{Link, MAX_REPLY, Message, is_meant, messages, parse_mac};

/// The limit of a request, in bytes. The longest is that of a VLAN: 84.
pub const MAX_REQUEST: usize = 96;

/// Bytes of struct nlmsghdr: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// The alignment of messages and attributes (NLMSG_ALIGNTO, RTA_ALIGNTO).
const ALIGNMENT: usize = 4;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

// linux-raw-sys has these as C enums; a message has them as u16 or u8.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNDUSEROPT: u16 = 68;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_CARRIER_UP_COUNT: u16 = 47;
const IFLA_MAX_MTU: u16 = 51;
const IFA_ADDRESS: u8 = 1;
const IFA_LOCAL: u8 = 2;
const IFA_BROADCAST: u8 = 4;
const IFA_CACHEINFO: u8 = 6;
const RTA_DST: u8 = 1;
const RTA_OIF: u8 = 4;
const RTA_GATEWAY: u8 = 5;
const RTA_PRIORITY: u8 = 6;
const RTA_PREFSRC: u8 = 7;

/// The sequence number of every request: only one is pending at a time. The kernel repeats it in the event of the change.
const SEQUENCE: u32 = u32::from_be_bytes(*b"whit");

/// A request to the kernel.
pub struct Request {
    bytes: crate::bounded::Vec<u8, MAX_REQUEST>,
}

impl Request {
    /// Builds a request from little-endian words. The kind of a word is 0 for the leading struct, and otherwise the type of the
    /// attribute whose payload it is. An attribute of value 0 is omitted, which the kernel treats alike. The port is 0,
    /// which the kernel replaces.
    #[inline(never)]
    fn new(head: u32, words: &[u32], kinds: &[u8]) -> Self {
        let mut request = Self { bytes: crate::bounded::Vec::new() };
        let _ = request
            .bytes
            .extend_from_slice(&(u128::from(head) << 32 | const { (SEQUENCE as u128) << 64 }).to_le_bytes());
        for (word, kind) in words.iter().zip(kinds) {
            if *kind != 0 {
                if *word == 0 {
                    continue;
                }
                request.put(8 | u32::from(*kind) << 16);
            }
            request.put(*word);
        }
        let length = request.bytes.len() as u32;
        if let Some(first) = request.bytes.first_chunk_mut() {
            *first = length.to_le_bytes();
        }
        request
    }

    /// Appends a word. It always fits: see [`MAX_REQUEST`].
    #[inline(never)]
    fn put(&mut self, word: u32) {
        let _ = self.bytes.extend_from_slice(&word.to_le_bytes());
    }

    /// Returns the bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The flags of a request that creates or replaces.
const SET: u32 = nl::NLM_F_ACK | nl::NLM_F_CREATE | nl::NLM_F_REPLACE;

/// The type and flags of a request that adds a route, and fails if there is one.
const ADD_ROUTE: u32 = head(RTM_NEWROUTE, nl::NLM_F_ACK | nl::NLM_F_CREATE | nl::NLM_F_EXCL);
const RTN_UNICAST: u32 = 1;

/// Returns the type and flags of a request, as in its header.
const fn head(kind: u16, flags: u32) -> u32 {
    kind as u32 | (flags | nl::NLM_F_REQUEST) << 16
}

/// Requests all interfaces (RTM_GETLINK). The reply has one [`Message::Link`] for each.
pub fn dump_links() -> Request {
    Request::new(const { head(RTM_GETLINK, nl::NLM_F_DUMP) }, &[0; 4], &[0; 4])
}

/// Brings an interface up (RTM_NEWLINK, IFF_UP).
pub fn bring_up(interface: u32) -> Request {
    set_mtu(interface, 0)
}

/// Sets the MTU of an interface in bytes, and brings it up; an MTU of 0 is left unchanged.
pub fn set_mtu(interface: u32, mtu: u32) -> Request {
    // struct ifinfomsg: family, padding, type; index; flags; change
    let words = [0, interface, IFF_UP as u32, IFF_UP as u32, mtu];
    Request::new(const { head(RTM_NEWLINK, nl::NLM_F_ACK) }, &words, &[0, 0, 0, 0, IFLA_MTU as u8])
}

/// Returns the head of an attribute whose payload is the next words: its length and type.
const fn attribute(payload_bytes: u32, kind: u16) -> u32 {
    (payload_bytes + 4) | (kind as u32) << 16
}

/// Returns 16 bytes as words.
fn words(bytes: [u8; 16]) -> [u32; 4] {
    let bits = u128::from_le_bytes(bytes);
    [bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32]
}

/// Sets the hardware address of an interface.
pub fn set_mac(interface: u32, [m0, m1, m2, m3, m4, m5]: HardwareAddress) -> Request {
    let [low, high] = [u32::from_le_bytes([m0, m1, m2, m3]), u32::from_le_bytes([m4, m5, 0, 0])];
    let words = [0, interface, 0, 0, const { attribute(6, IFLA_ADDRESS) }, low, high];
    Request::new(const { head(RTM_NEWLINK, nl::NLM_F_ACK) }, &words, &[0; 7])
}

/// Creates an 802.1Q interface (RTM_NEWLINK, IFLA_LINKINFO). The name is shorter than 16 bytes.
pub fn add_vlan(interface: u32, name: &[u8], number: u16) -> Request {
    const IFLA_LINK: u8 = 5;
    /// IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_VLAN_ID, and the lengths of the attributes.
    const INFO: [u32; 5] =
        [24 | (IFLA_LINKINFO as u32) << 16, 8 | 1 << 16, u32::from_le_bytes(*b"vlan"), 12 | 2 << 16, 6 | 1 << 16];
    let mut text = [0; 16];
    for (place, byte) in text.iter_mut().zip(name) {
        *place = *byte;
    }
    let ([info, kind, vlan, data, id], [n0, n1, n2, n3]) = (INFO, words(text));
    let name = const { attribute(16, IFLA_IFNAME) };
    let words = [0, 0, 0, 0, interface, info, kind, vlan, data, id, number.into(), name, n0, n1, n2, n3];
    let head = const { head(RTM_NEWLINK, nl::NLM_F_ACK | nl::NLM_F_CREATE | nl::NLM_F_EXCL) };
    Request::new(head, &words, &[0, 0, 0, 0, IFLA_LINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Adds an IPv6 address (RTM_NEWADDR).
pub fn add_address6(interface: u32, address: &ipv6::Address, prefix_length: u8) -> Request {
    let fixed = u32::from_le_bytes([AF_INET6, prefix_length, 0, 0]);
    let [a, b, c, d] = words(address.0);
    let words = [fixed, interface, const { attribute(16, IFA_ADDRESS as u16) }, a, b, c, d];
    Request::new(const { head(RTM_NEWADDR, SET) }, &words, &[0; 7])
}

/// Adds an IPv6 address of a subnet of its own, or sets its lifetimes in seconds (RTM_NEWADDR); all ones are infinite. Removes it
/// (RTM_DELADDR) if they are 0.
pub fn set_address6(interface: u32, address: &ipv6::Address, [preferred_s, valid_s]: [u32; 2]) -> Request {
    let fixed = const { u32::from_le_bytes([AF_INET6, 128, 0, 0]) };
    let [a, b, c, d] = words(address.0);
    let (times, head_of_address) = const { (attribute(16, IFA_CACHEINFO as u16), attribute(16, IFA_ADDRESS as u16)) };
    let words = [fixed, interface, times, preferred_s, valid_s, 0, 0, head_of_address, a, b, c, d];
    let head = if valid_s == 0 { const { head(RTM_DELADDR, nl::NLM_F_ACK) } } else { const { head(RTM_NEWADDR, SET) } };
    Request::new(head, &words, &[0; 12])
}

/// Adds a default route of IPv6, past a gateway that may be outside the subnet.
pub fn add_gateway6(interface: u32, gateway: &ipv6::Address) -> Request {
    let fixed = nl::rt_class_t::RT_TABLE_MAIN as u32 | nl::RTPROT_STATIC << 8 | RTN_UNICAST << 24;
    let [a, b, c, d] = words(gateway.0);
    let head_of_gateway = const { attribute(16, RTA_GATEWAY as u16) };
    let words = [AF_INET6.into(), fixed, nl::RTNH_F_ONLINK, interface, head_of_gateway, a, b, c, d];
    Request::new(ADD_ROUTE, &words, &[0, 0, 0, RTA_OIF, 0, 0, 0, 0, 0])
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The index of the interface.
    pub interface: u32,
    /// The address.
    pub address: Address,
    /// The prefix length of its subnet.
    pub prefix_length: u8,
}

impl InterfaceAddress {
    /// Returns struct ifaddrmsg: family, prefix length, flags, scope; index.
    fn fixed(&self) -> [u32; 2] {
        [u32::from_le_bytes([AF_INET, self.prefix_length, 0, 0]), self.interface]
    }

    /// Returns the broadcast address of the subnet; 0 for a /31 (RFC 3021) and a /32, which have none.
    fn broadcast(&self) -> u32 {
        let host_mask = u32::MAX.checked_shr(u32::from(self.prefix_length)).unwrap_or(0);
        if self.prefix_length < 31 { (self.address.bits() | host_mask).to_be() } else { 0 }
    }

    /// Adds the address, or sets its lifetime (RTM_NEWADDR). The kernel removes it after `lifetime_s`; `None` is
    /// unlimited.
    pub fn add(&self, lifetime_s: Option<u32>) -> Request {
        // include/net/addrconf.h, INFINITY_LIFE_TIME: all ones do not expire.
        let lifetime_s = lifetime_s.unwrap_or(u32::MAX);
        let ([fixed, interface], address) = (self.fixed(), u32::from_le_bytes(self.address.0));
        // struct ifa_cacheinfo: preferred, valid, created, updated
        let cacheinfo = const { attribute(16, IFA_CACHEINFO as u16) };
        Request::new(
            const { head(RTM_NEWADDR, SET) },
            &[fixed, interface, cacheinfo, lifetime_s, lifetime_s, 0, 0, address, address, self.broadcast()],
            &[0, 0, 0, 0, 0, 0, 0, IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST],
        )
    }

    /// Removes the address, and with it its routes (RTM_DELADDR). Without IFA_ADDRESS the kernel would ignore the prefix length.
    pub fn delete(&self) -> Request {
        let ([fixed, interface], address) = (self.fixed(), u32::from_le_bytes(self.address.0));
        let words = [fixed, interface, address, address];
        Request::new(const { head(RTM_DELADDR, nl::NLM_F_ACK) }, &words, &[0, 0, IFA_LOCAL, IFA_ADDRESS])
    }

    /// Adds a route with the address as its source (RTM_NEWROUTE). Its destination is on the link, or past a gateway that may be
    /// outside the subnet (RTNH_F_ONLINK): clouds lease a /32. Fails with EEXIST if there is a route to the destination with this
    /// metric.
    pub fn add_route(&self, route: &Route, metric: u32) -> Request {
        self.route(ADD_ROUTE, route, metric)
    }

    /// Removes exactly this route (RTM_DELROUTE).
    pub fn delete_route(&self, route: &Route, metric: u32) -> Request {
        self.route(const { head(RTM_DELROUTE, nl::NLM_F_ACK) }, route, metric)
    }

    /// Returns a request about a route.
    #[inline(never)]
    fn route(&self, head: u32, route: &Route, metric: u32) -> Request {
        let gateway = u32::from_le_bytes(route.gateway.0);
        let on_link = gateway == 0;
        let scope = if on_link { nl::rt_scope_t::RT_SCOPE_LINK } else { nl::rt_scope_t::RT_SCOPE_UNIVERSE } as u32;
        // struct rtmsg: family, destination's and source's prefix, tos; table, protocol, scope, type; flags
        let words = [
            u32::from_le_bytes([AF_INET, route.prefix_length, 0, 0]),
            nl::rt_class_t::RT_TABLE_MAIN as u32 | nl::RTPROT_DHCP << 8 | scope << 16 | RTN_UNICAST << 24,
            if on_link { 0 } else { nl::RTNH_F_ONLINK },
            u32::from_le_bytes(route.destination.0),
            gateway,
            self.interface,
            u32::from_le_bytes(self.address.0),
            metric,
        ];
        let kinds = [0, 0, 0, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY];
        Request::new(head, &words, &kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_these_bytes() {
        let address = InterfaceAddress { interface: 2, address: Address([10, 0, 2, 15]), prefix_length: 24 };
        // struct nlmsghdr, struct ifaddrmsg, attributes of rtnetlink(7), little-endian.
        let expected = [
            &[68, 0, 0, 0, 20, 0, 5, 5, b't', b'i', b'h', b'w', 0, 0, 0, 0, 2, 24, 0, 0, 2, 0, 0, 0][..],
            &[20, 0, 6, 0, 60, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15],
            &[8, 0, 4, 0, 10, 0, 2, 255],
        ]
        .concat();
        assert_eq!(address.add(Some(60)).bytes(), expected);
        let default_route =
            Route { destination: Address::UNSPECIFIED, prefix_length: 0, gateway: Address([10, 0, 2, 2]) };
        let route = address.add_route(&default_route, 7);
        let expected = [
            &[60, 0, 0, 0, 24, 0, 5, 6, b't', b'i', b'h', b'w', 0, 0, 0, 0, 2, 0, 0, 0, 254, 16, 0, 1, 4, 0, 0, 0][..],
            &[8, 0, 5, 0, 10, 0, 2, 2, 8, 0, 4, 0, 2, 0, 0, 0, 8, 0, 7, 0, 10, 0, 2, 15, 8, 0, 6, 0, 7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(route.bytes(), expected);
        let on_link = Route { destination: Address([10, 9, 0, 0]), prefix_length: 16, gateway: Address::UNSPECIFIED };
        let route_on_link = address.add_route(&on_link, 7);
        let expected =
            [
                &[
                    60, 0, 0, 0, 24, 0, 5, 6, b't', b'i', b'h', b'w', 0, 0, 0, 0, 2, 16, 0, 0, 254, 16, 253, 1, 0, 0,
                    0, 0,
                ][..],
                &[8, 0, 1, 0, 10, 9, 0, 0, 8, 0, 4, 0, 2, 0, 0, 0, 8, 0, 7, 0, 10, 0, 2, 15, 8, 0, 6, 0, 7, 0, 0, 0],
            ]
            .concat();
        assert_eq!(route_on_link.bytes(), expected);
        let deleted = address.delete_route(&on_link, 7);
        assert_eq!(deleted.bytes()[4..8], [25, 0, 5, 0]);
        assert_eq!(deleted.bytes()[16..], expected[16..]);
        assert_eq!(
            address.delete().bytes()[16..],
            [2, 24, 0, 0, 2, 0, 0, 0, 8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15]
        );
        let expected = [
            &[64, 0, 0, 0, 20, 0, 5, 5, b't', b'i', b'h', b'w', 0, 0, 0, 0, 10, 128, 0, 0, 2, 0, 0, 0][..],
            &[20, 0, 6, 0, 50, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 1, 0],
            &[0xfd; 16],
        ]
        .concat();
        let leased = ipv6::Address([0xfd; 16]);
        assert_eq!(set_address6(2, &leased, [50, 60]).bytes(), expected);
        assert_eq!(set_address6(2, &leased, [0, 0]).bytes()[4..8], [21, 0, 5, 0]);
        let header =
            |length: u8, kind: u8, flags: [u8; 2]| [&[length, 0, 0, 0, kind, 0][..], &flags, b"tihw", &[0; 4]].concat();
        for (request, expected) in [
            (
                set_mac(2, [0x52, 0x54, 0, 0x12, 0x34, 0x56]),
                [
                    &header(44, 16, [5, 0])[..],
                    &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    &[10, 0, 1, 0, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0],
                ]
                .concat(),
            ),
            (
                add_vlan(3, b"vlan7", 7),
                [
                    &header(84, 16, [5, 6])[..],
                    &[0; 16],
                    &[8, 0, 5, 0, 3, 0, 0, 0, 24, 0, 18, 0, 8, 0, 1, 0],
                    b"vlan",
                    &[12, 0, 2, 0, 6, 0, 1, 0, 7, 0, 0, 0, 20, 0, 3, 0],
                    b"vlan7\0\0\0\0\0\0\0\0\0\0\0",
                ]
                .concat(),
            ),
            (
                add_address6(2, &leased, 64),
                [&header(44, 20, [5, 5])[..], &[10, 64, 0, 0, 2, 0, 0, 0, 20, 0, 1, 0], &[0xfd; 16]].concat(),
            ),
            (
                add_gateway6(2, &leased),
                [
                    &header(56, 24, [5, 6])[..],
                    &[10, 0, 0, 0, 254, 4, 0, 1, 4, 0, 0, 0, 8, 0, 4, 0, 2, 0, 0, 0, 20, 0, 5, 0],
                    &[0xfd; 16],
                ]
                .concat(),
            ),
        ] {
            assert_eq!(request.bytes(), expected);
        }
        let longest = address.add_route(&Route { gateway: Address([10, 0, 2, 2]), ..on_link }, 7);
        for request in
            [bring_up(2), set_mtu(2, 1400), dump_links(), address.delete(), address.add(None), route, longest, deleted]
        {
            let length = u32::from_ne_bytes(request.bytes()[..4].try_into().unwrap());
            assert_eq!(usize::try_from(length), Ok(request.bytes().len()));
            assert!(request.bytes().len() < MAX_REQUEST, "it is not truncated");
        }
    }
}
