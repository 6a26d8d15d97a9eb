//! The library of whit, a very small Linux init: parsers, encoders and state machines without system calls and `unsafe`. The
//! binary (`src/pid1`) performs the effects.
//!
//! Goals, from highest to lowest priority:
//! 1. **Total.** Every function returns for every input: a panic of PID 1 stops the machine.
//! 2. **Small.** There is no heap and no `core::fmt`. Every capacity is a named constant.
//! 3. **Readable.** Each module names its standard, and reads alongside it.
#![no_std]
#![forbid(unsafe_code)]

pub mod argv;
pub mod arp;
pub mod caps;
pub mod cmdline;
pub mod contract;
pub mod dhcp;
pub mod dirent;
pub mod error;
pub mod features;
pub mod frame;
pub mod interpreter;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod modalias;
pub mod mounts;
pub mod notify;
pub mod options;
pub mod passwd;
pub mod pnp;
pub mod probe;
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
pub mod volume;
