//! rtnetlink(7) messages: the few that bring an interface up, set its address and routes, and report its carrier.
//!
//! Requests are built into bounded storage; replies are taken apart by total functions.

use linux_raw_sys::net::net_device_flags::IFF_UP;
use linux_raw_sys::netlink as nl;

use crate::dhcp::routes::Route;
use crate::ipv4::Address;

mod message;

pub use message::{Link, MAX_REPLY, Message, messages};

/// The longest request: an address with its lifetimes.
pub const MAX_REQUEST: usize = 96;

/// struct nlmsghdr: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// Everything in a message begins at a multiple of this.
const ALIGNMENT: usize = 4;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

// The bindings have these as enums of C; they are numbers on the wire.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNDUSEROPT: u16 = 68;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
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

/// A request to the kernel.
pub struct Request {
    bytes: heapless::Vec<u8, MAX_REQUEST>,
}

impl Request {
    fn new(kind: u16, flags: u32, fixed: &[u8]) -> Self {
        let mut request = Self { bytes: heapless::Vec::new() };
        // The length is put right by each `put`. Sequence and port stay 0: one request is out at a time.
        let [k0, k1] = kind.to_ne_bytes();
        let [f0, f1, ..] = (flags | nl::NLM_F_REQUEST).to_ne_bytes();
        request.put(&[0, 0, 0, 0, k0, k1, f0, f1, 0, 0, 0, 0, 0, 0, 0, 0]);
        request.put(fixed);
        request
    }

    /// Appends bytes, and the length so far to the front. What does not fit is a mistake in this file: the tests build the
    /// longest of each.
    #[inline(never)]
    fn put(&mut self, bytes: &[u8]) {
        let _ = self.bytes.extend_from_slice(bytes);
        let length = self.bytes.len() as u32;
        if let Some(place) = self.bytes.first_chunk_mut() {
            *place = length.to_ne_bytes();
        }
    }

    /// Appends an attribute whose payload is one word: every one of ours but the lifetimes.
    #[inline(never)]
    fn word(&mut self, kind: u8, payload: [u8; 4]) {
        let [p0, p1, p2, p3] = payload;
        self.put(&[8, 0, kind, 0, p0, p1, p2, p3]);
    }

    /// What is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Asks for all interfaces; the answer is one [`Message::Link`] each.
pub fn dump_links() -> Request {
    Request::new(RTM_GETLINK, nl::NLM_F_DUMP, &[0; 16])
}

/// Sets IFF_UP.
pub fn bring_up(interface: u32) -> Request {
    let [i0, i1, i2, i3] = interface.to_ne_bytes();
    let [f0, f1, f2, f3] = (IFF_UP as u32).to_ne_bytes();
    // struct ifinfomsg: family, padding, type, index, flags, change
    let fixed = [0, 0, 0, 0, i0, i1, i2, i3, f0, f1, f2, f3, f0, f1, f2, f3];
    Request::new(RTM_NEWLINK, nl::NLM_F_ACK, &fixed)
}

/// Sets how long the packets of an interface that is up may be.
pub fn set_mtu(interface: u32, mtu: u32) -> Request {
    let mut request = bring_up(interface);
    request.word(IFLA_MTU as u8, mtu.to_ne_bytes());
    request
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The index of the interface.
    pub interface: u32,
    /// The address.
    pub address: Address,
    /// The length of its subnet's prefix.
    pub prefix_length: u8,
}

impl InterfaceAddress {
    /// struct ifaddrmsg: family, prefix length, flags, scope, index.
    fn fixed(&self) -> [u8; 8] {
        let [i0, i1, i2, i3] = self.interface.to_ne_bytes();
        [AF_INET, self.prefix_length, 0, 0, i0, i1, i2, i3]
    }

    fn broadcast(&self) -> Address {
        let host_mask = u32::MAX.checked_shr(u32::from(self.prefix_length)).unwrap_or(0);
        Address((self.address.bits() | host_mask).to_be_bytes())
    }

    /// Adds the address, or renews its lifetime: the kernel drops it after `lifetime_s` by itself.
    pub fn add(&self, lifetime_s: Option<u32>) -> Request {
        // include/net/addrconf.h: all ones is for ever.
        let [l0, l1, l2, l3] = lifetime_s.unwrap_or(u32::MAX).to_ne_bytes();
        let flags = nl::NLM_F_ACK | nl::NLM_F_CREATE | nl::NLM_F_REPLACE;
        let mut request = Request::new(RTM_NEWADDR, flags, &self.fixed());
        request.word(IFA_LOCAL, self.address.0);
        request.word(IFA_ADDRESS, self.address.0);
        // struct ifa_cacheinfo: preferred, valid, created, updated
        request.put(&[20, 0, IFA_CACHEINFO, 0, l0, l1, l2, l3, l0, l1, l2, l3, 0, 0, 0, 0, 0, 0, 0, 0]);
        // RFC 3021: a /31 has no broadcast address.
        if self.prefix_length < 31 {
            request.word(IFA_BROADCAST, self.broadcast().0);
        }
        request
    }

