//! IPv6 addresses, and the DNS servers of router advertisements (RFC 8106).

use ufmt::{Formatter, uDisplay, uWrite};

use crate::dhcp::lease::MAX_SERVERS;
use crate::dhcp::names::{self, Search};
use crate::features::Feature;
use crate::text::{position, split};
use crate::time::{NEVER, after_s};

/// An IPv6 address, in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// `::`, which no host has.
    pub const NONE: Self = Self([0; 16]);

    /// Whether the address is link-local, in fe80::/10 (RFC 4291 §2.5.6).
    pub fn is_link_local(&self) -> bool {
        matches!(self.0, [0xfe, 0x80..=0xbf, ..])
    }

    /// Whether a host can have the address: not `::`, `::1` or multicast.
    #[inline(never)]
    fn is_host(&self) -> bool {
        let [first, ..] = self.0;
        first != 0xff && u128::from_be_bytes(self.0) >> 1 != 0
    }
}

/// Parses an address as in RFC 4291 §2.2, forms 1 and 2.
pub fn parse(text: &[u8]) -> Option<Address> {
    let mut address = Address::NONE;
    read(text, &mut address).map(|()| address)
}

/// Parses an address into an empty one, as [`parse`] does. After `None` it has the groups that were read.
#[inline(never)]
pub fn read(text: &[u8], address: &mut Address) -> Option<()> {
    let (groups, _) = address.0.as_chunks_mut::<2>();
    let (mut place, mut has_gap) = (0, false);
    let mut parts = split(text, b':');
    while let Some(part) = parts.next() {
        if part.is_empty() && !has_gap {
            has_gap = true;
            // At an end of the text, the two colons are two empty parts.
            if place == 0 && !parts.next()?.is_empty() || parts.rest().is_empty() && parts.next().is_none() {
                return None;
            }
            let after = parts.count();
            let start = groups.len().checked_sub(after).filter(|start| *start > place)?;
            place = start;
            continue;
        }
        let group = part.iter().try_fold(0u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))?;
        if part.is_empty() || part.len() > 4 {
            return None;
        }
        *groups.get_mut(place)? = (group as u16).to_be_bytes();
        place += 1;
    }
    (place == groups.len()).then_some(())
}

impl uDisplay for Address {
    /// Writes the address as in RFC 5952 §4: `::` is the longest run of at least two zero groups, the first among equals.
    #[inline(never)]
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        let (groups, _) = self.0.as_chunks::<2>();
        let (mut zeros, mut longest, mut end) = (0, 1, 0);
        for (place, group) in groups.iter().enumerate() {
            zeros = if *group == [0; 2] { zeros + 1 } else { 0 };
            if zeros > longest {
                (longest, end) = (zeros, place + 1);
            }
        }
        let mut separator = "";
        for (place, group) in groups.iter().enumerate() {
            // The distance to the end of the run; `end` is 0 without a run.
            if (1..=longest).contains(&end.wrapping_sub(place)) {
                separator = "::";
            } else {
                f.write_str(separator)?;
                let value = u32::from(u16::from_be_bytes(*group));
                let mut shift = 16;
                while shift > 0 {
                    shift -= 4;
                    if value >> shift != 0 || shift == 0 {
                        f.write_char(char::from_digit(value >> shift & 0xf, 16).unwrap_or_default())?;
                    }
                }
                separator = ":";
            }
        }
        // A run at the end of the address.
        f.write_str(if separator == "::" { separator } else { "" })
    }
}

/// A DNS server of an interface, with the end of its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// The address.
    pub address: Address,
    /// The index of the interface whose router advertised it.
    pub interface: u32,
    until_ms: u64,
}

/// The DNS servers that routers advertise, oldest first, and their search list.
#[derive(Clone, Debug, Default)]
pub struct NameServers {
    servers: crate::bounded::Vec<NameServer, MAX_SERVERS>,
    search: Search,
    /// The end of the lifetime of the search list: that of its last advertisement.
    search_until_ms: u64,
}

impl NameServers {
    /// Returns all servers.
    pub fn all(&self) -> &[NameServer] {
        &self.servers
    }

    /// Returns the search list: domains, each preceded by a space.
    pub fn search(&self) -> &[u8] {
        &self.search
    }

