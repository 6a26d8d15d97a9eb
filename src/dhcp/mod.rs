//! A DHCP client (RFC 2131, options RFC 2132) without I/O: bytes and time in, bytes and decisions out.
//!
//! [`wire`] reads and writes messages, [`lease`] checks what an ACK grants, with [`routes`] and [`names`], [`client`] is the
//! state machine.
//! Left out on purpose: BOOTP replies, INFORM, FORCERENEW (RFC 3203), relay options, vendor options.

pub mod client;
pub mod lease;
pub mod names;
pub mod routes;
pub mod wire;

/// The port of a server (RFC 2131 §4.1).
pub const SERVER_PORT: u16 = 67;
/// The port of a client.
pub const CLIENT_PORT: u16 = 68;
