//! A tar reader: POSIX.1-2017 `pax` ("pax Interchange Format"), ustar, GNU (tar.5, "GNU tar Archives") and v7.
//!
//! It reads one stream once, in order, and keeps only the current entry. Names, link targets and extended
//! attributes are bytes: a container's file names need not be UTF-8, and a PAX value may hold any byte, newlines
//! included. A damaged or truncated archive is an error with its position, never a shorter list of files.
//!
//! Not supported: multi-volume archives (an error), and text ACLs with user names (counted).

mod acl;
mod content;
mod error;
mod header;
mod number;
mod pax;
mod reader;
mod source;
mod sparse;

pub use content::Content;
pub(crate) use content::Position;
pub use error::{Error, Problem};
pub use reader::Reader;

/// The type of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its content follows in the archive.
    #[default]
    File,
    /// Another name for the entry called [`Entry::link`].
    HardLink,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A time, in seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds after `seconds`: 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// An extended attribute: full name (`security.capability`) and raw value.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// One entry, with all its headers and records applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name as stored: it may be absolute, hold `.` and `..`, or end in a slash.
    pub path: Vec<u8>,
    /// The type.
    pub kind: Kind,
    /// The permission bits, with set-user-id, set-group-id and sticky: the low 12 bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The modification time.
    pub mtime: Time,
    /// Length of the content in bytes, holes included; 0 for everything but files.
    pub size: u64,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, in the archive's order.
    pub attributes: Vec<Attribute>,
    /// Number of the entry's `SCHILY.acl.*` records that could not be converted.
    pub text_acls: u32,
}
