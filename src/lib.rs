//! The pure half of whit: what the init computes, without a system call and without `unsafe`.
//!
//! Goals, highest first:
//! 1. **Total.** Every function returns for every input: PID 1 must not panic.
//! 2. **Small.** No heap, no `core::fmt`; every capacity is a named constant.
//! 3. **Readable** beside the standard that each module names.
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
