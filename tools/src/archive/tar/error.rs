//! What can be wrong with an archive, and where.

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
    /// The input ends early.
    #[error("ends at byte {offset}, in the middle of the archive{}; it was cut off: make it again", context(.path))]
    Truncated {
        /// Length of the input.
        offset: u64,
        /// The entry it ended in, empty when between entries.
        path: Vec<u8>,
    },
    /// The archive is damaged, or holds what is not understood.
    #[error("byte {offset}: {problem}{}", context(.path))]
    Damaged {
        /// Start of the header in question.
        offset: u64,
        /// What is wrong.
        problem: Problem,
        /// The entry's name, empty when it is not known yet.
        path: Vec<u8>,
    },
}

/// What is wrong with one header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The stored checksum fits neither the signed nor the unsigned sum.
    #[error("the header's checksum does not fit: the archive is damaged")]
    Checksum,
    /// A numeric field is neither octal nor base-256, or does not fit.
    #[error("the header's field {0} is no number that fits")]
    Number(&'static str),
    /// A PAX record is not `length key=value newline`.
    #[error("a PAX record is malformed")]
    PaxRecord,
    /// A PAX value that should be a number or a time is not.
    #[error("the PAX record {0} has a value out of place")]
    PaxValue(&'static str),
    /// A name or a set of PAX records is implausibly long.
    #[error("an extended header is longer than 16 MiB")]
    HeaderTooLong,
    /// A path or a link's target that no file system has.
    #[error("a path or a link's target is longer than 65,535 bytes")]
    PathTooLong,
    /// A global header is copied to each entry.
    #[error("a global PAX header is longer than 64 KiB")]
    GlobalTooLong,
    /// More extended attributes than a file has.
    #[error("an entry has more than 1,024 extended attributes")]
    TooManyAttributes,
    /// A long name or PAX header has no entry after it.
    #[error("an extended header belongs to no entry")]
    HeaderAlone,
    /// The map of a sparse file is out of order or does not fit its sizes.
    #[error("the map of a sparse file is malformed")]
    SparseMap,
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
