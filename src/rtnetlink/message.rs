//! Messages from the kernel: interfaces and their carriers, addresses, options of router advertisements, acknowledgements.
//!
//! Every function returns for every input.

use linux_raw_sys::if_arp::ARPHRD_ETHER;
use linux_raw_sys::net::net_device_flags::{IFF_LOWER_UP, IFF_UP};
use linux_raw_sys::netlink as nl;

use super::{
    AF_INET, AF_INET6, ALIGNMENT, HEADER, IFA_ADDRESS, IFA_LOCAL, IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_CARRIER_UP_COUNT,
    IFLA_IFNAME, IFLA_LINKINFO, IFLA_MASTER, IFLA_MAX_MTU, IFLA_MTU, IFLA_PROTINFO, InterfaceAddress, RTM_DELADDR,
    RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNDUSEROPT, SEQUENCE,
};
use crate::dhcp::wire::HardwareAddress;
use crate::dhcpv6::client::{MANAGED, OTHER};
use crate::features::Feature;
use crate::ipv4;
use crate::ipv6;
use crate::text::strip_prefix;

/// The longest datagram from the kernel, in bytes (include/linux/netlink.h, NLMSG_GOODSIZE).
pub const MAX_REPLY: usize = 8192;

/// An interface, from RTM_NEWLINK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// struct ifinfomsg: family, padding, type, index, flags, change.
    fixed: &'a [u8; 16],
    attributes: &'a [u8],
}

impl<'a> Link<'a> {
    fn parse(payload: &'a [u8]) -> Option<Self> {
        let (fixed, attributes) = payload.split_first_chunk::<16>()?;
        // A message of family AF_BRIDGE is about a bridge's port, not about the interface (net/bridge/br_if.c, del_nbp()).
        (fixed.first() == Some(&0)).then_some(Self { fixed, attributes })
    }

    /// Returns the index.
    pub fn interface(&self) -> u32 {
        let [_, _, _, _, i0, i1, i2, i3, ..] = *self.fixed;
        u32::from_ne_bytes([i0, i1, i2, i3])
    }

    /// Whether the interface has just been registered: every flag counts as changed (net/core/dev.c, register_netdevice()).
    pub fn is_new(&self) -> bool {
        self.fixed.last_chunk() == Some(&[0xff; 4])
    }

    fn flags(&self) -> u32 {
        let [.., f0, f1, f2, f3, _, _, _, _] = *self.fixed;
        u32::from_ne_bytes([f0, f1, f2, f3])
    }

    /// Whether the link has a carrier (IFF_LOWER_UP) of its own. IFF_RUNNING follows up to a second later (net/core/link_watch.c).
    pub fn carrier(&self) -> bool {
        self.flags() & IFF_LOWER_UP as u32 != 0 && !self.is_slave()
    }

    /// Whether the interface belongs to a master, which has the addresses: a bond, a bridge, or the paravirtual interface of an
    /// accelerated one.
    pub fn is_slave(&self) -> bool {
        Feature::Coexist.is_enabled() && self.number(IFLA_MASTER) != 0
    }

    /// Whether the interface is up (IFF_UP).
    pub fn up(&self) -> bool {
        self.flags() & IFF_UP as u32 != 0
    }

