//! Lines on standard output and standard error. A line that nobody reads is no reason to leave a disk half-written: put goes on, as after a
//! connection to the machine's console has ended.

use std::fmt::Display;
use std::io::{Write as _, stderr, stdout};

/// Writes a line to standard output.
pub fn show(line: impl Display) {
    let _ = writeln!(stdout(), "{line}");
}

/// Writes `put: LINE` to standard error.
pub fn warn(line: impl Display) {
    let _ = stderr().write_all(format!("put: {line}\n").as_bytes());
}
