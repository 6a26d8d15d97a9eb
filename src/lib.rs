//! The library of whit, a very small Linux init: parsers, encoders and state machines without system calls and `unsafe`. The
//! binary (`src/pid1`) performs the effects.
//!
//! Goals, from highest to lowest priority:
//! 1. **Total.** Every function returns for every input: a panic of PID 1 stops the machine.
//! 2. **Small.** There is no heap and no `core::fmt`. Every capacity is a named constant.
//! 3. **Readable.** Each module names its standard, and reads alongside it.
//!
//! # Where to begin
//!
//! | to read about | begin with |
//! |---|---|
//! | the configuration of a boot | [`cmdline`] and [`record`], then [`options`] and its table |
//! | the DHCP client | [`dhcp::client`], the state machine, on [`dhcp::wire`], the messages |
//! | routes, addresses and the kernel's messages about them | [`ipv4`], [`ipv6`], [`rtnetlink`] |
//! | how a root is found | [`root`], then [`probe`] for labels and UUIDs |
//! | the workload | [`argv`] for its arguments and environment, [`passwd`] for its user, [`status`] for its exit code |
//! | what the init and the host tools agree on | [`contract`] and [`frame`] |
//!
//! # Parsing in place
//!
//! There is no heap, so a parser borrows its input. A run record is decoded in the buffer that it was read into:
//!
//! ```
//! use whit::record::Record;
//!
//! let mut file = *b"# the image's configuration\nuser www\nenv GREETING=two\\nlines\n";
//! let mut lines = Record::decode(&mut file).lines();
//!
//! let user = lines.next().unwrap();
//! assert_eq!((user.number, user.key, user.value), (2, &b"user"[..], &b"www"[..]));
//! let variable = lines.next().unwrap();
//! assert_eq!(variable.value, b"GREETING=two\nlines");
//! assert!(lines.next().is_none());
//! ```
//!
//! # State machines without I/O
//!
//! A state machine takes events and the time, and returns an action. The caller performs it. So a test runs years of leases in
//! microseconds. A DHCP client sends a DISCOVER once the link is up, and again at its deadline if no server answers:
//!
//! ```
//! use whit::dhcp::client::{Action, Client, Destination, FIRST_GAP_MS, State, Timing};
//!
//! let timing = Timing { ipv6_only: false, first_gap_ms: FIRST_GAP_MS, probe_ms: 0 };
//! let mut client = Client::new(&[0x52, 0x54, 0, 0x12, 0x34, 0x56], 7, timing, 0);
//! assert_eq!(client.timeout(0), Action::BringUp);
//! assert_eq!(client.link(20, true), Action::Send);
//! assert_eq!((client.state(), client.destination()), (State::Selecting, Destination::Broadcast));
//!
//! let deadline_ms = client.deadline_ms();
//! assert!(deadline_ms > 20);
//! assert_eq!(client.timeout(deadline_ms), Action::Send);
//! ```
//!
//! # Features
//!
//! Each feature of the init is a Cargo feature ([`features`]). [`features::Feature::is_enabled`] is constant, so the compiler drops
//! the code of a feature that is left out.
#![no_std]
#![forbid(unsafe_code)]

pub mod argv;
pub mod arp;
pub mod bounded;
pub mod caps;
pub mod cmdline;
pub mod contract;
pub mod dhcp;
pub mod dhcpv6;
pub mod dirent;
pub mod error;
pub mod features;
pub mod frame;
pub mod http;
pub mod interpreter;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod member;
pub mod modalias;
pub mod mounts;
pub mod notify;
pub mod options;
pub mod parameters;
pub mod passwd;
pub mod pnp;
pub mod probe;
#[cfg(test)]
mod random;
pub mod record;
pub mod rlimit;
pub mod root;
pub mod rootfs;
pub mod rtnetlink;
pub mod sntp;
pub mod stage;
pub mod status;
pub mod text;
pub mod time;
pub mod verity;
pub mod volume;
