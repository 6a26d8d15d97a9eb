//! The option `ip=` of the kernel (Documentation/admin-guide/nfs/nfsroot.rst) and of dracut (dracut.cmdline(7)): static addresses, or the
//! interface for DHCP.
//!
//! The forms: `<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>:<dns1>:<ntp0>`, where each field may be
//! empty; dracut's, which has `<mtu>:<mac>` in the place of the servers; a protocol alone; and dracut's `<device>:<autoconf>:<mtu>:<mac>`.
//! IPv6 addresses are in brackets. A device is a name or a hardware address.

use core::num::NonZero;

use crate::dhcp::lease::Lease;
use crate::dhcp::routes::Route;
use crate::dhcp::wire::HardwareAddress;
use crate::ipv4;
use crate::ipv6;
use crate::rtnetlink::{is_meant, parse_mac};
use crate::text::{cut, number, position, split_once};

/// The protocol of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// DHCP.
    #[default]
    Dhcp,
    /// A static address.
    Fixed,
    /// The interface is brought up, for IPv6.
    Up,
    /// No network.
    Off,
    /// The value is not understood, as far as the field that is the device.
    Wrong,
}

/// An `ip=`. Addresses of IPv4 are mapped (RFC 4291 §2.5.5.2). Small fields come first.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Line<'a> {
    /// The protocol.
    pub method: Method,
    /// The prefix length of the subnet.
    pub prefix_length: u8,
    /// The MTU to set; 0 sets none.
    pub mtu: Option<NonZero<u16>>,
    /// The hardware address to set.
    pub mac: Option<HardwareAddress>,
    /// The address; `::` if there is none.
    pub address: ipv6::Address,
    /// The default gateway; `::` if there is none.
    pub gateway: ipv6::Address,
    /// Two DNS servers and an NTP server; `::` where there is none.
    servers: [ipv6::Address; 3],
    /// The name or the hardware address of the interface; empty for all interfaces, or the first one if the address is static.
    pub device: &'a [u8],
    /// The host name.
    pub hostname: &'a [u8],
}

/// Protocols that mean DHCP, IPv6, which the kernel configures, and none. A BOOTP server also replies to DHCP, and RARP is out of use.
const METHODS: &[u8] = b"dhcp on any both bootp rarp auto6 link6 dhcp6 off none static";

/// Parses the value of `ip=`.
#[inline(never)]
pub fn parse(value: &[u8]) -> Line<'_> {
    let mut fields = Fields { rest: Some(value), last: b"" };
    let mut line = Line::default();
    if line.fill(&mut fields).is_none() {
        (line.method, line.device) = (Method::Wrong, fields.last);
    }
    line
}

impl<'a> Line<'a> {
    /// Whether it is for the interface of this name and hardware address, or for all.
    pub fn is_of(&self, name: &[u8], chaddr: HardwareAddress) -> bool {
        self.method != Method::Wrong && is_meant(self.device, name, chaddr)
    }

    /// Adds address, default gateway, host name, MTU and NTP server of IPv4 to the lease of an interface. The first of several addresses
    /// is that of the lease.
    #[inline(never)]
    pub fn add_to(&self, lease: &mut Lease) {
        if let (Some(address), ipv4::Address::UNSPECIFIED) = (self.address.ipv4(), lease.address) {
            (lease.address, lease.prefix_length) = (address, self.prefix_length);
            let _ = self.route().map(|route| lease.routes.push(route));
        }
        if lease.hostname.is_empty() {
            let _ = lease.hostname.extend_from_slice(self.hostname);
        }
        lease.mtu = self.mtu.or(lease.mtu);
        let [.., time_server] = &self.servers;
        if let Some(server) = time_server.ipv4() {
            let _ = lease.time_servers.push(server);
        }
    }

    /// Returns the default route of IPv4.
    pub fn route(&self) -> Option<Route> {
        let gateway = self.gateway.ipv4()?;
        Some(Route { destination: ipv4::Address::UNSPECIFIED, prefix_length: 0, gateway })
    }