    /// Returns the name, without NUL.
    pub fn name(&self) -> &'a [u8] {
        let name = attribute(self.attributes, IFLA_IFNAME).unwrap_or_default();
        if let [name @ .., 0] = name { name } else { name }
    }

    /// Returns the MTU in bytes; 0 if unknown.
    pub fn mtu(&self) -> u32 {
        self.number(IFLA_MTU)
    }

    /// Returns how often the carrier has come up so far. Only this counter shows a loss of less than a second: the kernel reports
    /// a change up to a second later, with the state at that time (net/core/link_watch.c).
    pub fn carrier_ups(&self) -> u32 {
        self.number(IFLA_CARRIER_UP_COUNT)
    }

    /// Returns the value of a numeric attribute; 0 if absent.
    fn number(&self, kind: u16) -> u32 {
        let number = attribute(self.attributes, kind).and_then(|number| number.try_into().ok());
        number.map_or(0, u32::from_ne_bytes)
    }

    /// Whether the interface is virtual, such as a bridge or a veth: these have an IFLA_LINKINFO.
    pub fn by_software(&self) -> bool {
        attribute(self.attributes, IFLA_LINKINFO).is_some()
    }

    /// Whether the interface is QEMU's e1000: its address is in QEMU's range, and its maximum MTU is 16,110 bytes, which only
    /// this driver has (drivers/net/ethernet/intel/e1000/e1000_main.c, e1000_probe()).
    pub fn is_qemu_e1000(&self) -> bool {
        let address = attribute(self.attributes, IFLA_ADDRESS).unwrap_or_default();
        strip_prefix(address, &[0x52, 0x54, 0]).is_some() && self.number(IFLA_MAX_MTU) == 16_110
    }

    /// Whether the text of `whit.net.dev=`, `BOOTIF=` or a device of `ip=` selects the interface: by its name, or by its hardware
    /// address at the end of the text, as in pxelinux's `BOOTIF=01-52-54-00-12-34-56`. An empty text selects every interface.
    pub fn is_meant(&self, wanted: &[u8], address: HardwareAddress) -> bool {
        is_meant(wanted, self.name(), address)
    }

    /// Returns the flags of the last router advertisement ([`crate::dhcpv6::client::MANAGED`]); 0 without IPv6.
    pub fn router_flags(&self) -> u8 {
        let families = attribute(self.attributes, IFLA_AF_SPEC);
        families.and_then(|families| router_flags(families, AF_INET6.into())).unwrap_or_default()
    }

    /// Returns the hardware address; `None` unless the interface is Ethernet.
    pub fn ethernet(&self) -> Option<HardwareAddress> {
        let [_, _, t0, t1, ..] = *self.fixed;
        let address = attribute(self.attributes, IFLA_ADDRESS)?.try_into().ok()?;
        (u32::from(u16::from_ne_bytes([t0, t1])) == ARPHRD_ETHER).then_some(address)
    }
}

/// Reads IFLA_INET6_FLAGS in an attribute of this type (net/ipv6/addrconf.c, inet6_fill_ifla6_attrs()).
#[inline(never)]
fn router_flags(attributes: &[u8], kind: u16) -> Option<u8> {
    const IFLA_INET6_FLAGS: u16 = 1;
    let flags = attribute(attribute(attributes, kind)?, IFLA_INET6_FLAGS)?.first()?;
    Some(flags & (MANAGED | OTHER))
}

/// Parses struct ifaddrmsg: family, prefix length, flags, scope, interface. Returns a usable global IPv6 address only.
fn global_address(kind: u16, payload: &[u8]) -> Option<Message<'_>> {
    const SCOPE_GLOBAL: u8 = 0;
    /// Duplicate address detection has failed, or has not finished (include/uapi/linux/if_addr.h: IFA_F_DADFAILED,
    /// IFA_F_TENTATIVE).
    const UNUSABLE: u8 = DAD_FAILED | 0x40;
    const DAD_FAILED: u8 = 0x08;
    let ([AF_INET6, _, flags, SCOPE_GLOBAL, interface @ ..], attributes) = payload.split_first_chunk::<8>()? else {
        return None;
    };
    let address = attribute(attributes, IFA_ADDRESS.into())?.try_into().ok()?;
    let (interface, address) = (u32::from_ne_bytes(*interface), ipv6::Address(address));
    // The kernel reports the failure as a change of the address, or as its removal (net/ipv6/addrconf.c, addrconf_dad_stop()).
    if Feature::Dhcpv6.is_enabled() && flags & DAD_FAILED != 0 {
        return Some(Message::AddressConflict(interface, address));
    }
    (flags & UNUSABLE == 0 && kind == RTM_NEWADDR).then_some(Message::GlobalAddress(interface, address))
}

