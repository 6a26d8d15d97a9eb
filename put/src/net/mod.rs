//! HTTP/1.1 over TCP and TLS, for downloads that must be complete.
//!
//! The client is our own instead of a crate's client: ureq with the same parts adds 270 kB to the program.

pub mod download;
pub mod http;
pub mod resolve;
pub mod tls;
pub mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Settings of all connections.
pub struct Net {
    /// The time without a byte after which a connection is given up.
    pub timeout: Duration,
    /// Attempts without progress until a download is given up.
    pub attempts: u32,
    /// Whether each failed attempt is reported.
    pub is_verbose: bool,
    /// The certificates of the authorities; without it the system's.
    pub authorities: Option<PathBuf>,
    tls: OnceLock<Arc<rustls::ClientConfig>>,
}

impl Net {
    /// Returns settings with this time limit, number of attempts and file of certificates.
    pub fn new(timeout: Duration, attempts: u32, authorities: Option<PathBuf>, is_verbose: bool) -> Self {
        Self { timeout, attempts, authorities, is_verbose, tls: OnceLock::new() }
    }
}

/// A failure of a request.
#[derive(Debug)]
pub enum Error {
    /// Another attempt may succeed: a lost connection, a busy server.
    Temporary(String),
    /// No attempt will succeed.
    Permanent(String),
}

impl Error {
    /// Returns the message.
    pub fn into_message(self) -> String {
        match self {
            Self::Temporary(message) | Self::Permanent(message) => message,
        }
    }

    /// Puts a text before the message.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        match self {
            Self::Temporary(message) => Self::Temporary(format!("{place}: {message}")),
            Self::Permanent(message) => Self::Permanent(format!("{place}: {message}")),
        }
    }
}
