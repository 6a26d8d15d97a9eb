//! What can go wrong with a machine, told with all that is needed to see why.

use std::fmt;
use std::io;

use super::command::PROGRAM;

/// Why a machine did not do what was asked.
#[derive(thiserror::Error)]
pub enum Error {
    /// QEMU is not installed.
    #[error("{PROGRAM}: not found; install it: apt-get install qemu-system-x86")]
    Missing,
    /// QEMU cannot be started.
    #[error("{PROGRAM}: cannot be started: {0}")]
    Start(io::Error),
    /// The machine did not say or do what was waited for.
    #[error("{what}\n--- command\n{command}\n--- console\n{console}\n--- QEMU's own words\n{messages}")]
    Failed {
        /// What was waited for.
        what: String,
        /// The command line.
        command: String,
        /// The whole console.
        console: String,
        /// QEMU's standard error.
        messages: String,
    },
    /// QEMU stopped the machine.
    #[error("an internal error stopped the machine ({0}); --accel tcg runs it without KVM")]
    Stopped(String),
    /// QEMU's control socket.
    #[error("QEMU's control socket: {0}")]
    Control(io::Error),
}

/// As [`fmt::Display`]: tests unwrap results, and a console on one line with escapes helps nobody.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