    /// Returns the DNS servers; `::` where there is none.
    pub fn name_servers(&self) -> &[ipv6::Address] {
        let [name_servers @ .., _] = &self.servers;
        name_servers
    }

    #[inline(never)]
    fn fill(&mut self, fields: &mut Fields<'a>) -> Option<()> {
        let client = fields.next();
        let is_alone = fields.rest.is_none();
        if let (true, Some(method)) = (is_alone, method(client)) {
            self.method = method;
            return Some(());
        }
        let server = fields.next();
        self.device = client;
        if let Some(method) = method(server) {
            self.method = method;
            return self.fill_link(fields.next(), fields);
        }
        fields.last = client;
        any(client, &mut self.address)?;
        any(fields.next(), &mut self.gateway)?;
        let netmask = fields.next();
        self.prefix_length = self.address.prefix_length(netmask)?;
        self.hostname = fields.next();
        self.device = fields.next();
        let (is_static, autoconf) = (self.address != NONE, fields.next());
        self.method = match method(autoconf) {
            None if !autoconf.is_empty() => return None,
            Some(Method::Off) | None if is_static => Method::Fixed,
            None => Method::Dhcp,
            Some(method) => method,
        };
        if self.method == Method::Fixed
            && self.gateway != NONE
            && self.gateway.ipv4().is_some() != self.address.ipv4().is_some()
        {
            fields.last = b"gateway";
            return None;
        }
        let mut field = fields.next();
        if number(field).is_some() || field.is_empty() && parse_mac(fields.rest.unwrap_or_default()).is_some() {
            return self.fill_link(field, fields);
        }
        for server in &mut self.servers {
            any(field, server)?;
            field = fields.next();
        }
        (field.is_empty() && fields.rest.is_none()).then_some(())
    }

    /// Reads dracut's MTU and hardware address, the last two fields.
    #[inline(never)]
    fn fill_link(&mut self, mtu: &[u8], fields: &mut Fields<'a>) -> Option<()> {
        if !mtu.is_empty() {
            self.mtu = NonZero::new(u16::try_from(number(mtu)?).ok()?);
        }
        let mac = fields.next();
        if !mac.is_empty() {
            self.mac = Some(parse_mac(mac)?);
        }
        Some(())
    }
}

/// An 802.1Q interface (`vlan=` of dracut).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its number, 1 to 4094.
    pub number: u16,
    /// The name or the hardware address of the interface below it.
    pub device: &'a [u8],
}

/// The longest name of an interface (include/uapi/linux/if.h, IFNAMSIZ).
const MAX_NAME: usize = 15;

/// Parses `<name>:<device>`. The number is at the end of the name: `eth0.5`, `eth0.0005`, `vlan5`, `vlan0005`.
pub fn parse_vlan(value: &[u8]) -> Option<Vlan<'_>> {
    let (name, device) = cut(value, b':');
    let is_name = (1..=MAX_NAME).contains(&name.len()) && !name.iter().any(|byte| matches!(byte, b'/' | b' '));
    let start = name.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |place| place.wrapping_add(1));
    let number = u16::try_from(number(name.get(start..)?)?).ok()?;
    ((1..=4094).contains(&number) && is_name && !device.is_empty()).then_some(Vlan { name, number, device })
}

const NONE: ipv6::Address = ipv6::Address::NONE;

impl ipv6::Address {
    /// Returns an IPv4 address as one of IPv6 (RFC 4291 §2.5.5.2).
    fn mapped(ipv4::Address([a, b, c, d]): ipv4::Address) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// Whether it is an address, and not mapped.
    pub fn is_ipv6(&self) -> bool {
        *self != NONE && self.ipv4().is_none()
    }

