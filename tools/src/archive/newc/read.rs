//! Parses the headers and names of newc archives: total on every input, in the kernel's order of checks. Whole archives are
//! read by [`crate::archive::segment::Reader`].

use super::{HEADER_BYTES, MAGIC, MAGIC_CHECKSUM, NAME_MAX_BYTES};

/// The fixed part of an entry: everything but its name and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The inode number; hard links share it.
    pub ino: u32,
    /// Type and permissions, as in stat(2).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The number of names (hard links) of the file.
    pub nlink: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Bytes of the data.
    pub filesize: u32,
    /// Major and minor number of the device that held the file.
    pub dev: (u32, u32),
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Bytes of the name, with its NUL: 2 to [`NAME_MAX_BYTES`].
    pub(crate) namesize: usize,
    /// The sum of the data's bytes, in archives with checksums.
    pub check: Option<u32>,
}

impl Header {
    /// Parses the header that starts at byte `start` of an archive.
    ///
    /// # Errors
    /// An invalid magic, digit, or length of the name.
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

/// Returns the name in the `namesize` bytes after a header, up to the first NUL, as the kernel reads it. Some archives align
/// their data by further NULs.
pub(crate) fn name_in(bytes: &[u8]) -> Option<&[u8]> {
    let name = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then_some(name)
}

/// Why an archive is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No header where one is expected.
    #[error("no cpio header at byte {0}")]
    Magic(u64),
    /// A field is not hexadecimal.
    #[error("the cpio header at byte {0} has a field that is not hexadecimal")]
    Digit(u64),
    /// A name is empty, longer than the kernel accepts, or not terminated by NUL.
    #[error("the cpio header at byte {0} has a name that is empty, too long, or not terminated")]
    Name(u64),
    /// The archive ends within an entry, or without its trailer.
    #[error("the cpio archive ends at byte {0} without a trailer")]
    Truncated(u64),
    /// A mode has an unknown file type.
    #[error("the cpio header at byte {0} has a mode with an unknown file type")]
    Mode(u64),
    /// The target of a symbolic link is empty, longer than the kernel accepts, or contains a NUL.
    #[error(
        "the cpio header at byte {0} has a symbolic link whose target is empty, over 4095 bytes, or contains a NUL"
    )]
    Target(u64),
    /// The data do not match the checksum.
    #[error("the data of the cpio header at byte {0} do not match its checksum")]
    Checksum(u64),
}

pub(crate) fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}
