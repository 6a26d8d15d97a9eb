//! Standard outputs on which every write fails.

use std::fs::OpenOptions;
use std::process::Stdio;

/// Returns a pipe without a reader: EPIPE.
pub fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

/// /dev/full: ENOSPC.
pub fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("full(4)").into()
}
