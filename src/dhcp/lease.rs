//! A lease: the validated options of an OFFER or ACK (RFC 2132).

use core::num::NonZero;

use super::names::{self, MAX_LABEL, Search};
use super::routes::{self, Routes};
use super::wire::{Message, Value, code};
use crate::features::Feature;
use crate::ipv4::{self, Address};

/// The limit of DNS servers and of NTP servers; further ones are dropped. resolv.conf(5) has the same limit (MAXNS).
pub const MAX_SERVERS: usize = 3;
/// The smallest MTU that is accepted. Every IPv4 host must accept datagrams of 576 bytes (RFC 791 §3.1, total length).
const MIN_MTU: u16 = 576;
/// The smallest MTU of IPv6 (RFC 8200 §5): with less, the kernel removes IPv6 from the interface. A smaller MTU is raised to it.
const IPV6_MTU: u16 = 1280;
/// The lease time when a server sends none.
const DEFAULT_LEASE_S: u32 = 3600;
/// The shortest lease time. A shorter one is raised to it, to limit renewals.
const MIN_LEASE_S: u32 = 10;
/// The lease time of a lease that does not expire (RFC 2131 §3.3).
const INFINITE_S: u32 = u32::MAX;

/// The servers of one option, in the option's order of preference.
pub type Servers = crate::bounded::Vec<Address, MAX_SERVERS>;

/// An address and the options that a server sent with it. Small fields come first: the code that reaches them is shorter.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Lease {
    /// The interface's address.
    pub address: Address,
    /// The server that granted the lease (option 54, or else the source address).
    pub server: Address,
    /// Its times; `None` if the lease does not expire.
    pub times: Option<Times>,
    /// Checksum of the reply, lease times excluded.
    sum: u32,
    /// The MTU of the interface (option 26), at least that of IPv6.
    pub mtu: Option<NonZero<u16>>,
    /// The prefix length of the subnet (option 1, or else the address's class).
    pub prefix_length: u8,
    /// DNS servers (option 6), at most [`MAX_SERVERS`].
    pub name_servers: Servers,
    /// NTP servers (option 42), at most [`MAX_SERVERS`].
    pub time_servers: Servers,
    /// The host name (option 12), one label; empty without the option.
    pub hostname: crate::bounded::Vec<u8, MAX_LABEL>,
    /// The search list (option 119, or else 15).
    pub search: Search,
    /// The routes (option 121, or else 249, or else 3).
    pub routes: Routes,
}

/// The times of a lease, in seconds from the ACK: `renewal <= rebinding < expiry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// T1: the client requests a renewal from its server (option 58).
    pub renewal_s: u32,
    /// T2: the client requests a renewal from any server (option 59).
    pub rebinding_s: u32,
    /// The lease expires (option 51).
    pub expiry_s: u32,
}

impl Default for Lease {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Lease {
    /// A lease without an address or options. The compiler fills a constant with zeros; the default of each field would be an instruction.
    pub const EMPTY: Self = Self {
        address: Address::UNSPECIFIED,
        server: Address::UNSPECIFIED,
        times: None,
        sum: 0,
        mtu: None,
        prefix_length: 0,
        name_servers: Servers::new(),
        time_servers: Servers::new(),
        hostname: crate::bounded::Vec::new(),
        search: Search::new(),
        routes: Routes::new(),
    };

    /// Sets the address, prefix length, server and times from an OFFER or ACK that came from `source`. Returns `None` and changes
    /// nothing if no host can use the address, or if the lease time is 0.
    pub fn take_address(&mut self, message: &Message<'_>, source: Address) -> Option<()> {
        let (prefix_length, address) = (prefix_length(message)?, message.yiaddr());
        self.times = match message.seconds(code::LEASE_TIME).unwrap_or(DEFAULT_LEASE_S) {
            INFINITE_S => None,
            seconds => Some(Times::of(
                seconds.max(MIN_LEASE_S),
                message.seconds(code::RENEWAL_TIME),
                message.seconds(code::REBINDING_TIME),
            )),
        };
        (self.address, self.prefix_length) = (address, prefix_length);
        self.server = message.address(code::SERVER_IDENTIFIER).unwrap_or(source);
        Some(())
    }

