//! What a server grants, checked value by value: from an OFFER or ACK to something that can be configured.

use super::wire::{Message, code};
use crate::ipv4::{self, Address};

/// Name servers that are kept: as many as resolv.conf(5) has (MAXNS).
pub const MAX_NAME_SERVERS: usize = 3;
/// The lease of a server that names none.
const DEFAULT_LEASE_S: u32 = 3600;
/// The shortest lease that is believed: less would be all renewal.
const MIN_LEASE_S: u32 = 10;
/// RFC 2131 §3.3: this value is for ever.
const INFINITE_S: u32 = u32::MAX;

/// Name servers.
pub type NameServers = heapless::Vec<Address, MAX_NAME_SERVERS>;

/// An address and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address that is ours.
    pub address: Address,
    /// The length of its subnet's prefix.
    pub prefix_length: u8,
    /// The server that leased it (option 54, else the sender).
    pub server: Address,
    /// The default router: the first usable one of option 3.
    pub router: Option<Address>,
    /// Name servers, best first (option 6).
    pub name_servers: NameServers,
    /// How long it holds.
    pub times: Option<Times>,
}

/// The times of a lease that ends, in seconds from the ACK: `renewal <= rebinding <= expiry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// T1: ask the server again.
    pub renewal_s: u32,
    /// T2: ask any server.
    pub rebinding_s: u32,
    /// The address is no longer ours.
    pub expiry_s: u32,
}

impl Lease {
    /// Reads the lease of an OFFER or ACK that came from `source`; `None` when its address cannot be used.
    pub fn read(message: &Message<'_>, source: Address) -> Option<Self> {
        let address = message.yiaddr();
        let prefix_length = message
            .address(code::SUBNET_MASK)
            .and_then(ipv4::prefix_length)
            .unwrap_or(ipv4::class_prefix_length(address));
        if !address.is_host() || is_subnet_or_broadcast(address, prefix_length) {
            return None;
        }
        let times = match message.seconds(code::LEASE_TIME).unwrap_or(DEFAULT_LEASE_S) {
            0 => return None,
            INFINITE_S => None,
            seconds => Some(Times::of(
                seconds.max(MIN_LEASE_S),
                message.seconds(code::RENEWAL_TIME),
                message.seconds(code::REBINDING_TIME),
            )),
        };
        Some(Self {
            address,
            prefix_length,
            server: message.address(code::SERVER_IDENTIFIER).unwrap_or(source),
            router: message.addresses(code::ROUTER).find(|router| router.is_host()),
            name_servers: name_servers(message),
            times,
        })
    }
}

/// The first three that a host may have; the rest has no place in resolv.conf.
fn name_servers(message: &Message<'_>) -> NameServers {
    let mut servers = NameServers::new();
    for server in message.addresses(code::DOMAIN_NAME_SERVER).filter(|server| server.is_host()) {
        let _ = servers.push(server);
    }
    servers
}

impl Times {
    /// T1 and T2 as the server says, or a half and seven eighths (RFC 2131 §4.4.5), when they are not in order.
    fn of(expiry_s: u32, renewal_s: Option<u32>, rebinding_s: Option<u32>) -> Self {
        let rebinding_s = rebinding_s.filter(|time| *time > 0 && *time < expiry_s).unwrap_or(expiry_s - expiry_s / 8);
        let renewal_s =
            renewal_s.filter(|time| *time > 0 && *time < rebinding_s).unwrap_or((expiry_s / 2).min(rebinding_s));
        Self { renewal_s, rebinding_s, expiry_s }
    }
}

/// The first and last address of a subnet are nobody's; /31 (RFC 3021) and /32 have no such.
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
        Lease::read(&Message::parse(&reply(1, yiaddr, &options)).unwrap(), SOURCE)
    }

    #[test]
    fn a_full_lease_is_read() {
        let options = [
            1, 4, 255, 255, 255, 0, 3, 8, 0, 0, 0, 0, 10, 0, 0, 1, 6, 16, 0, 0, 0, 0, 10, 0, 0, 2, 127, 0, 0, 1, 8, 8,
            8, 8, 54, 4, 10, 0, 0, 3, 51, 4, 0, 0, 0, 100, 58, 4, 0, 0, 0, 20, 59, 4, 0, 0, 0, 90,
        ];
        let lease = read([10, 0, 0, 5], &options).unwrap();
        assert_eq!((lease.prefix_length, lease.server), (24, Address([10, 0, 0, 3])));
        assert_eq!(lease.router, Some(Address([10, 0, 0, 1])), "zeros are skipped");
        assert_eq!(lease.name_servers, [Address([10, 0, 0, 2]), Address([8, 8, 8, 8])]);
        assert_eq!(lease.times, Some(Times { renewal_s: 20, rebinding_s: 90, expiry_s: 100 }));
    }

    #[test]
    fn what_is_absent_has_a_default() {
        let lease = read([172, 16, 5, 5], &[]).unwrap();
        assert_eq!((lease.prefix_length, lease.server, lease.router), (16, SOURCE, None));
        assert_eq!(lease.times, Some(Times { renewal_s: 1800, rebinding_s: 3150, expiry_s: 3600 }));
    }

    #[test]
    fn addresses_that_are_nobodys_are_refused() {
        let mask = [1, 4, 255, 255, 255, 0];
        for address in
            [[0; 4], [127, 0, 0, 5], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4], [10, 0, 0, 0], [10, 0, 0, 255]]
        {
            assert_eq!(read(address, &mask), None, "{address:?}");
        }
        assert!(read([10, 0, 0, 0], &[1, 4, 255, 255, 255, 254]).is_some(), "RFC 3021");
        assert!(read([10, 0, 0, 0], &[1, 4, 255, 255, 255, 255]).is_some());
    }

    #[test]
    fn times_are_always_in_order() {
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
    fn a_lease_of_zero_is_none_and_one_of_all_ones_is_for_ever() {
        assert_eq!(read([10, 0, 0, 5], &[51, 4, 0, 0, 0, 0]), None);
        assert_eq!(read([10, 0, 0, 5], &[51, 4, 255, 255, 255, 255]).unwrap().times, None);
    }
}