    /// Returns the IPv4 address that is mapped.
    #[inline(never)]
    pub fn ipv4(&self) -> Option<ipv4::Address> {
        let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] = self.0 else { return None };
        Some(ipv4::Address([a, b, c, d]))
    }

    /// Returns the prefix length of a netmask; without one, that of the address's class, or 64.
    fn prefix_length(&self, netmask: &[u8]) -> Option<u8> {
        let (default, longest) = match self.ipv4() {
            Some(address) => (ipv4::class_prefix_length(address), 32),
            None => (64, 128),
        };
        match (netmask, ipv4::parse(netmask)) {
            (b"", _) => Some(default),
            (_, Some(mask)) => ipv4::prefix_length(mask).filter(|_| longest == 32),
            _ => u8::try_from(number(netmask)?).ok().filter(|length| *length != 0 && *length <= longest),
        }
    }
}

/// Parses an address of either kind that a host can have; an empty field is `::`.
#[inline(never)]
fn any(field: &[u8], address: &mut ipv6::Address) -> Option<()> {
    if let Some(parsed) = ipv4::parse(field) {
        *address = ipv6::Address::mapped(parsed);
        return parsed.is_host().then_some(());
    }
    if !field.is_empty() {
        ipv6::read(field, address)?;
    }
    Some(())
}

/// The fields of a value, and the last one that was read. After the last one they are empty.
struct Fields<'a> {
    rest: Option<&'a [u8]>,
    last: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Returns the next field: an address in brackets, without them; a hardware address; or the text up to a colon.
    #[inline(never)]
    fn next(&mut self) -> &'a [u8] {
        let rest = self.rest.unwrap_or_default();
        // Colons before this place end no field.
        let mut end = match split_once(rest, b']') {
            Some((address, _)) if rest.starts_with(b"[") => address.len(),
            _ => rest.get(..MAC).and_then(parse_mac).map_or(0, |_| MAC),
        };
        while rest.get(end).is_some_and(|byte| *byte != b':') {
            end = end.wrapping_add(1);
        }
        let field = rest.get(..end).unwrap_or_default();
        self.rest = rest.get(end.wrapping_add(1)..);
        self.last = if let [b'[', field @ .., b']'] = field { field } else { field };
        self.last
    }
}

/// The length of a hardware address as text, in bytes.
const MAC: usize = b"52:54:00:12:34:56".len();