    /// Sets all other fields from an ACK. Returns whether its options are the same as before, lease times excluded.
    pub fn take_rest(&mut self, message: &Message<'_>) -> bool {
        let mut value = Value::new();
        if Feature::Mtu.is_enabled() {
            let least = if Feature::Ipv6.is_enabled() { IPV6_MTU } else { MIN_MTU };
            let mtu = message.number(code::INTERFACE_MTU).filter(|mtu| *mtu >= MIN_MTU);
            self.mtu = mtu.and_then(|mtu| NonZero::new(mtu.max(least)));
        }
        take_servers(message, code::DOMAIN_NAME_SERVER, &mut value, &mut self.name_servers);
        if Feature::Clock.is_enabled() {
            take_servers(message, code::NTP_SERVERS, &mut value, &mut self.time_servers);
        }
        if Feature::Names.is_enabled() {
            self.take_names(message, &mut value);
        }
        routes::read(message, &mut value, &mut self.routes);
        let sum = message.sum();
        core::mem::replace(&mut self.sum, sum) == sum
    }

    /// Sets the host name and the search list.
    fn take_names(&mut self, message: &Message<'_>, value: &mut Value) {
        self.hostname.clear();
        message.whole(code::HOST_NAME, value);
        let _ = self.hostname.extend_from_slice(names::host(value));
        message.whole(code::DOMAIN_SEARCH, value);
        self.search.clear();
        if names::search_list(value, &mut self.search).is_none() {
            self.search.clear();
        }
        if self.search.is_empty() {
            message.whole(code::DOMAIN_NAME, value);
            names::domains(value, &mut self.search);
        }
    }

