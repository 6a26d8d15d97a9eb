//! Entries that the format cannot hold, or that the kernel would skip silently.

use std::io;

use super::{COMPONENT_MAX_BYTES, NAME_MAX_BYTES, TRAILER};

/// Why an entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The name is empty, absolute, or has a component that is empty, `.` or `..`.
    #[error("\"{0}\" is not a valid name in an archive: it must be relative, without \".\" and \"..\"")]
    Name(String),
    /// The name, or one component of it, is longer than the kernel accepts.
    #[error("\"{0}\" is longer than the kernel accepts (4095 bytes in all, 255 between slashes)")]
    LongName(String),
    /// The target of a symbolic link is empty, longer than the kernel accepts, or contains a NUL.
    #[error("the target of symbolic link \"{0}\" is empty, over 4095 bytes, or contains a NUL")]
    Target(String),
    /// The kernel would truncate the device number.
    #[error("the number of device \"{0}\" does not fit 12 bits of major and 20 of minor")]
    Device(String),
    /// The `filesize` field has 32 bits.
    #[error("\"{name}\" has {bytes} bytes; a file in a cpio archive must be smaller than 4 GiB")]
    LargeFile {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// A file is shorter than its size.
    #[error("\"{0}\" became shorter while it was read")]
    Shrunk(String),
    /// A file cannot be read to its end.
    #[error("\"{name}\" cannot be read: {error}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The archive cannot be written.
    #[error("{0}")]
    Write(io::Error),
}

/// Refuses a name that the kernel would not accept.
pub(super) fn check_name(name: &[u8]) -> Result<(), Refused> {
    let mut components = name.split(|byte| *byte == b'/');
    if components.clone().any(|component| matches!(component, b"" | b"." | b"..")) || name.contains(&0) {
        return Err(Refused::Name(text(name)));
    }
    if name.len() >= NAME_MAX_BYTES || components.any(|component| component.len() > COMPONENT_MAX_BYTES) {
        return Err(Refused::LongName(text(name)));
    }
    // An entry of this name ends the archive.
    if name == TRAILER {
        return Err(Refused::Name(text(name)));
    }
    Ok(())
}

/// Returns the name for a message; a long one is truncated.
pub(super) fn text(name: &[u8]) -> String {
    const SHOWN: usize = 64;
    let shown = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name));
    if name.len() > SHOWN { format!("{shown}…") } else { shown.into_owned() }
}
