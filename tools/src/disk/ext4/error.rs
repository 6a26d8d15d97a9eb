//! Errors of writing a file system.

use std::io;

use super::read;
use super::verify::Difference;
use crate::archive::paths;
use crate::cli::path::shown;

/// Why a file system cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Writing failed.
    #[error("cannot write the disk: {0}")]
    Write(#[from] io::Error),
    /// One entry cannot be stored.
    #[error("{}: {problem}", shown(.path))]
    Entry {
        /// Its path.
        path: Vec<u8>,
        /// The problem.
        problem: Problem,
    },
    /// A hard link without a target.
    #[error("{}: is a hard link to {}, which does not exist", shown(.path), shown(.target))]
    LinkTarget {
        /// The link.
        path: Vec<u8>,
        /// Its target.
        target: Vec<u8>,
    },
    /// The finished disk cannot be read back.
    #[error("the finished disk {0}: the host's storage, or mkraw, is at fault")]
    ReadBack(read::Error),
    /// The finished disk differs from the input.
    #[error("{}: the finished disk has the wrong {difference}: the host's storage, or mkraw, is at fault", shown(.path))]
    Differs {
        /// The path on the disk.
        path: Vec<u8>,
        /// The difference.
        difference: Difference,
    },
    /// The requested size is too small.
    #[error("the files do not fit; the smallest size is {0} bytes: give that or more, or leave out the size")]
    TooSmall(u64),
    /// The requested number of inodes is too small.
    #[error("the files need {0} inodes: give that many or more, or leave out the number")]
    TooFewInodes(u32),
    /// More blocks or inodes than the format can number.
    #[error("the disk would be larger than 16 TiB")]
    TooLarge,
}

impl Error {
    /// Returns whether the disk is at fault, as one that is full or too small, and not an entry.
    pub(crate) fn is_of_disk(&self) -> bool {
        !matches!(self, Self::Entry { .. } | Self::LinkTarget { .. })
    }
}

/// Why an entry cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A component is longer than 255 bytes.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// A name or link target contains a NUL.
    #[error("the name or the link's target contains a NUL byte")]
    Nul,
    /// Its path, or that of its hard link's target, cannot be resolved.
    #[error(transparent)]
    Path(#[from] paths::Problem),
    /// The path is `.`, `..` or `/`, and the entry is not a directory.
    #[error("its path is that of a directory, but it is not one")]
    NamesADirectory,
    /// A whiteout after an entry of the same layer whose place depends on it: apply the layer's whiteouts first.
    #[error("its layer has a whiteout for one of its parents after it")]
    HiddenLate,
    /// A hard link to a directory.
    #[error("is a hard link to a directory")]
    LinkToDirectory,
    /// More hard links than ext4 supports.
    #[error("has more than 65,000 hard links")]
    TooManyLinks,
    /// A symbolic link without a target.
    #[error("the symbolic link has no target")]
    NoTarget,
    /// A symbolic link's target does not fit a block.
    #[error("the symbolic link's target is longer than 4,095 bytes")]
    TargetTooLong,
    /// The device number does not fit.
    #[error("the device number does not fit 12 bits of major and 20 of minor")]
    Device,
    /// The file is too long.
    #[error("is larger than 16 TiB")]
    FileTooLarge,
    /// The extended attributes are too long.
    #[error("the extended attributes take more than 4 KiB")]
    AttributesTooLong,
    /// More entries in one directory than a hash tree of two levels holds.
    #[error("the directory has too many entries")]
    DirectoryTooLarge,
    /// More files or names than the builder can number.
    #[error("there are too many files")]
    TooMany,
}

/// Creates the error for one entry.
pub(super) fn entry(path: &[u8], problem: Problem) -> Error {
    Error::Entry { path: path.to_vec(), problem }
}