/// Returns the protocol of a field, also in the form `dhcp,<id-type>,<id>`.
#[inline(never)]
fn method(word: &[u8]) -> Option<Method> {
    Some(match position(METHODS, b' ', cut(word, b',').0)? {
        0..6 => Method::Dhcp,
        6..9 => Method::Up,
        _ => Method::Off,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::text::tests::shown as text;
    use std::format;
    use std::string::{String, ToString};

    fn shown(value: &'static str) -> String {
        let line = parse(value.as_bytes());
        if line.method == Method::Wrong {
            return format!("{}?", String::from_utf8_lossy(line.device));
        }
        let address = |address: &ipv6::Address| address.ipv4().map_or_else(|| text(address), |address| text(&address));
        let mut shown = format!("{:?} on {}", line.method, String::from_utf8_lossy(line.device));
        if line.method == Method::Fixed {
            shown += &format!(" {}/{}", address(&line.address), line.prefix_length);
        }
        if line.gateway != NONE {
            shown += &format!(" by {}", address(&line.gateway));
        }
        if !line.hostname.is_empty() {
            shown += &format!(" as {}", String::from_utf8_lossy(line.hostname));
        }
        for (name, server) in ["dns", "dns", "ntp"].iter().zip(&line.servers).filter(|(_, server)| **server != NONE) {
            shown += &format!(" {name} {}", address(server));
        }
        shown += &line.mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
        shown + &line.mac.map(|mac| format!(" mac {mac:02x?}")).unwrap_or_default()
    }

    #[test]
    fn the_forms_of_kernel_and_dracut_are_parsed() {
        for (value, expected) in [
            ("172.16.0.2::172.16.0.1:255.255.255.252::eth0:off", "Fixed on eth0 172.16.0.2/30 by 172.16.0.1"),
            ("10.0.0.5", "Fixed on  10.0.0.5/8"),
            ("192.168.7.5:::::", "Fixed on  192.168.7.5/24"),
            ("240.0.0.5:::::", "Fixed on  240.0.0.5/24"),
            ("10.0.0.5::10.0.0.1:24:node7:eth1:none", "Fixed on eth1 10.0.0.5/24 by 10.0.0.1 as node7"),
            (
                "10.0.0.5:10.0.0.9:10.0.0.1:255.255.0.0:node7:eth1:static:10.0.0.2:10.0.0.3:10.0.0.4",
                "Fixed on eth1 10.0.0.5/16 by 10.0.0.1 as node7 dns 10.0.0.2 dns 10.0.0.3 ntp 10.0.0.4",
            ),
            ("10.0.0.5::10.0.0.1:255.255.255.255::::10.0.0.2", "Fixed on  10.0.0.5/32 by 10.0.0.1 dns 10.0.0.2"),
            ("", "Dhcp on "),
            ("dhcp", "Dhcp on "),
            ("on", "Dhcp on "),
            ("any", "Dhcp on "),
            ("dhcp,1,node7", "Dhcp on "),
            (":::::eth1:dhcp", "Dhcp on eth1"),
            ("10.0.0.5:::::eth1:dhcp", "Dhcp on eth1"),
            (":::::eth1", "Dhcp on eth1"),
            (":::::eth1:off", "Off on eth1"),
            ("::::::none", "Off on "),
            ("off", "Off on "),
            ("none", "Off on "),
            // dracut's.
            ("eth1:dhcp", "Dhcp on eth1"),
            ("enp0s3:on", "Dhcp on enp0s3"),
            ("eth1:off", "Off on eth1"),
            ("eth1:none", "Off on eth1"),
            ("eth1:auto6", "Up on eth1"),
            ("auto6", "Up on "),
            (":::::eth1:link6", "Up on eth1"),
            ("eth1:dhcp:1400", "Dhcp on eth1 mtu 1400"),
            ("eth1:dhcp:0", "Dhcp on eth1"),
            ("eth1:dhcp::52:54:00:12:34:56", "Dhcp on eth1 mac [52, 54, 00, 12, 34, 56]"),
            ("eth1:dhcp:1400:52-54-00-12-34-56", "Dhcp on eth1 mtu 1400 mac [52, 54, 00, 12, 34, 56]"),
            (
                "10.0.0.5::10.0.0.1:24:node7:eth1:none:1400:52:54:00:12:34:56",
                "Fixed on eth1 10.0.0.5/24 by 10.0.0.1 as node7 mtu 1400 mac [52, 54, 00, 12, 34, 56]",
            ),
            ("10.0.0.5:::24::eth1:none::52:54:00:12:34:56", "Fixed on eth1 10.0.0.5/24 mac [52, 54, 00, 12, 34, 56]"),
            // Devices by their hardware address.
            ("52:54:00:12:34:56:dhcp", "Dhcp on 52:54:00:12:34:56"),
            ("52-54-00-12-34-56:dhcp", "Dhcp on 52-54-00-12-34-56"),
            ("10.0.0.5:::24::52:54:00:ab:34:56:none:10.0.0.2", "Fixed on 52:54:00:ab:34:56 10.0.0.5/24 dns 10.0.0.2"),
            // IPv6.
            (
                "[2001:db8::5]::[fe80::1]:48:node7:eth0:none:[2001:db8::53]:10.0.0.2",
                "Fixed on eth0 2001:db8::5/48 by fe80::1 as node7 dns 2001:db8::53 dns 10.0.0.2",
            ),
            ("[2001:db8::5]:::::eth0:off", "Fixed on eth0 2001:db8::5/64"),
            ("[2001:db8::5]", "Fixed on  2001:db8::5/64"),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    #[test]
    fn the_number_of_a_vlan_is_at_the_end_of_its_name() {
        for (value, number) in
            [("eth0.5:eth0", 5), ("eth0.0005:eth0", 5), ("vlan4094:52:54:00:12:34:56", 4094), ("7:eth0", 7)]
        {
            let vlan = parse_vlan(value.as_bytes()).unwrap();
            assert_eq!((vlan.number, value.as_bytes()), (number, &[vlan.name, b":", vlan.device].concat()[..]));
        }
        for wrong in [
            "",
            "eth0.5",
            "eth0.5:",
            "vlan:eth0",
            "vlan0:eth0",
            "vlan4095:eth0",
            "a/5:eth0",
            "long.name.of.16.:eth0",
            ":eth0",
        ] {
            assert_eq!(parse_vlan(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_wrong_field_is_named() {
        for (value, wrong) in [
            ("10.0.0", "10.0.0"),
            ("10.0.0.256", "10.0.0.256"),
            ("127.0.0.1", "127.0.0.1"),
            ("255.255.255.255:::::", "255.255.255.255"),
            ("nothing", "nothing"),
            ("[2001:db8::5", "[2001"),
            ("10.0.0.5::10.0.0.x", "10.0.0.x"),
            ("10.0.0.5::[2001:db8::1]", "gateway"),
            ("[2001:db8::5]::10.0.0.1", "gateway"),
            ("10.0.0.5:::255.0.255.0", "255.0.255.0"),
            ("10.0.0.5:::0.0.0.0", "0.0.0.0"),
            ("10.0.0.5:::0", "0"),
            ("10.0.0.5:::33", "33"),
            ("10.0.0.5:::mask", "mask"),
            ("[2001:db8::5]:::129", "129"),
            ("[2001:db8::5]:::255.255.255.0", "255.255.255.0"),
            ("10.0.0.5:::::eth0:of", "of"),
            (":::::eth0:of", "of"),
            ("10.0.0.5:::::eth0:off:dns", "dns"),
            ("10.0.0.5:::::eth0:off::dns", "dns"),
            ("10.0.0.5:::::eth0:off:::ntp", "ntp"),
            ("10.0.0.5:::::eth0:off:1.1.1.1:2.2.2.2:3.3.3.3:more", "more"),
            ("eth0:dhcp:mtu", "mtu"),
            ("eth0:dhcp:70000", "70000"),
            ("eth0:dhcp:1400:52:54", "52"),
        ] {
            assert_eq!(shown(value), wrong.to_string() + "?", "{value}");
        }
    }
    #[test]
    fn the_first_of_several_addresses_is_that_of_the_lease() {
        let mut lease = Lease::default();
        for value in [
            "[2001:db8::5]::[2001:db8::1]::::none:[2001:db8::53]",
            "10.0.0.5:::24:node7:eth0:none:10.0.0.2:[2001:db8::53]:10.0.0.9",
            "10.0.1.5::10.0.1.1:25:node8:eth0:none:10.0.0.3",
            "eth0:dhcp:1400",
        ] {
            parse(value.as_bytes()).add_to(&mut lease);
        }
        assert_eq!((lease.address, lease.prefix_length, lease.router()), (ipv4::Address([10, 0, 0, 5]), 24, None));
        assert_eq!((&lease.hostname[..], lease.mtu), (&b"node7"[..], NonZero::new(1400)));
        assert_eq!((lease.time_servers.len(), lease.times, lease.server), (1, None, ipv4::Address::UNSPECIFIED));
        // A host name that is too long is ignored.
        let mut lease = Lease::default();
        parse(format!("10.0.0.5::::{}:", "x".repeat(64)).as_bytes()).add_to(&mut lease);
        assert!(lease.hostname.is_empty() && lease.address == ipv4::Address([10, 0, 0, 5]));
    }

    #[test]
    fn any_value_is_parsed_or_refused() {
        let value = b"[2001:db8::5]:52:54:00:12:34:56:::[]:[:]]:1:dhcp:";
        for start in 0..value.len() {
            for end in start..value.len() {
                let _ = parse(&value[start..end]);
            }
        }
    }
}
