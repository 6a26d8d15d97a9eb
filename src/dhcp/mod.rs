//! A DHCP client (RFC 2131, options RFC 2132) without I/O: it takes messages and times, and returns messages and actions.
//!
//! [`wire`] parses and encodes messages. [`lease`], [`routes`] and [`names`] validate the options of an ACK. [`client`] is the
//! state machine. Out of scope: BOOTP replies, INFORM, FORCERENEW (RFC 3203), relay options, vendor options.

pub mod client;
pub mod lease;
pub mod names;
pub mod routes;
pub mod wire;

/// The UDP port of a server (RFC 2131 §4.1).
pub const SERVER_PORT: u16 = 67;
/// The UDP port of a client (RFC 2131 §4.1).
pub const CLIENT_PORT: u16 = 68;