    /// Returns the default gateway, if the lease has one.
    pub fn router(&self) -> Option<Address> {
        self.routes.iter().find(|route| route.prefix_length == 0).map(|route| route.gateway)
    }
}

impl Times {
    /// Returns the server's T1 and T2, each replaced by its default, a half and seven eighths of the lease time (RFC 2131
    /// §4.4.5), if it is absent or out of order.
    fn of(expiry_s: u32, renewal_s: Option<u32>, rebinding_s: Option<u32>) -> Self {
        let rebinding_s = rebinding_s.filter(|time| *time > 0 && *time < expiry_s).unwrap_or(expiry_s - expiry_s / 8);
        let renewal_s =
            renewal_s.filter(|time| *time > 0 && *time < rebinding_s).unwrap_or((expiry_s / 2).min(rebinding_s));
        Self { renewal_s, rebinding_s, expiry_s }
    }
}

/// Returns the prefix length of the address of an OFFER or ACK; `None` if no host can use the address, or if the lease time is 0.
#[inline(never)]
pub(super) fn prefix_length(message: &Message<'_>) -> Option<u8> {
    let address = message.yiaddr();
    let prefix_length =
        message.address(code::SUBNET_MASK).and_then(ipv4::prefix_length).unwrap_or(ipv4::class_prefix_length(address));
    let is_usable = address.is_host()
        && !is_subnet_or_broadcast(address, prefix_length)
        && message.seconds(code::LEASE_TIME) != Some(0);
    is_usable.then_some(prefix_length)
}

/// Sets `servers` from an option. `value` is scratch space.
fn take_servers(message: &Message<'_>, code: u8, value: &mut Value, servers: &mut Servers) {
    message.whole(code, value);
    servers.clear();
    for host in ipv4::hosts(value) {
        let _ = servers.push(host);
    }
}

/// Whether an address is the first or last of its subnet, which no host can use. /31 (RFC 3021) and /32 have no such addresses.
fn is_subnet_or_broadcast(address: Address, prefix_length: u8) -> bool {
    let host_mask = u32::MAX.checked_shr(u32::from(prefix_length)).unwrap_or(0);
    let host = address.bits() & host_mask;
    prefix_length < 31 && (host == 0 || host == host_mask)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::wire::tests::reply;
    use super::*;
    use std::vec::Vec;

    const SOURCE: Address = Address([10, 0, 0, 9]);

    fn read(yiaddr: [u8; 4], options: &[u8]) -> Option<Lease> {
        let options: Vec<u8> = [&[53, 1, 5], options].concat();
        let bytes = reply(1, yiaddr, &options);
        let message = Message::parse(&bytes).unwrap();
        let mut lease = Lease::default();
        lease.take_address(&message, SOURCE)?;
        assert!(!lease.take_rest(&message) && lease.take_rest(&message), "only the second call finds the same options");
        Some(lease)
    }

    #[test]
    fn a_full_lease_is_read() {
        let options = [
            1, 4, 255, 255, 255, 0, 3, 8, 0, 0, 0, 0, 10, 0, 0, 1, 6, 16, 0, 0, 0, 0, 10, 0, 0, 2, 127, 0, 0, 1, 8, 8,
            8, 8, 54, 4, 10, 0, 0, 3, 51, 4, 0, 0, 0, 100, 58, 4, 0, 0, 0, 20, 59, 4, 0, 0, 0, 90,
        ];
        let lease = read([10, 0, 0, 5], &options).unwrap();
        assert_eq!((lease.prefix_length, lease.server), (24, Address([10, 0, 0, 3])));
        assert_eq!(lease.router(), Some(Address([10, 0, 0, 1])), "zeros are skipped");
        assert_eq!(lease.name_servers, [Address([10, 0, 0, 2]), Address([8, 8, 8, 8])]);
        assert_eq!(lease.times, Some(Times { renewal_s: 20, rebinding_s: 90, expiry_s: 100 }));
    }

    #[test]
    fn leases_of_real_servers_match_their_configuration() {
        use super::super::wire::tests::{GOLDEN, message_of};
        let (offers, acks): (Vec<_>, Vec<_>) = GOLDEN[2..].iter().partition(|golden| golden.name.ends_with("-offer"));
        assert_eq!(offers.len(), acks.len());
        for (offer, ack) in offers.into_iter().zip(acks) {
            let mut lease = Lease::default();
            for golden in [offer, ack] {
                let message = Message::parse(message_of(golden)).unwrap();
                assert!(lease.take_address(&message, SOURCE).is_some(), "{}", golden.name);
                let _ = lease.take_rest(&message);
                let network = (lease.prefix_length, lease.server, lease.times.map(|times| times.expiry_s));
                assert_eq!(network, (24, Address([10, 55, 0, 1]), Some(3600)), "{}", golden.name);
                assert_eq!(lease.router(), Some(Address([10, 55, 0, 254])), "{}", golden.name);
                assert_eq!(lease.routes.len(), 2, "{}", golden.name);
                assert_eq!(lease.name_servers, [Address([10, 55, 0, 2]), Address([10, 55, 0, 3])], "{}", golden.name);
                assert_eq!(lease.time_servers, [Address([10, 55, 0, 6])], "{}", golden.name);
                assert_eq!(&lease.search[..], b" a.test b.a.test", "{}", golden.name);
            }
        }
    }

    #[test]
    fn absent_options_have_defaults() {
        let lease = read([172, 16, 5, 5], &[]).unwrap();
        assert_eq!((lease.prefix_length, lease.server, lease.router()), (16, SOURCE, None));
        assert_eq!((lease.mtu, &lease.search[..], &lease.hostname[..]), (None, &b""[..], &b""[..]));
        assert_eq!(lease.times, Some(Times { renewal_s: 1800, rebinding_s: 3150, expiry_s: 3600 }));
    }

    #[test]
    fn names_times_and_the_mtu_are_read() {
        let search = b"\x01a\x04test\x00";
        let text = |code: u8, text: &[u8]| [&[code, text.len() as u8], text].concat();
        let lease = |options: &[&[u8]]| read([10, 0, 0, 5], &options.concat()).unwrap();
        let all = lease(&[
            &text(12, b"node7.example.test\0"),
            &text(15, b"example.test"),
            &text(119, search),
            &[26, 2, 0x05, 0x78, 42, 8, 10, 0, 0, 3, 0, 0, 0, 0],
        ]);
        assert_eq!((&all.hostname[..], &all.search[..]), (&b"node7"[..], &b" a.test"[..]));
        assert_eq!((all.mtu, &all.time_servers[..]), (NonZero::new(1400), &[Address([10, 0, 0, 3])][..]));
        let broken = lease(&[&text(15, b"example.test"), &text(119, &search[..5])]);
        assert_eq!(&broken.search[..], b" example.test", "a malformed list counts as absent");
        for (mtu, expected) in
            [(0_u16, None), (67, None), (575, None), (576, Some(1280)), (1281, Some(1281)), (65535, Some(65535))]
        {
            let [m0, m1] = mtu.to_be_bytes();
            assert_eq!(lease(&[&[26, 2, m0, m1]]).mtu.map(NonZero::get), expected);
        }
        assert_eq!(lease(&[&[26, 0]]).mtu, None);
    }

    #[test]
    fn addresses_that_no_host_can_use_are_refused() {
        let mask = [1, 4, 255, 255, 255, 0];
        for address in [
            [0; 4],
            [127, 0, 0, 5],
            [224, 0, 0, 1],
            [239, 255, 255, 254],
            [240, 0, 0, 0],
            [255, 255, 255, 255],
            [10, 0, 0, 0],
            [10, 0, 0, 255],
        ] {
            assert!(read(address, &mask).is_none(), "{address:?}");
        }
        for address in [[240, 0, 0, 1], [250, 1, 2, 3], [255, 255, 254, 254]] {
            let lease = read(address, &[&mask[..], &[3, 4, 240, 0, 0, 9, 6, 4, 255, 0, 0, 1]].concat()).unwrap();
            assert_eq!((lease.address, lease.router()), (Address(address), Some(Address([240, 0, 0, 9]))));
            assert_eq!(lease.name_servers, [Address([255, 0, 0, 1])]);
        }
        assert!(read([10, 0, 0, 0], &[1, 4, 255, 255, 255, 254]).is_some(), "RFC 3021");
        assert!(read([10, 0, 0, 0], &[1, 4, 255, 255, 255, 255]).is_some());
    }

    #[test]
    fn options_of_length_zero_count_as_absent() {
        let absent = read([172, 16, 5, 5], &[]).unwrap();
        for code in [1, 3, 6, 12, 15, 26, 42, 51, 54, 58, 59, 119, 121, 249] {
            let lease = read([172, 16, 5, 5], &[code, 0]).unwrap();
            let seen = |lease: &Lease| std::format!("{:?}", Lease { sum: 0, ..lease.clone() });
            assert_eq!(seen(&lease), seen(&absent), "option {code}");
        }
    }

    #[test]
    fn an_invalid_mask_counts_as_absent() {
        for mask in
            [&[1, 4, 255, 0, 255, 0][..], &[1, 4, 0, 0, 0, 0], &[1, 3, 255, 255, 255], &[1, 5, 255, 255, 255, 0, 0]]
        {
            for (address, prefix_length) in [([10, 1, 2, 3], 8), ([172, 16, 5, 5], 16), ([192, 168, 1, 5], 24)] {
                assert_eq!(read(address, mask).unwrap().prefix_length, prefix_length, "{mask:?}");
            }
        }
    }

    #[test]
    fn the_first_three_dns_servers_with_usable_addresses_are_kept() {
        let servers =
            |value: &[u8]| read([10, 0, 0, 5], &[&[6, value.len() as u8], value].concat()).unwrap().name_servers;
        let unusable = [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 251]].concat();
        assert_eq!(servers(&[&unusable[..], &[10, 0, 0, 2]].concat()), [Address([10, 0, 0, 2])]);
        assert_eq!(servers(&[10, 0, 0, 2, 9]), [Address([10, 0, 0, 2])], "five bytes");
        assert_eq!(servers(&[10, 0, 0]), []);
        let many: Vec<u8> = (1..=60).flat_map(|number| [10, 0, 0, number]).collect();
        assert_eq!(servers(&many), [1, 2, 3].map(|number| Address([10, 0, 0, number])));
    }