    /// Adds, refreshes and removes servers as an RDNSS option of a router advertisement says (RFC 8106 §5.1), and domains of the search
    /// list as a DNSSL option does (§5.2). Options of other types and truncated ones are ignored. Returns whether a list has changed.
    #[inline(never)]
    pub fn update(&mut self, now_ms: u64, interface: u32, option: &[u8]) -> bool {
        const RDNSS: u8 = 25;
        const DNSSL: u8 = 31;
        let [kind @ (RDNSS | DNSSL), units, _, _, l0, l1, l2, l3, ..] = *option else { return false };
        let addresses = option.get(8..usize::from(units).wrapping_mul(8)).unwrap_or_default();
        // A lifetime of all ones is infinite (RFC 8106 §5.1), here 136 years.
        let until_ms = after_s(now_ms, u32::from_be_bytes([l0, l1, l2, l3]));
        self.take(now_ms, until_ms, interface, kind == DNSSL, addresses)
    }

    /// Adds, refreshes and removes servers, or domains of the search list, until a time: the payload of an option of a router advertisement
    /// or, which has the same form, of DHCPv6 (RFC 3646). Returns whether a list has changed.
    pub fn take(&mut self, now_ms: u64, until_ms: u64, interface: u32, is_search: bool, addresses: &[u8]) -> bool {
        if is_search {
            return Feature::Names.is_enabled() && self.update_search(now_ms, until_ms, addresses);
        }
        let mut is_new = false;
        for address in addresses.as_chunks().0 {
            let address = Address(*address);
            let mut known = self.servers.iter_mut();
            match known.find(|known| known.address == address && known.interface == interface) {
                Some(known) => known.until_ms = until_ms,
                None if until_ms <= now_ms => {}
                None => is_new |= self.add(interface, &address, until_ms),
            }
        }
        // A lifetime of 0 removes a server (RFC 8106 §5.1).
        self.expire(now_ms, 0) || is_new
    }

    /// Adds domains to the search list, as many as fit.
    fn update_search(&mut self, now_ms: u64, until_ms: u64, domains: &[u8]) -> bool {
        let mut names = Search::new();
        if names::search_list(domains, &mut names).is_none() || names.is_empty() {
            return false;
        }
        self.search_until_ms = until_ms;
        let before = self.search.len();
        // Before the first space is an empty name, which every list has.
        for name in split(&names, b' ') {
            let end = self.search.len();
            if position(&self.search, b' ', name).is_none() && names::push(&mut self.search, b' ', name).is_none() {
                self.search.truncate(end);
            }
        }
        let is_longer = self.search.len() > before;
        // A lifetime of 0 removes the list.
        self.expire(now_ms, 0) || is_longer
    }

    /// Adds a server, if a host can have the address. Returns whether it was added.
    #[inline(never)]
    pub fn add(&mut self, interface: u32, address: &Address, until_ms: u64) -> bool {
        address.is_host() && self.servers.push(NameServer { address: *address, interface, until_ms }).is_ok()
    }

    /// Removes the servers whose lifetime is over and those of the interface `gone`, which was removed (0: none was), and an old search
    /// list. Returns whether there were any.
    #[inline(never)]
    pub fn expire(&mut self, now_ms: u64, gone: u32) -> bool {
        let mut has_changed = !self.search.is_empty() && self.search_until_ms <= now_ms;
        if has_changed {
            self.search.clear();
        }
        let mut place = 0;
        while let Some(server) = self.servers.get(place) {
            if server.until_ms > now_ms && server.interface != gone {
                place = place.wrapping_add(1);
            } else {
                has_changed = true;
                self.servers.remove(place);
            }
        }
        has_changed
    }

