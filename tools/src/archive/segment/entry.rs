//! What an initramfs is read as: segments, entries, or an error.

use std::io;

use super::read::MAX_SEGMENTS;
use crate::archive::newc::{Header, Malformed, file_type};
use crate::compress::Method;

/// A piece of an initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub start: u64,
    /// How it is compressed.
    pub method: Option<Method>,
    /// Its length in the file.
    pub bytes: u64,
    /// The length of its content.
    pub content_bytes: u64,
    /// Its entries, without trailers.
    pub entries: u64,
}

impl Segment {
    /// The name of its compression, or `none`.
    #[must_use]
    pub fn method_name(&self) -> &'static str {
        self.method.map_or("none", Method::name)
    }
}

/// An entry, but for the data of a regular file: [`super::Reader::read_data`] has these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name, as it is in the archive.
    pub name: Vec<u8>,
    /// What the header says; the mode is of a known type.
    pub header: Header,
    /// The target of a symbolic link.
    pub target: Option<Vec<u8>>,
    /// How many trailers came before: names of one archive alone can be hard links to each other.
    pub archive: u64,
}

impl Member {
    /// Whether this is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.header.mode & file_type::MASK == file_type::REGULAR
    }
}

/// Why an initramfs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// A segment is not what it seems.
    #[error("{}{error}", place(*.segment))]
    Malformed {
        /// Its number, from 1 on, and its compression, where it has one: positions are those in its content then.
        segment: Option<(usize, Method)>,
        /// What is wrong.
        error: Malformed,
    },
    /// A segment does not decompress.
    #[error("{}{error}", place(Some(*.segment)))]
    Compressed {
        /// Its number, from 1 on, and its compression.
        segment: (usize, Method),
        /// What the decoder says.
        error: String,
    },
    /// Neither an archive nor compressed in a way that is read here.
    #[error("not an initramfs, or not one compressed by gzip, zstd, xz, lz4, bzip2 or lzma, at byte {0}")]
    Unknown(u64),
    /// More segments than an initramfs has.
    #[error("more than {MAX_SEGMENTS} segments")]
    Segments,
}

fn place(segment: Option<(usize, Method)>) -> String {
    segment.map_or_else(String::new, |(number, method)| format!("segment {number} ({}): ", method.name()))
}