/// Parses struct ifaddrmsg as [`global_address`] does. Returns an IPv4 address.
fn removed_address(payload: &[u8]) -> Option<Message<'_>> {
    let ([AF_INET, prefix_length, _, _, interface @ ..], attributes) = payload.split_first_chunk::<8>()? else {
        return None;
    };
    let address = ipv4::Address(attribute(attributes, IFA_LOCAL.into())?.try_into().ok()?);
    let interface = u32::from_ne_bytes(*interface);
    Some(Message::AddressGone(InterfaceAddress { interface, address, prefix_length: *prefix_length }))
}

/// Whether a text selects the interface of this name and hardware address, as [`Link::is_meant`] does.
pub fn is_meant(wanted: &[u8], name: &[u8], address: HardwareAddress) -> bool {
    let written = wanted.len().checked_sub(MAC).and_then(|start| wanted.get(start..)).unwrap_or_default();
    wanted.is_empty() || wanted == name || parse_mac(written) == Some(address)
}

/// The length of a hardware address as text, in bytes.
const MAC: usize = b"52:54:00:12:34:56".len();

/// Parses a hardware address: two digits a byte, with colons or dashes between them.
#[inline(never)]
pub fn parse_mac(text: &[u8]) -> Option<HardwareAddress> {
    let mut address = [0; 6];
    if text.len() != MAC {
        return None;
    }
    for (place, byte) in address.iter_mut().enumerate() {
        let [high, low, rest @ ..] = text.get(place * 3..)? else { return None };
        let [high, low] = [char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?];
        *byte = (high << 4 | low) as u8;
        if !matches!(rest, [] | [b':' | b'-', ..]) {
            return None;
        }
    }
    Some(address)
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// An interface appeared or changed.
    Link(Link<'a>),
    /// The interface of this index was removed.
    LinkGone(u32),
    /// Another program, or the kernel, has removed this address.
    AddressGone(InterfaceAddress),
    /// The interface of this index has a usable global IPv6 address.
    GlobalAddress(u32, ipv6::Address),
    /// Another host of the link uses this IPv6 address of the interface: duplicate address detection has failed.
    AddressConflict(u32, ipv6::Address),
    /// The flags of router advertisements on the interface of this index have changed.
    RouterFlags(u32, u8),
    /// A router on the interface of this index has advertised this option (RFC 4861 §4.6), type and length included.
    RouterOption(u32, &'a [u8]),
    /// The reply to a request: 0, or a negative errno.
    Acknowledgement(i32),
    /// Anything else.
    Other,
}

/// Splits a netlink datagram into its messages. Ends at the first truncated message.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *rest.first_chunk::<HEADER>()?;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = rest.get(HEADER..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        let is_own = u32::from_ne_bytes([s0, s1, s2, s3]) == SEQUENCE;
        Some(message(u16::from_ne_bytes([k0, k1]), is_own, payload))
    })
}

/// Rounds up to the alignment (NLMSG_ALIGN, RTA_ALIGN).
fn aligned(length: usize) -> usize {
    length.wrapping_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// `is_own`: the message is about a request of this program.
fn message(kind: u16, is_own: bool, payload: &[u8]) -> Message<'_> {
    let read = match kind {
        RTM_NEWLINK if Feature::Dhcpv6.is_enabled() && payload.first() == Some(&AF_INET6) => {
            // struct ifinfomsg, as of a link
            payload.split_first_chunk().and_then(|(fixed, attributes)| {
                let interface = Link { fixed, attributes }.interface();
                Some(Message::RouterFlags(interface, router_flags(attributes, IFLA_PROTINFO)?))
            })
        }
        RTM_NEWLINK => Link::parse(payload).map(Message::Link),
        RTM_DELLINK => Link::parse(payload).map(|link| Message::LinkGone(link.interface())),
        RTM_NEWADDR | RTM_DELADDR
            if Feature::Ipv6.is_enabled()
                && (kind == RTM_NEWADDR || Feature::Dhcpv6.is_enabled() && payload.first() == Some(&AF_INET6)) =>
        {
            global_address(kind, payload)
        }
        RTM_DELADDR if Feature::Coexist.is_enabled() && !is_own => removed_address(payload),
        RTM_NEWNDUSEROPT if Feature::Ipv6.is_enabled() => router_option(payload),
        _ if u32::from(kind) == nl::NLMSG_ERROR => {
            payload.first_chunk().map(|error| Message::Acknowledgement(i32::from_ne_bytes(*error)))
        }
        _ => None,
    };
    match read {
        Some(message) => message,
        None => Message::Other,
    }
}

