//! The parts of an initramfs, segments and entries, and the errors of reading one.

use std::io;

use super::read::MAX_SEGMENTS;
use crate::archive::newc::{Header, Malformed, file_type};
use crate::compress::Method;

/// A piece of an initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its offset in the file.
    pub start: u64,
    /// Its compression.
    pub method: Option<Method>,
    /// Its length in the file.
    pub bytes: u64,
    /// The length of its content.
    pub content_bytes: u64,
    /// Its entries, without trailers.
    pub entries: u64,
}

impl Segment {
    /// Returns the name of the compression, or `none`.
    #[must_use]
    pub fn method_name(&self) -> &'static str {
        self.method.map_or("none", Method::name)
    }
}

/// An entry without the data of a regular file, which [`super::Reader::read_data`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name, as stored in the archive.
    pub name: Vec<u8>,
    /// The header; its file type is a known one.
    pub header: Header,
    /// The target of a symbolic link.
    pub target: Option<Vec<u8>>,
    /// The number of trailers before this entry. Only names in the same archive can be hard links to each other.
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
    /// Reading the file failed.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// A segment is malformed.
    #[error("{}{error}", place(*.segment))]
    Malformed {
        /// Its number, from 1 on, and its compression. `None` for a plain one. Offsets in a compressed segment are those of its
        /// content.
        segment: Option<(usize, Method)>,
        /// The problem.
        error: Malformed,
    },
    /// A segment does not decompress.
    #[error("{}{error}", place(Some(*.segment)))]
    Compressed {
        /// Its number, from 1 on, and its compression.
        segment: (usize, Method),
        /// The decoder's message.
        error: String,
    },
    /// Neither an archive nor a known compression.
    #[error("byte {0} starts neither a cpio archive nor one compressed by gzip, zstd, xz, lz4, bzip2 or lzma")]
    Unknown(u64),
    /// Too many segments.
    #[error("more than {MAX_SEGMENTS} segments")]
    Segments,
}

fn place(segment: Option<(usize, Method)>) -> String {
    segment.map_or_else(String::new, |(number, method)| format!("segment {number} ({}): ", method.name()))
}
