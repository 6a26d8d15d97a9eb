//! Reads newc archives: total on every input, in the kernel's order of checks. [`entries`] has the archive in memory; what
//! reads one from a stream takes its headers from [`Header`].

use super::{HEADER_BYTES, MAGIC, MAGIC_CHECKSUM, NAME_MAX_BYTES, TRAILER, file_type, padding};

/// One entry of an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name, as it is in the archive.
    pub name: &'a [u8],
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
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// The data of a regular file, the target of a symbolic link.
    pub data: &'a [u8],
}

impl Entry<'_> {
    /// Whether this is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.mode & file_type::MASK == file_type::REGULAR
    }
}

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

/// The entries of the archive at the start of `bytes`, up to its trailer.
///
/// After the last entry, [`Entries::position`] is the length of the archive, padding behind it not counted.
#[must_use]
pub fn entries(bytes: &[u8]) -> Entries<'_> {
    Entries { bytes, position: 0, ended: false }
}

/// See [`entries`].
pub struct Entries<'a> {
    bytes: &'a [u8],
    position: usize,
    ended: bool,
}

impl Entries<'_> {
    /// How many bytes were read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.entry();
        self.ended = !matches!(&entry, Ok(entry) if entry.name != TRAILER);
        match entry {
            Ok(entry) if entry.name == TRAILER => None,
            entry => Some(entry),
        }
    }
}

impl<'a> Entries<'a> {
    fn entry(&mut self) -> Result<Entry<'a>, Malformed> {
        let start = self.position as u64;
        let header = self.take(HEADER_BYTES)?.first_chunk().ok_or(Malformed::Truncated(start))?;
        let Header { ino, mode, uid, gid, nlink, mtime, filesize, rdev, namesize, .. } = Header::parse(header, start)?;
        let name = name_in(self.take(namesize)?).ok_or(Malformed::Name(start))?;
        self.align()?;
        let data = self.take(filesize as usize)?;
        self.align()?;
        Ok(Entry { name, ino, mode, uid, gid, nlink, mtime, rdev, data })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(Malformed::Truncated(self.bytes.len() as u64))?;
        self.position += count;
        Ok(taken)
    }

    fn align(&mut self) -> Result<(), Malformed> {
        self.take(padding(self.position as u64, 4) as usize).map(|_| ())
    }
}

/// A number of up to 8 digits.
pub(crate) fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Meta, Writer};
    use super::*;

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 77);
        writer.node(b"dev", Meta::root(0o755), &Kind::Directory).unwrap();
        writer.node(b"dev/vda", Meta { gid: 6, ..Meta::root(0o660) }, &Kind::Block(254, 16)).unwrap();
        writer.file(&["one", "two"], Meta::root(0o600), 3, &b"abc"[..]).unwrap();
        writer.finish().unwrap().out
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = archive();
        let all: Vec<Entry> = entries(&bytes).collect::<Result<_, _>>().unwrap();
        let common = Entry { name: b"", ino: 0, mode: 0, uid: 0, gid: 0, nlink: 1, mtime: 77, rdev: (0, 0), data: b"" };
        let linked = Entry { ino: 3, mode: 0o100_600, nlink: 2, ..common };
        assert_eq!(
            all,
            [
                Entry { name: b"dev", ino: 1, mode: 0o40_755, nlink: 2, ..common },
                Entry { name: b"dev/vda", ino: 2, mode: 0o60_660, gid: 6, rdev: (254, 16), ..common },
                Entry { name: b"one", ..linked },
                Entry { name: b"two", data: b"abc", ..linked },
            ]
        );
        assert!(all[3].is_file() && !all[0].is_file());
        let mut walk = entries(&bytes);
        assert_eq!(walk.by_ref().count(), 4);
        assert!(bytes[walk.position()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = archive();
        let mut walk = entries(&bytes);
        assert_eq!(walk.by_ref().count(), 4);
        for length in 0..walk.position() {
            let last = entries(&bytes[..length]).last();
            assert_eq!(last, Some(Err(Malformed::Truncated(length as u64))), "{length}");
        }
    }

    #[test]
    fn each_bad_field_is_its_own_error() {
        let second = HEADER_BYTES + 6;
        for (position, byte, expected) in [
            (0, b'1', Malformed::Magic(0)),
            (second + 5, b'7', Malformed::Magic(second as u64)),
            (second + 6, b'g', Malformed::Digit(second as u64)),
            (second + 13, b'+', Malformed::Digit(second as u64)),
            (second + 94, b'1', Malformed::Name(second as u64)), // a name of 256 MiB
            (second + 101, b'1', Malformed::Name(second as u64)), // nothing but its NUL
            (HEADER_BYTES + 3, b'x', Malformed::Name(0)),        // not ended
        ] {
            let mut bytes = archive();
            bytes[position] = byte;
            assert_eq!(entries(&bytes).last(), Some(Err(expected)));
        }
    }

    #[test]
    fn extra_nuls_behind_a_name_are_not_its_own() {
        let mut bytes = archive();
        bytes[94..102].copy_from_slice(b"00000006");
        // The name's field grew by 2 within the padding that its 4 bytes had.
        assert_eq!(entries(&bytes).next().unwrap().unwrap().name, b"dev");
    }
}
