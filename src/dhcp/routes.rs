//! The routes of a lease: classless static routes (RFC 3442), or the default route of the router option.

use super::wire::{Message, Value, code};
use crate::ipv4::{self, Address};

/// The limit of routes of a lease; further ones are dropped.
pub const MAX_ROUTES: usize = 32;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination network, its host bits zero.
    pub destination: Address,
    /// The prefix length of the destination: 0 to 32, 0 for the default route.
    pub prefix_length: u8,
    /// The gateway; 0.0.0.0 if the destination is on the link.
    pub gateway: Address,
}

/// The routes of a lease.
pub type Routes = crate::bounded::Vec<Route, MAX_ROUTES>;

/// Reads the routes from options 121, 249 or 3, in this order of preference. `value` is scratch space.
///
/// Classless routes replace the router option, even if they have no default route (RFC 3442). A malformed list counts as absent.
pub fn read(message: &Message<'_>, value: &mut Value, routes: &mut Routes) {
    for code in &[code::CLASSLESS_ROUTES, code::CLASSLESS_ROUTES_MICROSOFT] {
        message.whole(*code, value);
        routes.clear();
        if classless(value, routes).is_some() && !routes.is_empty() {
            return;
        }
    }
    routes.clear();
    message.whole(code::ROUTER, value);
    if let Some(gateway) = ipv4::hosts(value).next() {
        let _ = routes.push(Route { destination: Address::UNSPECIFIED, prefix_length: 0, gateway });
    }
}

/// Reads descriptors: the prefix length, the significant bytes of the destination, the router. Those that do not fit are dropped.
/// Returns `None` for a malformed list.
fn classless(value: &[u8], routes: &mut Routes) -> Option<()> {
    let mut rest = value;
    while let ([prefix_length @ 0..=32, after @ ..], false) = (rest, routes.is_full()) {
        let (destination, after) = after.split_at_checked(usize::from(prefix_length.div_ceil(8)))?;
        let (gateway, after) = after.split_first_chunk()?;
        let mut bytes = [0; 4];
        for (byte, given) in bytes.iter_mut().zip(destination) {
            *byte = *given;
        }
        let host_bits = u32::MAX.checked_shr(u32::from(*prefix_length)).unwrap_or(0);
        let destination = Address((u32::from_be_bytes(bytes) & !host_bits).to_be_bytes());
        let _ = routes.push(Route { destination, prefix_length: *prefix_length, gateway: Address(*gateway) });
        rest = after;
    }
    (rest.is_empty() || routes.is_full()).then_some(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::wire::tests::reply;
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn shown(options: &[u8]) -> Vec<String> {
        let options: Vec<u8> = [&[53, 1, 5], options].concat();
        let (mut value, mut routes) = (Value::new(), Routes::new());
        read(&Message::parse(&reply(1, [10, 0, 0, 5], &options)).unwrap(), &mut value, &mut routes);
        let address = |address: Address| address.0.map(|byte| byte.to_string()).join(".");
        let text = |route: &Route| {
            std::format!("{}/{} {}", address(route.destination), route.prefix_length, address(route.gateway))
        };
        routes.iter().map(text).collect()
    }

    const ROUTER: [u8; 6] = [3, 4, 10, 0, 0, 1];

    #[test]
    fn a_router_is_the_default_route() {
        assert_eq!(shown(&ROUTER), ["0.0.0.0/0 10.0.0.1"]);
        assert_eq!(shown(&[3, 12, 0, 0, 0, 0, 10, 0, 0, 2, 10, 0, 0, 3]), ["0.0.0.0/0 10.0.0.2"], "zeros are skipped");
        assert_eq!(shown(&[3, 5, 10, 0, 0, 1, 7]), ["0.0.0.0/0 10.0.0.1"], "a trailing byte is ignored");
        assert_eq!(shown(&[3, 4, 0, 0, 0, 0]), [""; 0]);
        assert_eq!(shown(&[3, 0]), [""; 0]);
    }

    #[test]
    fn classless_routes_replace_the_router() {
        let routes = [121, 14, 32, 10, 0, 0, 9, 0, 0, 0, 0, 0, 10, 0, 0, 9];
        let expected = ["10.0.0.9/32 0.0.0.0", "0.0.0.0/0 10.0.0.9"];
        assert_eq!(shown(&[&ROUTER[..], &routes].concat()), expected, "as in the clouds of Google and Hetzner");
        let without_default = [121, 8, 24, 192, 168, 7, 10, 0, 0, 2];
        assert_eq!(shown(&[&ROUTER[..], &without_default].concat()), ["192.168.7.0/24 10.0.0.2"]);
        let microsoft = [249, 5, 0, 10, 0, 0, 3];
        assert_eq!(shown(&[&ROUTER[..], &microsoft].concat()), ["0.0.0.0/0 10.0.0.3"]);
        assert_eq!(shown(&[&microsoft[..], &without_default].concat()), ["192.168.7.0/24 10.0.0.2"]);
        let host_bits = [121, 8, 20, 10, 1, 0xff, 10, 0, 0, 2];
        assert_eq!(shown(&host_bits), ["10.1.240.0/20 10.0.0.2"]);
        let halves = [121, 12, 1, 0, 10, 0, 0, 2, 1, 128, 10, 0, 0, 3];
        assert_eq!(shown(&[&ROUTER[..], &halves].concat()), ["0.0.0.0/1 10.0.0.2", "128.0.0.0/1 10.0.0.3"]);
        let split = [121, 3, 24, 192, 168, 121, 5, 7, 10, 0, 0, 2];
        assert_eq!(shown(&split), ["192.168.7.0/24 10.0.0.2"], "RFC 3396");
    }

    #[test]
    fn a_malformed_list_counts_as_absent() {
        for list in [
            &[121, 5, 33, 10, 0, 0, 2][..],
            &[121, 5, 255, 10, 0, 0, 2],
            &[121, 4, 0, 10, 0, 0],
            &[121, 1, 24],
            &[121, 0],
        ] {
            assert_eq!(shown(&[&ROUTER[..], list].concat()), ["0.0.0.0/0 10.0.0.1"], "{list:?}");
        }
    }

    #[test]
    fn routes_beyond_the_limit_are_dropped() {
        let mut options = Vec::new();
        for part in 0..5 {
            options.extend([121, 200]);
            options.extend((0..25).flat_map(|number| [24, 10, part, number, 10, 0, 0, 2]));
        }
        // The 1000 bytes of value are truncated at 512.
        assert_eq!(shown(&options).len(), MAX_ROUTES);
        assert_eq!(shown(&[&[121, 248][..], &options[2..202], &options[204..252]].concat()).len(), 31);
    }
}
