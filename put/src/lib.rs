//! The library of `put`: writes a disk image to a disk so that an incomplete or wrong image never boots.
//!
//! The order is the promise. [`target`] opens the disk exclusively, and [`inputs`] the files of this machine; [`job`] wipes the partition tables of the old system, then
//! streams: [`feed`] downloads and hashes in a thread, [`decode`] decompresses, [`write`] writes in a thread. The first and the last
//! MiB stay in memory until digest, signature and lengths are right and what was written has been read back from the medium.
//! Until then no firmware and no kernel finds a table or a boot sector.
#![deny(unsafe_code)]

pub mod bmap;
pub mod booty;
mod check;
pub mod decode;
pub mod ending;
pub mod feed;
pub mod inputs;
pub mod job;
pub mod lines;
pub mod net;
pub mod options;
pub mod progress;
pub mod report;
pub mod table;
pub mod target;
pub mod write;

/// The unsafe code of the project is in one folder.
#[allow(unsafe_code)]
#[path = "../../src/pid1/sys/provision.rs"]
mod sys;

/// The bytes at both ends of a disk that are wiped first and written last: partition tables and boot sectors.
pub const END_BYTES: u64 = 1 << 20;
