//! Standard outputs that take nothing.

use std::fs::OpenOptions;
use std::process::Stdio;

/// A pipe whose reader has left.
///
/// # Panics
/// When there is no pipe to be had.
pub fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

/// A disk without room.
///
/// # Panics
/// Without a /dev/full.
pub fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("full(4)").into()
}
