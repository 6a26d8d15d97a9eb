//! The kernel's option `ip=` (Documentation/admin-guide/nfs/nfsroot.rst): a static address, or the interface for DHCP.
//!
//! The forms: `<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>:<dns1>:<ntp0>`, where each field may
//! be empty; a protocol alone; and dracut's `<device>:dhcp`.

use crate::dhcp::lease::{Lease, Servers};
use crate::dhcp::routes::Route;
use crate::ipv4::{self, Address};
use crate::text::{number, position, split};

/// The meaning of `ip=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip<'a> {
    /// DHCP on this interface; on every interface if the name is empty.
    Dhcp(&'a [u8]),
    /// A static address, which was stored in the lease, on this interface; on the first one if the name is empty.
    Fixed(&'a [u8]),
    /// No network.
    Off,
}

/// Protocols that mean DHCP. A BOOTP server also replies to DHCP, and RARP is out of use.
const PROTOCOLS: &[u8] = b"dhcp on any both bootp rarp";

/// Parses the value of `ip=`. Stores a static address, its default gateway, host name, DNS and NTP servers in an empty `lease`.
/// Returns `None` for a malformed value.
#[inline(never)]
pub fn parse<'a>(value: &'a [u8], lease: &mut Lease) -> Option<Ip<'a>> {
    let mut fields = split(value, b':');
    let mut field = || fields.next().unwrap_or_default();
    let (client, server) = (field(), field());
    if is_dhcp(client) && server.is_empty() {
        return Some(Ip::Dhcp(b""));
    }
    if is_dhcp(server) {
        return Some(Ip::Dhcp(client));
    }
    if server.is_empty() && position(b"off none", b' ', client).is_some() {
        return Some(Ip::Off);
    }
    let (gateway, netmask, hostname, device, autoconf) = (field(), field(), field(), field(), field());
    if is_dhcp(autoconf) || client.is_empty() && autoconf.is_empty() {
        return Some(Ip::Dhcp(device));
    }
    lease.address = ipv4::parse(client).filter(|address| address.is_host())?;
    lease.prefix_length = ipv4::class_prefix_length(lease.address);
    if !netmask.is_empty() {
        // A mask, or a prefix length.
        let length = || u8::try_from(number(netmask)?).ok().filter(|length| (1..=32).contains(length));
        lease.prefix_length = ipv4::parse(netmask).map_or_else(length, ipv4::prefix_length)?;
    }
    if !gateway.is_empty() {
        let gateway = ipv4::parse(gateway)?;
        let _ = lease.routes.push(Route { destination: Address::UNSPECIFIED, prefix_length: 0, gateway });
    }
    let _ = lease.hostname.extend_from_slice(hostname);
    push(&mut lease.name_servers, field())?;
    push(&mut lease.name_servers, field())?;
    push(&mut lease.time_servers, field())?;
    fields.next().is_none().then_some(Ip::Fixed(device))
}

/// Appends a server, unless the field is empty. Returns `None` if the field is not an address.
#[inline(never)]
fn push(servers: &mut Servers, field: &[u8]) -> Option<()> {
    if !field.is_empty() {
        let _ = servers.push(ipv4::parse(field)?);
    }
    Some(())
}

/// Whether a field is a protocol that means DHCP, also in the form `dhcp,<id-type>,<id>`.
fn is_dhcp(word: &[u8]) -> bool {
    split(word, b',').next().is_some_and(|word| position(PROTOCOLS, b' ', word).is_some())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;
    use std::string::{String, ToString};

    fn shown(value: &'static str) -> String {
        let address = |address: &Address| address.0.map(|byte| byte.to_string()).join(".");
        let mut lease = Lease::default();
        match parse(value.as_bytes(), &mut lease) {
            None => "malformed".to_string(),
            Some(Ip::Off) => "off".to_string(),
            Some(Ip::Dhcp(device)) => format!("dhcp on {}", String::from_utf8_lossy(device)),
            Some(Ip::Fixed(device)) => {
                assert_eq!((lease.times, lease.mtu, lease.server), (None, None, Address::UNSPECIFIED));
                let router = lease.router().as_ref().map(address).unwrap_or_default();
                let servers = |servers: &[Address]| servers.iter().map(address).collect::<std::vec::Vec<_>>().join(",");
                format!(
                    "{}/{} by {router} on {} as {} dns {} ntp {}",
                    address(&lease.address),
                    lease.prefix_length,
                    String::from_utf8_lossy(device),
                    String::from_utf8_lossy(&lease.hostname),
                    servers(&lease.name_servers),
                    servers(&lease.time_servers)
                )
            }
        }
    }

    #[test]
    fn the_kernels_forms_are_parsed() {
        for (value, expected) in [
            ("172.16.0.2::172.16.0.1:255.255.255.252::eth0:off", "172.16.0.2/30 by 172.16.0.1 on eth0 as  dns  ntp "),
            ("10.0.0.5", "10.0.0.5/8 by  on  as  dns  ntp "),
            ("192.168.7.5:::::", "192.168.7.5/24 by  on  as  dns  ntp "),
            ("10.0.0.5::10.0.0.1:24:node7:eth1:none", "10.0.0.5/24 by 10.0.0.1 on eth1 as node7 dns  ntp "),
            (
                "10.0.0.5:10.0.0.9:10.0.0.1:255.255.0.0:node7:eth1:static:10.0.0.2:10.0.0.3:10.0.0.4",
                "10.0.0.5/16 by 10.0.0.1 on eth1 as node7 dns 10.0.0.2,10.0.0.3 ntp 10.0.0.4",
            ),
            ("10.0.0.5::10.0.0.1:255.255.255.255::::10.0.0.2", "10.0.0.5/32 by 10.0.0.1 on  as  dns 10.0.0.2 ntp "),
            ("dhcp", "dhcp on "),
            ("on", "dhcp on "),
            ("any", "dhcp on "),
            ("dhcp,1,node7", "dhcp on "),
            (":::::eth1:dhcp", "dhcp on eth1"),
            ("10.0.0.5:::::eth1:dhcp", "dhcp on eth1"),
            (":::::eth1", "dhcp on eth1"),
            ("", "dhcp on "),
            ("off", "off"),
            ("none", "off"),
            // The form of dracut.
            ("eth1:dhcp", "dhcp on eth1"),
            ("enp0s3:on", "dhcp on enp0s3"),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in [
            "10.0.0",
            "10.0.0.256",
            "127.0.0.1",
            "255.255.255.255",
            "10.0.0.5::10.0.0.x",
            "10.0.0.5:::255.0.255.0",
            "10.0.0.5:::0.0.0.0",
            "10.0.0.5:::0",
            "10.0.0.5:::33",
            "10.0.0.5:::mask",
            "10.0.0.5:::::eth0:off:dns",
            "10.0.0.5:::::eth0:off::dns",
            "10.0.0.5:::::eth0:off:::ntp",
            "10.0.0.5:::::eth0:off:1.1.1.1:2.2.2.2:3.3.3.3:more",
            "[fe80::1]:::64::eth0:off",
            "eth0:auto6",
            "nothing",
        ] {
            assert_eq!(shown(value), "malformed", "{value}");
        }
    }

    #[test]
    fn a_host_name_that_is_too_long_is_ignored() {
        let value = format!("10.0.0.5::::{}:", "x".repeat(64));
        let mut lease = Lease::default();
        assert_eq!(parse(value.as_bytes(), &mut lease), Some(Ip::Fixed(b"")));
        assert!(lease.hostname.is_empty());
    }
}
