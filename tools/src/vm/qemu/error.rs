//! Errors of a machine, with the context for finding the cause.

use std::fmt;
use std::io;

use crate::programs::Program;

/// Why an operation on a machine failed.
#[derive(thiserror::Error)]
pub enum Error {
    /// QEMU is not installed.
    #[error("{}: not found; install it: apt-get install {}", .0.name, .0.package)]
    Missing(Program),
    /// QEMU cannot be started.
    #[error("{name}: cannot be started: {error}", name = .program.name)]
    Start {
        /// The program.
        program: Program,
        /// Why.
        error: io::Error,
    },
    /// The machine did not reach an expected state.
    #[error("{what}\n--- command\n{command}\n--- console\n{console}\n--- messages of QEMU\n{messages}")]
    Failed {
        /// The failed expectation.
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

/// The same as [`fmt::Display`]: tests unwrap results, and a console on one line with escapes is unreadable.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
