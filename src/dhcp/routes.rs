//! The routes of a lease: classless ones (RFC 3442), or the one through its router.

use super::wire::{Message, Value, code};
use crate::ipv4::{self, Address};

/// Routes of a lease that are set.
pub const MAX_ROUTES: usize = 32;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination network: an address without host bits.
    pub destination: Address,
    /// The length of the destination's prefix, 0 for the default route.
    pub prefix_length: u8,
    /// The gateway; 0.0.0.0 when the destination is on the link itself.
    pub gateway: Address,
}

/// The routes of a lease.
pub type Routes = heapless::Vec<Route, MAX_ROUTES>;

/// Reads the routes, with `value` as room: classless ones take the place of the router, also when no default route is among
/// them. A list with a mistake in it counts as absent.
pub fn read(message: &Message<'_>, value: &mut Value, routes: &mut Routes) {
    for code in [code::CLASSLESS_ROUTES, code::CLASSLESS_ROUTES_MICROSOFT] {
        message.whole(code, value);
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

/// Descriptors: the prefix's length, as many bytes of the destination as it touches, the router. Those that there is no room
/// for are left out.
fn classless(value: &[u8], routes: &mut Routes) -> Option<()> {
    let mut rest = value;
    while let ([prefix_length @ 0..=32, behind @ ..], false) = (rest, routes.is_full()) {
        let (destination, behind) = behind.split_at_checked(usize::from(prefix_length.div_ceil(8)))?;
        let (gateway, behind) = behind.split_first_chunk()?;
        let mut bytes = [0; 4];
        for (byte, given) in bytes.iter_mut().zip(destination) {
            *byte = *given;
        }
        let host_bits = u32::MAX.checked_shr(u32::from(*prefix_length)).unwrap_or(0);
        let destination = Address((u32::from_be_bytes(bytes) & !host_bits).to_be_bytes());
        let _ = routes.push(Route { destination, prefix_length: *prefix_length, gateway: Address(*gateway) });
        rest = behind;
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
        assert_eq!(shown(&[3, 12, 0, 0, 0, 0, 10, 0, 0, 2, 10, 0, 0, 3]), ["0.0.0.0/0 10.0.0.2"], "zeros are nobody");
        assert_eq!(shown(&[3, 5, 10, 0, 0, 1, 7]), ["0.0.0.0/0 10.0.0.1"], "what is left over is nothing");
        assert_eq!(shown(&[3, 4, 0, 0, 0, 0]), [""; 0]);
        assert_eq!(shown(&[3, 0]), [""; 0]);
    }

    #[test]
    fn classless_routes_take_the_routers_place() {
        let routes = [121, 14, 32, 10, 0, 0, 9, 0, 0, 0, 0, 0, 10, 0, 0, 9];
        let expected = ["10.0.0.9/32 0.0.0.0", "0.0.0.0/0 10.0.0.9"];
        assert_eq!(shown(&[&ROUTER[..], &routes].concat()), expected, "as Google's and Hetzner's clouds have it");
        let without_default = [121, 8, 24, 192, 168, 7, 10, 0, 0, 2];
        assert_eq!(shown(&[&ROUTER[..], &without_default].concat()), ["192.168.7.0/24 10.0.0.2"]);
        let microsofts = [249, 5, 0, 10, 0, 0, 3];
        assert_eq!(shown(&[&ROUTER[..], &microsofts].concat()), ["0.0.0.0/0 10.0.0.3"]);
        assert_eq!(shown(&[&microsofts[..], &without_default].concat()), ["192.168.7.0/24 10.0.0.2"]);
        let host_bits = [121, 8, 20, 10, 1, 0xff, 10, 0, 0, 2];
        assert_eq!(shown(&host_bits), ["10.1.240.0/20 10.0.0.2"]);
        let halves = [121, 12, 1, 0, 10, 0, 0, 2, 1, 128, 10, 0, 0, 3];
        assert_eq!(shown(&[&ROUTER[..], &halves].concat()), ["0.0.0.0/1 10.0.0.2", "128.0.0.0/1 10.0.0.3"]);
        let split = [121, 3, 24, 192, 168, 121, 5, 7, 10, 0, 0, 2];
        assert_eq!(shown(&split), ["192.168.7.0/24 10.0.0.2"], "RFC 3396");
    }

    #[test]
    fn a_list_with_a_mistake_counts_as_absent() {
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
    fn of_many_routes_those_that_fit_are_set() {
        let mut options = Vec::new();
        for part in 0..5 {
            options.extend([121, 200]);
            options.extend((0..25).flat_map(|number| [24, 10, part, number, 10, 0, 0, 2]));
        }
        // And 1000 bytes of value are cut at 512.
        assert_eq!(shown(&options).len(), MAX_ROUTES);
        assert_eq!(shown(&[&[121, 248][..], &options[2..202], &options[204..252]].concat()).len(), 31);
    }
}