    #[test]
    fn a_lease_of_one_second_is_raised_to_ten() {
        let times = read([10, 0, 0, 5], &[51, 4, 0, 0, 0, 1]).unwrap().times.unwrap();
        assert_eq!(times, Times { renewal_s: 5, rebinding_s: 9, expiry_s: 10 });
        for seconds in [0x7fff_ffff, 0xffff_fffe_u32] {
            let times = read([10, 0, 0, 5], &[&[51, 4][..], &seconds.to_be_bytes()].concat()).unwrap().times.unwrap();
            assert_eq!((times.renewal_s, times.expiry_s), (seconds / 2, seconds));
        }
        assert_eq!(read([10, 0, 0, 5], &[51, 2, 0, 9]).unwrap().times.unwrap().expiry_s, DEFAULT_LEASE_S);
    }

    #[test]
    fn lease_times_are_always_in_order() {
        for (lease, t1, t2) in
            [(100, 0, 0), (100, 90, 50), (100, 50, 50), (100, 200, 300), (1, 1, 1), (u32::MAX - 1, 5, u32::MAX)]
        {
            let mut options = std::vec![];
            for (code, value) in [(51u8, lease), (58, t1), (59, t2)] {
                options.extend([code, 4]);
                options.extend(u32::to_be_bytes(value));
            }
            let times = read([10, 0, 0, 5], &options).unwrap().times.unwrap();
            assert!(0 < times.renewal_s && times.renewal_s <= times.rebinding_s && times.rebinding_s < times.expiry_s);
            assert!(times.expiry_s >= MIN_LEASE_S);
        }
    }

    #[test]
    fn a_lease_time_of_zero_is_refused_and_all_ones_is_infinite() {
        assert!(read([10, 0, 0, 5], &[51, 4, 0, 0, 0, 0]).is_none());
        assert_eq!(read([10, 0, 0, 5], &[51, 4, 255, 255, 255, 255]).unwrap().times, None);
    }
}
