//! The memory of a machine whose root is in its initramfs.
//!
//! While the kernel unpacks an initramfs, the packed file is also in memory. Without `root=`, the initial root is a tmpfs, whose
//! limit is half of the memory that is free when the kernel mounts it, the packed file not counted (mm/shmem.c,
//! shmem_default_max_blocks()). With `root=initramfs`, it is a ramfs, which has no limit.

use std::fs::File;
use std::io;
use std::path::Path;

use whit::contract::{ROOTFS_NEEDS, ROOTFS_OPTION};
use whit::rootfs::MAX_NEEDS;

use crate::archive::newc::Unpacked;
use crate::archive::segment::Reader;
use crate::initramfs::rootfs::name_of;

const MIB: u64 = 1 << 20;
/// The memory that a kernel uses before it mounts its initial root. A part of it, mostly `struct page`, grows with all memory.
/// Debian's cloud kernels under QEMU: 44 MiB (6.1) and 48 MiB (6.12) of 128, 46 and 50 MiB of 256; 6.12 for any machine 48 and 50,
/// 54 of 512.
const KERNEL: u64 = 64 * MIB;
const PER_PAGES: u64 = 32;
/// The memory that a kernel uses up to the first program, before it frees its init sections: 68 and 70 MiB of 256.
const RUNNING: u64 = 80 * MIB;
/// More than an inode and its name take in the kernel's caches.
const INODE: u64 = 1024;

/// Memory in MiB, without that of the running workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Without `root=`.
    pub tmpfs_mib: u64,
    /// With `root=initramfs`.
    pub ramfs_mib: u64,
}

impl Memory {
    /// Computes the memory for an initramfs of `file_bytes` that unpacks to `unpacked`.
    pub(super) fn of(file_bytes: u64, unpacked: Unpacked) -> Self {
        let pages = unpacked.pages * 4096;
        // A tmpfs has as many inodes as pages.
        let half = pages.max(unpacked.inodes * 4096);
        let capped = 2 * half + file_bytes + KERNEL;
        let running = pages + unpacked.inodes * INODE + file_bytes + RUNNING;
        let mib = |bytes: u64| (bytes + bytes / (PER_PAGES - 1)).div_ceil(MIB);
        Self { tmpfs_mib: mib(capped.max(running)), ramfs_mib: mib(running) }
    }

    /// Reads the memory that the uncompressed initramfs `path` states.
    ///
    /// # Errors
    /// Errors of reading; an initramfs without this statement.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut reader = Reader::new(File::open(path)?);
        let (mut text, mut length) = ([0; MAX_NEEDS], 0);
        if reader.next_entry().map_err(io::Error::other)?.is_some_and(|first| first.name == name_of(ROOTFS_NEEDS)) {
            while let count @ 1.. = reader.read_data(&mut text[length..]).map_err(io::Error::other)? {
                length += count;
            }
        }
        let memory = Self::parse(&String::from_utf8_lossy(&text[..length]));
        memory.ok_or_else(|| io::Error::other("does not state the memory that it needs"))
    }

    /// Parses the text of [`Memory::needs`].
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').filter_map(|word| word.parse().ok());
        let tmpfs_mib = numbers.next()?;
        Some(Self { tmpfs_mib, ramfs_mib: numbers.next().unwrap_or(tmpfs_mib) })
    }

    /// Returns the message that the init logs if the kernel could not unpack everything.
    pub(super) fn needs(self) -> String {
        let Self { tmpfs_mib, ramfs_mib } = self;
        let less =
            if ramfs_mib < tmpfs_mib { format!(", or {ramfs_mib} MB with {ROOTFS_OPTION}") } else { String::new() };
        format!("initramfs truncated, needs {tmpfs_mib} MB{less}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_needs_its_files_twice() {
        let memory = |file_mib, pages, inodes| Memory::of(file_mib * MIB, Unpacked { inodes, pages });
        let expected = |tmpfs_mib, ramfs_mib| Memory { tmpfs_mib, ramfs_mib };
        // 100 MiB of files in a file of 40: 304 and 221 MiB, and a 31st of that.
        assert_eq!(memory(40, 25_600, 1024), expected(314, 229));
        // Few files: the running kernel needs the most.
        assert_eq!(memory(1, 256, 0), expected(85, 85));
        // Only names: as many inodes as pages.
        assert_eq!(memory(10, 0, 102_400), expected(903, 197));
    }

    #[test]
    fn the_message_of_the_init_fits_its_limit() {
        let most = Memory { tmpfs_mib: u64::from(u32::MAX), ramfs_mib: u64::from(u32::MAX) - 1 };
        assert!(most.needs().len() <= MAX_NEEDS, "{}", most.needs());
        let small = Memory { tmpfs_mib: 85, ramfs_mib: 85 };
        assert_eq!(small.needs(), "initramfs truncated, needs 85 MB");
        for memory in [most, small] {
            assert_eq!(Memory::parse(&memory.needs()), Some(memory));
        }
    }
}