/// Parses struct nduseroptmsg: family, padding, the option's length, interface, type and code of the ICMP message, padding.
fn router_option(payload: &[u8]) -> Option<Message<'_>> {
    let ([_, _, o0, o1, i0, i1, i2, i3, ..], option) = payload.split_first_chunk::<16>()?;
    let option = option.get(..usize::from(u16::from_ne_bytes([*o0, *o1])))?;
    Some(Message::RouterOption(u32::from_ne_bytes([*i0, *i1, *i2, *i3]), option))
}

/// Returns the payload of the first attribute of a type.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let [l0, l1, k0, k1] = *rest.first_chunk::<ALIGNMENT>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = rest.get(ALIGNMENT..length)?;
        // The two highest bits are flags (NLA_TYPE_MASK).
        if u16::from_ne_bytes([k0, k1]) & 0x3fff == wanted {
            return Some(payload);
        }
        rest = rest.get(aligned(length)..)?;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// Builds a message of this type.
    fn encoded(kind: u16, payload: &[&[u8]]) -> Vec<u8> {
        let payload = payload.concat();
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &payload].concat()
    }

    fn eth0() -> Vec<u8> {
        let mut fixed = [0; 16];
        fixed[2..4].copy_from_slice(&1u16.to_ne_bytes());
        fixed[4..8].copy_from_slice(&2u32.to_ne_bytes());
        fixed[8..12].copy_from_slice(&(IFF_UP as u32 | IFF_LOWER_UP as u32).to_ne_bytes());
        let name = [9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0]; // IFLA_IFNAME, padded
        let address = [10, 0, 1, 0, 2, 0, 0, 0, 0, 7, 0, 0]; // IFLA_ADDRESS, padded
        encoded(RTM_NEWLINK, &[&fixed, &name, &address])
    }

    fn is_eth0(message: &Message<'_>) -> bool {
        let Message::Link(link) = message else { return false };
        assert_eq!((link.interface(), link.name(), link.by_software()), (2, &b"eth0"[..], false));
        assert_eq!(link.ethernet(), Some([2, 0, 0, 0, 0, 7]));
        link.carrier() && link.up()
    }

    #[test]
    fn a_datagram_may_hold_several_messages() {
        let bytes = [eth0(), encoded(2, &[&(-17i32).to_ne_bytes()]), eth0()].concat();
        let messages: Vec<_> = messages(&bytes).collect();
        let [first, Message::Acknowledgement(-17), last] = &messages[..] else { panic!("{messages:?}") };
        assert!(is_eth0(first) && is_eth0(last));
    }

    #[test]
    fn a_message_about_a_bridge_port_is_not_about_the_interface() {
        let mut left = eth0();
        left[4..6].copy_from_slice(&RTM_DELLINK.to_ne_bytes());
        assert_eq!(messages(&left).next(), Some(Message::LinkGone(2)));
        left[HEADER] = 7; // AF_BRIDGE
        assert_eq!(messages(&left).next(), Some(Message::Other));
    }

    #[test]
    fn flags_of_router_advertisements_come_with_ipv6_and_with_a_link() {
        let flags = [8, 0, 1, 0, 0xd0, 0, 0, 0x80]; // IFLA_INET6_FLAGS, as a managed network has it, and others
        let nested = |kind: u8, inside: &[u8]| [&[inside.len() as u8 + 4, 0, kind, 0x80][..], inside].concat();
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&2u32.to_ne_bytes());
        let link = encoded(RTM_NEWLINK, &[&fixed, &nested(26, &nested(AF_INET6, &flags))]);
        let Some(Message::Link(link)) = messages(&link).next() else { panic!() };
        assert_eq!(link.router_flags(), MANAGED | OTHER);
        fixed[0] = AF_INET6;
        let whole = encoded(RTM_NEWLINK, &[&fixed, &nested(12, &flags)]);
        assert_eq!(messages(&whole).next(), Some(Message::RouterFlags(2, MANAGED | OTHER)));
        for length in 0..whole.len() - HEADER {
            let cut = encoded(RTM_NEWLINK, &[&whole[HEADER..HEADER + length]]);
            assert!(!matches!(messages(&cut).next(), Some(Message::RouterFlags(..))), "{length}");
        }
    }

    #[test]
    fn a_failure_of_duplicate_address_detection_is_a_change_or_a_removal() {
        let address = [&[20, 0, 1, 0][..], &[0xfd; 16]].concat(); // IFA_ADDRESS
        let message = |kind: u16, flags: u8| {
            let bytes = encoded(kind, &[&[AF_INET6, 128, flags, 0, 2, 0, 0, 0], &address]);
            let conflict = Message::AddressConflict(2, ipv6::Address([0xfd; 16]));
            let global = Message::GlobalAddress(2, ipv6::Address([0xfd; 16]));
            (messages(&bytes).next() == Some(conflict), messages(&bytes).next() == Some(global))
        };
        for kind in [RTM_NEWADDR, RTM_DELADDR] {
            assert_eq!(message(kind, 0x48), (true, false));
            assert_eq!(message(kind, 0x40), (false, false), "tentative");
            assert_eq!(message(kind, 0), (false, kind == RTM_NEWADDR));
        }
    }

    #[test]
    fn every_truncation_terminates() {
        let bytes = eth0();
        for end in 0..bytes.len() {
            assert_eq!(messages(&bytes[..end]).count(), 0);
            // A shorter length in the header truncates the attributes.
            let mut short = bytes.clone();
            short[..4].copy_from_slice(&u32::try_from(end).unwrap().to_ne_bytes());
            let first = messages(&short).next();
            assert!(end >= HEADER || first.is_none());
        }
    }

    #[test]
    fn attributes_of_any_length_terminate() {
        let mut bytes = eth0();
        for length in 0..=255 {
            bytes[HEADER + 16] = length;
            for message in messages(&bytes) {
                let Message::Link(link) = message else { continue };
                let _ = (link.name(), link.ethernet(), link.by_software(), link.is_qemu_e1000());
            }
        }
    }

    #[test]
    fn an_interface_is_selected_by_its_name_or_address() {
        let bytes = eth0();
        let Some(Message::Link(link)) = messages(&bytes).next() else { panic!() };
        let is_meant = |wanted: &str| link.is_meant(wanted.as_bytes(), [2, 0, 0xab, 0, 0, 7]);
        for wanted in ["", "eth0", "02:00:ab:00:00:07", "02:00:AB:00:00:07", "01-02-00-ab-00-00-07"] {
            assert!(is_meant(wanted), "{wanted}");
        }
        for other in ["eth", "eth00", "2:00:ab:00:00:07", "02:00:ab:00:00:17", "02:00:ab:00:00:0g", "02.00.ab.00.00.07"]
        {
            assert!(!is_meant(other), "{other}");
        }
    }

    #[test]
    fn the_e1000_is_identified_by_its_address_and_maximum_mtu() {
        // From a 6.12 kernel: IFLA_ADDRESS and IFLA_MAX_MTU.
        let attributes = [10, 0, 1, 0, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 8, 0, 51, 0, 0xee, 0x3e, 0, 0];
        let is_e1000 = |attributes: &[u8]| Link { fixed: &[0; 16], attributes }.is_qemu_e1000();
        assert!(is_e1000(&attributes));
        for changed in [2, 4, 5, 6, 14, 16, 17, 18] {
            let mut others = attributes;
            others[changed] ^= 1;
            assert!(!is_e1000(&others), "byte {changed}");
        }
        assert!(!is_e1000(&attributes[..12]) && !is_e1000(&[]));
    }
}
