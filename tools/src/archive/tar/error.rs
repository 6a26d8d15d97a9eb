//! Errors of reading an archive, with their position.

use std::io;

use crate::cli::path::shown;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the input failed.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The input holds no byte at all.
    #[error("is empty; give it the output of `docker export`")]
    Empty,
    /// The first block is no tar header.
    #[error("is not a tar archive; give it the output of `docker export`")]
    NotTar,
    /// The input is truncated.
    #[error("ends at byte {offset}, in the middle of the archive{}; it is truncated: make it again", context(.path))]
    Truncated {
        /// Length of the input.
        offset: u64,
        /// The entry that is truncated; empty between entries.
        path: Vec<u8>,
    },
    /// The archive is damaged, or has an unsupported entry.
    #[error("byte {offset}: {problem}{}", context(.path))]
    Damaged {
        /// Offset of the header.
        offset: u64,
        /// The problem.
        problem: Problem,
        /// The entry's name, empty when it is not known yet.
        path: Vec<u8>,
    },
}

/// A problem of one header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The stored checksum is neither the signed nor the unsigned sum.
    #[error("the header's checksum is wrong: the archive is damaged")]
    Checksum,
    /// A numeric field is neither octal nor base-256, or out of range.
    #[error("the header's field {0} is not a number, or out of range")]
    Number(&'static str),
    /// A PAX record is not `length key=value newline`.
    #[error("a PAX record is malformed")]
    PaxRecord,
    /// A PAX value is not a number or a time, as its key needs.
    #[error("the PAX record {0} has an invalid value")]
    PaxValue(&'static str),
    /// A name or a set of PAX records is implausibly long.
    #[error("an extended header is longer than 16 MiB")]
    HeaderTooLong,
    /// A path or a link's target is too long.
    #[error("a path or a link's target is longer than 65,535 bytes")]
    PathTooLong,
    /// The global headers are too long: they are copied to each entry.
    #[error("a global PAX header is longer than 64 KiB")]
    GlobalTooLong,
    /// An entry has too many extended attributes.
    #[error("an entry has more than 1,024 extended attributes")]
    TooManyAttributes,
    /// A long name or PAX header has no entry after it.
    #[error("an extended header has no entry after it")]
    HeaderAlone,
    /// The map of a sparse file is out of order, or disagrees with its sizes.
    #[error("the map of a sparse file is malformed")]
    SparseMap,
    /// A sparse file of another writer than GNU tar.
    #[error("a sparse file in star's own form; star -no-sparse, or another tar, stores it as others can read it")]
    ForeignSparse,
    /// The entry continues from another volume.
    #[error("the archive is one volume of several; join them first")]
    MultiVolume,
    /// The entry has no name.
    #[error("an entry has no name")]
    NoName,
}

fn context(path: &[u8]) -> String {
    if path.is_empty() { String::new() } else { format!(" ({})", shown(path)) }
}
