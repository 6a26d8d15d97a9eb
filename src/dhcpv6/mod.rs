//! A DHCPv6 client (RFC 8415) without I/O: it takes messages, times and the flags of router advertisements, and returns actions.
//!
//! [`wire`] parses messages, and [`client`] is the state machine. One address (IA_NA), DNS servers and a search list (RFC 3646). Out of
//! scope: prefixes (IA_PD), temporary addresses, Reconfigure, authentication, and unicast to a server.

pub mod client;
pub mod wire;

/// The UDP port of a client (RFC 8415 §7.2).
pub const CLIENT_PORT: u16 = 546;
/// The UDP port of servers and relays (RFC 8415 §7.2).
pub const SERVER_PORT: u16 = 547;
/// The group of all servers and relays on a link (RFC 8415 §7.1), ff02::1:2.
pub const SERVERS: crate::ipv6::Address = crate::ipv6::Address([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);