    /// Takes the address away, and the routes through it with it.
    pub fn delete(&self) -> Request {
        let mut request = Request::new(RTM_DELADDR, nl::NLM_F_ACK, &self.fixed());
        request.word(IFA_LOCAL, self.address.0);
        request
    }

    /// A route from the address, through a gateway that need not be in the subnet (clouds lease a /32) or to the link itself.
    #[inline(never)]
    pub fn route(&self, route: &Route, metric: u32) -> Request {
        const RTN_UNICAST: u8 = 1;
        let flags = nl::NLM_F_ACK | nl::NLM_F_CREATE | nl::NLM_F_REPLACE;
        #[allow(clippy::cast_possible_truncation, reason = "constants below 256")]
        let (table, protocol) = (nl::rt_class_t::RT_TABLE_MAIN as u8, nl::RTPROT_DHCP as u8);
        let on_link = route.gateway == Address::UNSPECIFIED;
        #[allow(clippy::cast_possible_truncation, reason = "constants below 256")]
        let scope = if on_link { nl::rt_scope_t::RT_SCOPE_LINK } else { nl::rt_scope_t::RT_SCOPE_UNIVERSE } as u8;
        let [f0, f1, f2, f3] = if on_link { 0 } else { nl::RTNH_F_ONLINK }.to_ne_bytes();
        // struct rtmsg: family, destination's and source's prefix, tos, table, protocol, scope, type, flags
        let fixed = [AF_INET, route.prefix_length, 0, 0, table, protocol, scope, RTN_UNICAST, f0, f1, f2, f3];
        let mut request = Request::new(RTM_NEWROUTE, flags, &fixed);
        if route.prefix_length > 0 {
            request.word(RTA_DST, route.destination.0);
        }
        if !on_link {
            request.word(RTA_GATEWAY, route.gateway.0);
        }
        request.word(RTA_OIF, self.interface.to_ne_bytes());
        request.word(RTA_PREFSRC, self.address.0);
        request.word(RTA_PRIORITY, metric.to_ne_bytes());
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_these_bytes() {
        let address = InterfaceAddress { interface: 2, address: Address([10, 0, 2, 15]), prefix_length: 24 };
        // struct nlmsghdr, struct ifaddrmsg, attributes of rtnetlink(7), for a machine that has the low byte first.
        let expected = [
            &[68, 0, 0, 0, 20, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 24, 0, 0, 2, 0, 0, 0][..],
            &[8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15],
            &[20, 0, 6, 0, 60, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[8, 0, 4, 0, 10, 0, 2, 255],
        ]
        .concat();
        assert_eq!(address.add(Some(60)).bytes(), expected);
        let by_default = Route { destination: Address::UNSPECIFIED, prefix_length: 0, gateway: Address([10, 0, 2, 2]) };
        let route = address.route(&by_default, 7);
        let expected = [
            &[60, 0, 0, 0, 24, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 254, 16, 0, 1, 4, 0, 0, 0][..],
            &[8, 0, 5, 0, 10, 0, 2, 2, 8, 0, 4, 0, 2, 0, 0, 0, 8, 0, 7, 0, 10, 0, 2, 15, 8, 0, 6, 0, 7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(route.bytes(), expected);
        let neighbours =
            Route { destination: Address([10, 9, 0, 0]), prefix_length: 16, gateway: Address::UNSPECIFIED };
        let on_link = address.route(&neighbours, 7);
        let expected = [
            &[60, 0, 0, 0, 24, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 16, 0, 0, 254, 16, 253, 1, 0, 0, 0, 0][..],
            &[8, 0, 1, 0, 10, 9, 0, 0, 8, 0, 4, 0, 2, 0, 0, 0, 8, 0, 7, 0, 10, 0, 2, 15, 8, 0, 6, 0, 7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(on_link.bytes(), expected);
        let longest = address.route(&Route { gateway: Address([10, 0, 2, 2]), ..neighbours }, 7);
        for request in
            [bring_up(2), set_mtu(2, 1400), dump_links(), address.delete(), address.add(None), route, longest]
        {
            let length = u32::from_ne_bytes(request.bytes()[..4].try_into().unwrap());
            assert_eq!(usize::try_from(length), Ok(request.bytes().len()));
            assert!(request.bytes().len() < MAX_REQUEST, "not cut");
        }
    }
}
