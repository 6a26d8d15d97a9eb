//! Our own tar reader: POSIX.1-2017 `pax` ("pax Interchange Format"), ustar, GNU (tar.5, "GNU tar Archives") and v7.
//!
//! It reads one stream once, in order, and keeps nothing but the current entry. Names, link targets and extended
//! attributes are bytes: a container's file names need not be UTF-8, and a PAX value may hold any byte, newlines
//! included. A damaged or cut archive is an error that says where; it is never a shorter list of files.
//!
//! Left out: multi-volume archives (an error), and ACLs as text with names of users (counted).

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
pub use error::{Error, Problem};
pub use reader::Reader;

/// What an entry is.
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

/// A time: seconds since 1970, and nanoseconds after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds after `seconds`: 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// An extended attribute: full name (`security.capability`) and raw value.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// One entry, as the last of its headers has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name as stored: it may be absolute, hold `.` and `..`, or end in a slash.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The permission bits, with set-user-id, set-group-id and sticky: the low 12 bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content was last changed.
    pub mtime: Time,
    /// Length of the content in bytes, holes included; 0 for everything but files.
    pub size: u64,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, in the archive's order.
    pub attributes: Vec<Attribute>,
    /// How many `SCHILY.acl.*` records the entry has that were not understood.
    pub text_acls: u32,
}
