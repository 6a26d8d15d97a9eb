//! The headers of an rpm package: values by tags, all numbers in network byte order (rpm's docs/manual/format_header.md).

use std::io::{self, Read};

/// Three bytes of magic, the version, and four that are reserved.
const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
/// The magic, the number of index entries, and the number of data bytes.
const INTRO_BYTES: usize = 16;
/// Tag, type, offset in the data and count.
const ENTRY_BYTES: usize = 16;
/// rpm's own limit (lib/header.c, HEADER_TAGS_MAX).
const MAX_ENTRIES: u64 = 0xffff;
/// rpm's limit for signatures; for the other header it is 256 MiB. Kernel packages have about 2 MiB.
const MAX_DATA_BYTES: u64 = 64 << 20;
/// The most values of one tag, which is the number of files in a package. A kernel package has about 10,000.
const MAX_VALUES: usize = 1 << 20;

/// A tag: its number, name and type in rpm's include/rpm/rpmtag.h.
#[derive(Clone, Copy)]
pub(super) struct Tag(pub(super) u32, pub(super) &'static str, pub(super) Type);

/// The supported types, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Int16 = 3,
    Int32 = 4,
    Int64 = 5,
    Strings = 8,
}

impl Type {
    /// Returns the width of a value.
    const fn bytes(self) -> usize {
        match self {
            Self::Int16 => 2,
            Self::Int32 => 4,
            Self::Int64 => 8,
            Self::Strings => 1,
        }
    }
}

/// A header: its raw index and data.
pub(super) struct Header {
    index: Vec<u8>,
    data: Vec<u8>,
}

impl Header {
    /// Reads a header; `name` is its name for errors.
    pub(super) fn read(input: &mut impl Read, name: &str) -> io::Result<Self> {
        let intro = take(input, INTRO_BYTES as u64, name)?;
        let (magic, lengths) = intro.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(io::Error::other(format!("the .rpm has no {name} at its place")));
        }
        let (entries, data_bytes) = (number(&lengths[..4]), number(&lengths[4..]));
        if entries > MAX_ENTRIES || data_bytes > MAX_DATA_BYTES {
            return Err(io::Error::other(format!(
                "the .rpm's {name} claims {entries} entries and {data_bytes} bytes, over the limit"
            )));
        }
        let index = take(input, entries * ENTRY_BYTES as u64, name)?;
        Ok(Self { index, data: take(input, data_bytes, name)? })
    }

    /// Returns its length in the package.
    pub(super) fn bytes(&self) -> u64 {
        (INTRO_BYTES + self.index.len() + self.data.len()) as u64
    }

    /// Returns whether the header has a tag.
    pub(super) fn has(&self, tag: Tag) -> bool {
        self.find(tag).is_some()
    }

    /// Returns the numbers of a tag.
    pub(super) fn numbers(&self, tag: Tag) -> io::Result<Numbers<'_>> {
        let (data, count) = self.values(tag)?;
        let width = tag.2.bytes();
        let bytes = data.get(..count * width).ok_or_else(|| outside(tag))?;
        Ok(Numbers { bytes, width })
    }

    /// Returns the strings of a tag.
    pub(super) fn strings(&self, tag: Tag) -> io::Result<Vec<&[u8]>> {
        let (data, count) = self.values(tag)?;
        let ended = data.split_inclusive(|byte| *byte == 0).map_while(|string| string.strip_suffix(b"\0"));
        let strings: Vec<&[u8]> = ended.take(count).collect();
        if strings.len() == count { Ok(strings) } else { Err(outside(tag)) }
    }

    /// Returns the data from a tag's values on, and their number.
    fn values(&self, tag: Tag) -> io::Result<(&[u8], usize)> {
        let invalid = |problem: &str| io::Error::other(format!("the .rpm's header {problem} {}", tag.1));
        let entry = self.find(tag).ok_or_else(|| invalid("has no"))?;
        let [kind, offset, count] = [4, 8, 12].map(|at| number(&entry[at..at + 4]) as usize);
        if kind != tag.2 as usize {
            return Err(invalid("has another type of"));
        }
        if count > MAX_VALUES {
            return Err(invalid("has too many values of"));
        }
        Ok((self.data.get(offset..).ok_or_else(|| outside(tag))?, count))
    }

    fn find(&self, tag: Tag) -> Option<&[u8]> {
        self.index.chunks_exact(ENTRY_BYTES).find(|entry| number(&entry[..4]) == u64::from(tag.0))
    }
}

fn outside(tag: Tag) -> io::Error {
    io::Error::other(format!("the .rpm's header has {} outside of its data", tag.1))
}

/// Numbers of one width.
#[derive(Clone, Copy, Default)]
pub(super) struct Numbers<'h> {
    bytes: &'h [u8],
    width: usize,
}

impl Numbers<'_> {
    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().checked_div(self.width).unwrap_or(0)
    }

    /// Returns one value.
    pub(super) fn get(&self, index: usize) -> Option<u64> {
        let start = index.checked_mul(self.width)?;
        self.bytes.get(start..start + self.width).filter(|bytes| !bytes.is_empty()).map(number)
    }
}

/// Reads `count` bytes; memory is allocated only as they arrive.
pub(super) fn take(input: &mut impl Read, count: u64, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if input.take(count).read_to_end(&mut bytes)? as u64 == count {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("the .rpm ends within its {name}; it is truncated: fetch it again")))
    }
}

/// Decodes a big-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
