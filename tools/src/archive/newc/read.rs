//! Reads the headers and names of newc archives: total on every input, in the kernel's order of checks. Whole archives are read
//! by [`crate::archive::segment::Reader`].

use super::{HEADER_BYTES, MAGIC, MAGIC_CHECKSUM, NAME_MAX_BYTES};

/// The fixed part of an entry: everything but its name and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The inode number; names of one file share it.
    pub ino: u32,
    /// Type and permissions, as in stat(2).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names the file has.
    pub nlink: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Bytes of the data.
    pub filesize: u32,
    /// Major and minor number of the device that the file was on.
    pub dev: (u32, u32),
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Bytes of the name, with its NUL: 2 to [`NAME_MAX_BYTES`].
    pub(crate) namesize: usize,
    /// The sum of the data's bytes, where there is one.
    pub check: Option<u32>,
}

impl Header {
    /// Reads the header that starts at byte `start` of an archive.
    ///
    /// # Errors
    /// A magic, a digit or a length of the name that cannot be.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES], start: u64) -> Result<Self, Malformed> {
        let (magic, digits) = bytes.split_at(MAGIC.len());
        let is_summed = magic == MAGIC_CHECKSUM;
        if magic != MAGIC && !is_summed {
            return Err(Malformed::Magic(start));
        }
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(digits.chunks(8)) {
            *field = hexadecimal(digits).ok_or(Malformed::Digit(start))?;
        }
        let [ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check] =
            fields;
        let namesize = namesize as usize;
        if !(2..=NAME_MAX_BYTES).contains(&namesize) {
            return Err(Malformed::Name(start));
        }
        let (dev, rdev) = ((devmajor, devminor), (rdevmajor, rdevminor));
        let check = is_summed.then_some(check);
        Ok(Self { ino, mode, uid, gid, nlink, mtime, filesize, dev, rdev, namesize, check })
    }
}

/// The name in the `namesize` bytes behind a header: up to the first NUL, as the kernel's. Further NULs are how an archive
/// aligns its data.
pub(crate) fn name_in(bytes: &[u8]) -> Option<&[u8]> {
    let name = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then_some(name)
}

/// What is wrong with an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No entry starts where one must.
    #[error("no cpio header at byte {0}")]
    Magic(u64),
    /// A field is not hexadecimal.
    #[error("the cpio header at byte {0} has a field that is not hexadecimal")]
    Digit(u64),
    /// A name is empty, longer than the kernel takes, or not ended by NUL.
    #[error("the cpio header at byte {0} has a name that is empty, too long, or not ended")]
    Name(u64),
    /// The archive ends within an entry, or without its trailer.
    #[error("the cpio archive ends at byte {0} without a trailer")]
    Truncated(u64),
    /// A mode is of no type of file.
    #[error("the cpio header at byte {0} has a mode of no file type")]
    Mode(u64),
    /// A symbolic link leads nowhere, or further than the kernel takes.
    #[error(
        "the cpio header at byte {0} has a symbolic link whose target is not of 1 to 4095 bytes, or has a NUL in it"
    )]
    Target(u64),
    /// Data that are not those that were summed.
    #[error("the data of the cpio header at byte {0} do not add up to its checksum")]
    Checksum(u64),
}

pub(crate) fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}
