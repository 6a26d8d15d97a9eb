//! What an archive has no place for, or the kernel would skip without a word.

use std::io;

use super::{COMPONENT_MAX_BYTES, NAME_MAX_BYTES, TRAILER};

/// Why an entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The name is empty, absolute, or has a component that is empty, `.` or `..`.
    #[error("\"{0}\" is not a name inside an archive, which is relative and without \".\" and \"..\"")]
    Name(String),
    /// The name, or one component of it, is longer than the kernel takes.
    #[error("\"{0}\" is longer than the kernel takes (4095 bytes in all, 255 between slashes)")]
    LongName(String),
    /// A symbolic link leads nowhere, or further than the kernel takes.
    #[error("the target of symbolic link \"{0}\" is not of 1 to 4095 bytes, or has a NUL in it")]
    Target(String),
    /// The kernel would make another device.
    #[error("the number of device \"{0}\" does not fit 12 bits of major and 20 of minor")]
    Device(String),
    /// The `filesize` field has 32 bits.
    #[error("\"{name}\" has {bytes} bytes, and a cpio archive takes less than 4 GiB a file")]
    LargeFile {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// A file ended before its size.
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

/// Refuses a name that the kernel would not take.
pub(super) fn check_name(name: &[u8]) -> Result<(), Refused> {
    let mut components = name.split(|byte| *byte == b'/');
    if components.clone().any(|component| matches!(component, b"" | b"." | b"..")) || name.contains(&0) {
        return Err(Refused::Name(text(name)));
    }
    if name.len() >= NAME_MAX_BYTES || components.any(|component| component.len() > COMPONENT_MAX_BYTES) {
        return Err(Refused::LongName(text(name)));
    }
    // A file of this name would end the archive for every reader.
    if name == TRAILER {
        return Err(Refused::Name(text(name)));
    }
    Ok(())
}

/// The name for a message: long ones are cut.
pub(super) fn text(name: &[u8]) -> String {
    const SHOWN: usize = 64;
    let shown = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name));
    if name.len() > SHOWN { format!("{shown}…") } else { shown.into_owned() }
}