    /// Returns the time of the next [`NameServers::expire`] call, or [`NEVER`].
    pub fn deadline_ms(&self) -> u64 {
        let search_ms = if self.search.is_empty() { NEVER } else { self.search_until_ms };
        self.servers.iter().fold(search_ms, |earliest_ms, server| earliest_ms.min(server.until_ms))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::text::tests::shown;
    use std::net::Ipv6Addr;
    use std::string::{String, ToString};
    use std::vec::Vec;

    #[test]
    fn addresses_are_written_as_by_std() {
        // Every pattern of zero groups, each with two values of the others.
        for pattern in 0u16..256 {
            for value in [1u16, 0x0db8] {
                let mut groups = [0; 8];
                for (place, group) in groups.iter_mut().enumerate() {
                    *group = if pattern >> place & 1 == 0 { 0 } else { value };
                }
                let expected = Ipv6Addr::from(groups);
                // std writes these with an IPv4 address (RFC 5952 §5). No network uses them.
                if expected.to_ipv4().is_none() {
                    assert_eq!(shown(&Address(expected.octets())), expected.to_string());
                }
            }
        }
    }

    #[test]
    fn addresses_are_parsed_as_by_std() {
        for text in [
            "::",
            "::1",
            "1::",
            "2001:db8::5",
            "2001:DB8:0:0:1:2:3:4",
            "fe80::1:2",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "a::b::c",
            ":::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4::5:6:7:8",
            "12345::",
            "",
            ":",
            "1:",
            ":1",
            "g::",
            "1.2.3.4",
            "::1%eth0",
            "1::2:",
            " ::1",
            "+1::",
        ] {
            let expected = text.parse::<Ipv6Addr>().ok().map(|address| Address(address.octets()));
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    fn address(text: &str) -> Address {
        Address(text.parse::<Ipv6Addr>().unwrap().octets())
    }

    fn option(lifetime_s: u32, addresses: &[&str]) -> Vec<u8> {
        let units = u8::try_from(1 + 2 * addresses.len()).unwrap();
        let mut option = std::vec![25, units, 0, 0];
        option.extend(lifetime_s.to_be_bytes());
        option.extend(addresses.iter().flat_map(|text| address(text).0));
        option
    }

    fn known(servers: &NameServers) -> Vec<String> {
        servers.all().iter().map(|server| shown(&server.address)).collect()
    }

    #[test]
    fn servers_are_added_refreshed_and_removed() {
        let mut servers = NameServers::default();
        assert_eq!(servers.deadline_ms(), NEVER);
        assert!(servers.update(1000, 2, &option(60, &["2001:db8::53", "fe80::1"])));
        assert!(!servers.update(2000, 2, &option(60, &["2001:db8::53"])), "a longer lifetime is no change");
        assert!(servers.update(2000, 3, &option(u32::MAX, &["fe80::1"])), "the same address on another link");
        assert!(!servers.update(2000, 2, &option(60, &["2001:db8::54"])), "the limit is three");
        assert_eq!(servers.deadline_ms(), 61_000);
        assert!(!servers.expire(60_999, 0) && servers.expire(61_000, 0));
        assert_eq!(known(&servers), ["2001:db8::53", "fe80::1"]);
        assert!(servers.update(61_500, 2, &option(0, &["2001:db8::53"])), "its router removes it");
        assert_eq!(known(&servers), ["fe80::1"]);
        assert!(!servers.update(61_500, 2, &option(0, &["2001:db8::53"])), "it is unknown");
        assert!(!servers.expire(0, 2) && servers.expire(0, 3), "its interface was removed");
        assert!(servers.all().is_empty());
    }

    #[test]
    fn unusable_addresses_and_other_options_are_ignored() {
        let mut servers = NameServers::default();
        assert!(!servers.update(0, 2, &option(60, &["::", "::1", "ff02::1"])));
        let mut other = option(60, &["2001:db8::53"]);
        other[0] = 31;
        assert!(!servers.update(0, 2, &other));
        let whole = option(60, &["2001:db8::53"]);
        for length in 0..whole.len() {
            assert!(!servers.update(0, 2, &whole[..length]), "{length}");
        }
        for units in [0, 1, 2, 4, 255] {
            let mut wrong = whole.clone();
            wrong[1] = units;
            assert!(!servers.update(0, 2, &wrong), "{units} units");
        }
        assert!(servers.update(0, 2, &whole));
    }

    #[test]
    fn link_local_addresses_are_fe80_to_febf() {
        let is_link_local = |text: &str| Address(text.parse::<Ipv6Addr>().unwrap().octets()).is_link_local();
        assert!(is_link_local("fe80::1") && is_link_local("febf:ffff::1"));
        assert!(!is_link_local("fec0::1") && !is_link_local("fe7f::1") && !is_link_local("2001:db8::1"));
    }
}
