//! Reads a superblock.

use super::{Damage, Error, number};

/// Its offset in a file system.
const OFFSET: u64 = 1024;
const SIZE: usize = 1024;
const MAGIC: u64 = 0xef53;

const RECOVERY: u32 = 0x4;
const META_BG: u32 = 0x10;
const EXTENTS: u32 = 0x40;
const WIDE: u32 = 0x80;

/// Features by their bits, with the names of mke2fs.
const COMPATIBLE: [(u32, &str); 6] = [
    (0x4, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x200, "sparse_super2"),
    (0x1000, "orphan_file"),
];
const INCOMPATIBLE: [(u32, &str); 9] = [
    (0x2, "filetype"),
    (RECOVERY, "needs_recovery"),
    (META_BG, "meta_bg"),
    (EXTENTS, "extent"),
    (WIDE, "64bit"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x8000, "inline_data"),
    (0x2000, "metadata_csum_seed"),
];
const READ_ONLY: [(u32, &str); 9] = [
    (0x1, "sparse_super"),
    (0x2, "large_file"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x100, "quota"),
    (0x400, "metadata_csum"),
    (0x8000, "verity"),
];

/// The fields of a superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Inodes in all.
    pub inodes: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// Blocks of a group.
    pub blocks_per_group: u32,
    /// Inodes of a group.
    pub inodes_per_group: u32,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Its label, without trailing NULs.
    pub label: Vec<u8>,
    /// Its creation time, in seconds since 1970.
    pub made: u32,
    /// The time of the last write, in seconds since 1970.
    pub written: u32,
    pub(in crate::disk::ext4) inode_size: u64,
    pub(in crate::disk::ext4) descriptor_size: u64,
    /// The seed of the hashes of names.
    pub(in crate::disk::ext4) hash_seed: [u8; 16],
    /// The journal's blocks (`s_jnl_blocks`).
    pub(in crate::disk::ext4) journal_backup: [u8; 68],
    pub(super) first_data_block: u64,
    pub(super) first_meta_bg: u64,
    features: [u32; 3],
}

impl Superblock {
    /// Reads a superblock; `read_at` reads from an offset in the file system.
    pub(super) fn read(read_at: impl Fn(u64, &mut [u8]) -> Result<(), Error>) -> Result<Self, Error> {
        let mut bytes = [0; SIZE];
        read_at(OFFSET, &mut bytes)?;
        let b = &bytes[..];
        if number(b, 0x38, 2) != MAGIC {
            return Err(Error::NoFileSystem);
        }
        let features = [0x5c, 0x60, 0x64].map(|at| number(b, at, 4) as u32);
        let is_wide = features[1] & WIDE != 0;
        let wide = |low: usize, high: usize| number(b, low, 4) | if is_wide { number(b, high, 4) << 32 } else { 0 };
        let log = number(b, 0x18, 4);
        let label = &b[0x78..0x88];
        let length = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        let superblock = Self {
            block_size: 1024_u64.checked_shl(log.min(63) as u32).unwrap_or(0), // at most 63
            blocks: wide(0x04, 0x150),
            free_blocks: wide(0x0c, 0x158),
            inodes: number(b, 0x00, 4) as u32,
            free_inodes: number(b, 0x10, 4) as u32,
            blocks_per_group: number(b, 0x20, 4) as u32,
            inodes_per_group: number(b, 0x28, 4) as u32,
            uuid: std::array::from_fn(|index| b[0x68 + index]),
            label: label[..length].to_vec(),
            made: number(b, 0x108, 4) as u32,
            written: number(b, 0x30, 4) as u32,
            inode_size: number(b, 0x58, 2),
            descriptor_size: if is_wide { number(b, 0xfe, 2) } else { 32 },
            hash_seed: std::array::from_fn(|index| b[0xec + index]),
            journal_backup: std::array::from_fn(|index| b[0x10c + index]),
            first_data_block: number(b, 0x14, 4),
            first_meta_bg: number(b, 0x104, 4),
            features,
        };
        superblock.check()
    }

    fn check(self) -> Result<Self, Error> {
        let is_sane = (1024..=65_536).contains(&self.block_size)
            && self.blocks_per_group > 0
            && self.inodes_per_group > 0
            && (128..=self.block_size).contains(&self.inode_size)
            && (32..=self.block_size).contains(&self.descriptor_size);
        if is_sane { Ok(self) } else { Err(Error::Damaged(Damage::Superblock)) }
    }

    /// Returns the names of the features, in mke2fs's order.
    pub fn features(&self) -> Vec<&'static str> {
        let named = |table: &'static [(u32, &str)], bits: u32| {
            table.iter().filter(move |(bit, _)| bits & bit != 0).map(|(_, name)| *name)
        };
        let [compatible, incompatible, read_only] = self.features;
        named(&COMPATIBLE, compatible)
            .chain(named(&INCOMPATIBLE, incompatible))
            .chain(named(&READ_ONLY, read_only))
            .collect()
    }

    /// Returns the number of block groups.
    pub(in crate::disk::ext4) fn groups(&self) -> u64 {
        self.blocks.saturating_sub(self.first_data_block).div_ceil(u64::from(self.blocks_per_group))
    }

    /// Returns whether there is a journal within the file system.
    pub(in crate::disk::ext4) fn has_journal(&self) -> bool {
        self.features[0] & 0x4 != 0
    }

    /// Returns whether the journal must be replayed.
    pub fn needs_recovery(&self) -> bool {
        self.features[1] & RECOVERY != 0
    }

    /// Returns whether the reader supports all incompatible features: `filetype`, `meta_bg`, `extent`, `64bit`, `flex_bg`.
    pub(super) fn is_readable(&self) -> bool {
        self.features[1] & !(0x2 | META_BG | EXTENTS | WIDE | 0x200) == 0 && self.features[1] & EXTENTS != 0
    }

    /// Returns whether descriptors after the first blocks are in their own groups.
    pub(in crate::disk::ext4) fn has_meta_bg(&self) -> bool {
        self.features[1] & META_BG != 0
    }
}
