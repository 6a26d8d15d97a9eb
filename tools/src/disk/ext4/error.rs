//! Why a file system cannot be written.

use std::io;

use super::read;
use super::verify::Difference;
use crate::cli::path::shown;

/// Why there is no disk.
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
        /// What is wrong.
        problem: Problem,
    },
    /// A hard link to what never came.
    #[error("{}: is a hard link to {}, which is not there", shown(.path), shown(.target))]
    LinkTarget {
        /// The link.
        path: Vec<u8>,
        /// What it should be another name of.
        target: Vec<u8>,
    },
    /// The finished disk cannot be read back.
    #[error("the finished disk {0}: the storage that it is on, or mkraw, is at fault")]
    ReadBack(read::Error),
    /// The finished disk is not what went into it.
    #[error("{}: {difference} is another on the finished disk: the storage that it is on, or mkraw, is at fault", shown(.path))]
    Differs {
        /// The path on the disk.
        path: Vec<u8>,
        /// What differs.
        difference: Difference,
    },
    /// The size asked for does not hold the content.
    #[error("the files do not fit; the smallest size that holds them is {0} bytes: give that or more, or no size")]
    TooSmall(u64),
    /// The number of inodes asked for does not do.
    #[error("the files need {0} inodes: give that many or more, or no number")]
    TooFewInodes(u32),
    /// More than block or inode numbers can count.
    #[error("the disk would be larger than 16 TiB")]
    TooLarge,
}

/// Why an entry cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A component is longer than 255 bytes.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// A name or link target holds a NUL.
    #[error("the name or the link's target holds a NUL byte")]
    Nul,
    /// A parent is a file.
    #[error("a parent of it is no directory")]
    NotADirectory,
    /// Symbolic links lead in circles.
    #[error("its parents are symbolic links without end")]
    SymlinkLoop,
    /// The path is `.`, `..` or `/`, and the entry is no directory.
    #[error("its path names a directory, and it is none")]
    NamesADirectory,
    /// A hard link to a directory.
    #[error("is a hard link to a directory")]
    LinkToDirectory,
    /// A file with more names than ext4 can count.
    #[error("has more than 65,000 hard links")]
    TooManyLinks,
    /// A symbolic link without a target.
    #[error("the symbolic link has no target")]
    NoTarget,
    /// A symbolic link's target does not fit a block.
    #[error("the symbolic link's target is longer than 4,095 bytes")]
    TargetTooLong,
    /// A bomb of directories.
    #[error("the paths of the archive lead through far more directories than its entries")]
    TooDeep,
    /// A bomb of link targets.
    #[error("names, link targets and attributes of the archive take far more memory than its entries")]
    TextTooLarge,
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
    /// More files or names than their numbers can count.
    #[error("there are too many files")]
    TooMany,
}

/// The error about one entry.
pub(super) fn entry(path: &[u8], problem: Problem) -> Error {
    Error::Entry { path: path.to_vec(), problem }
}
