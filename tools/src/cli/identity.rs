//! Detects whether two paths are the same file, by device and inode number, or overlap as block devices.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, makedev, minor};

/// The most levels that are followed (a loop device on a file on a loop device …).
const MAX_LEVELS: u32 = 8;

/// The identity of a file, independent of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A file of a file system: device and inode number.
    File(u64, u64),
    /// A block device: its own number, which several nodes may have.
    BlockDevice(u64),
}

impl Identity {
    /// Returns the identity of the file with these metadata.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() {
            Self::BlockDevice(metadata.rdev())
        } else {
            Self::File(metadata.dev(), metadata.ino())
        }
    }

    /// Returns whether the two are equal, or one is a part of the other: a partition of a disk, a loop device on a file.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.with_parents().contains(&other) || other.with_parents().contains(&self)
    }

    /// Returns this identity and those that it is a part of.
    fn with_parents(self) -> Vec<Self> {
        let mut identities = vec![self];
        let mut at = self;
        for _ in 0..MAX_LEVELS {
            let Some(next) = at.parent() else { break };
            identities.push(next);
            at = next;
        }
        identities
    }

    /// Returns the disk of a partition, or the file below a loop device (sysfs-block).
    fn parent(self) -> Option<Self> {
        let Self::BlockDevice(device) = self else { return None };
        let folder = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
        if folder.join("partition").exists() {
            let disk = fs::read_to_string(folder.canonicalize().ok()?.parent()?.join("dev")).ok()?;
            let (major, minor) = disk.trim().split_once(':')?;
            return Some(Self::BlockDevice(makedev(major.parse().ok()?, minor.parse().ok()?)));
        }
        let file = fs::read_to_string(folder.join("loop/backing_file")).ok()?;
        Some(Self::of(&fs::metadata(Path::new(file.trim_end_matches('\n'))).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_one_file_have_the_same_identity() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::write(at("other"), "").unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        std::os::unix::fs::symlink("file", at("soft")).unwrap();
        let identity = |name: &str| Identity::of(&fs::metadata(at(name)).unwrap());
        assert!(identity("file").overlaps(identity("hard")) && identity("soft").overlaps(identity("file")));
        assert!(!identity("file").overlaps(identity("other")));
    }
}
