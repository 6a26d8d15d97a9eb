//! `struct ext4_super_block`: 1,024 bytes at byte 1,024 of the disk, and at the start of each copy's block.

use super::{BLOCKS_PER_GROUP, FIRST_INODE, INODE_SIZE, JOURNAL_INODE, LOG_BLOCK_SIZE, put};

const MAGIC: u16 = 0xef53;
const SIZE: usize = 1024;
/// Offset of `s_checksum`, the last field.
pub(in crate::disk::ext4) const SIGNATURE_OFFSET: usize = 0x3fc;

// Compatible features: a kernel that does not know one may still write.
const HAS_JOURNAL: u32 = 0x4;
const EXT_ATTR: u32 = 0x8;
const DIR_INDEX: u32 = 0x20;
// Incompatible features: a kernel that does not know one must not mount.
const FILETYPE: u32 = 0x2;
const META_BG: u32 = 0x10;
const EXTENTS: u32 = 0x40;
const FLEX_BG: u32 = 0x200;
// Read-only compatible features: a kernel that does not know one may only read.
const SPARSE_SUPER: u32 = 0x1;
const LARGE_FILE: u32 = 0x2;
const HUGE_FILE: u32 = 0x8;
const DIR_NLINK: u32 = 0x20;
const EXTRA_ISIZE: u32 = 0x40;
const METADATA_CSUM: u32 = 0x400;

/// Names are hashed as signed characters (`ext4::hash`).
const SIGNED_HASH: u32 = 0x1;
const DX_HASH_HALF_MD4: u8 = 1;
const CHECKSUM_CRC32C: u8 = 1;
/// 16 groups per flex group, as in mke2fs: hcsshim's 31 made online growth impossible.
const LOG_GROUPS_PER_FLEX: u8 = 4;
/// `user_xattr` and `acl`, as mke2fs sets them.
const DEFAULT_MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// The used bytes of an inode's second half: up to and including `i_projid`.
const EXTRA_ISIZE_BYTES: u16 = 32;

/// The variable fields of a superblock.
#[derive(Clone, Debug)]
pub(in crate::disk::ext4) struct Superblock {
    pub(in crate::disk::ext4) inodes_count: u32,
    pub(in crate::disk::ext4) blocks_count: u32,
    pub(in crate::disk::ext4) free_blocks_count: u32,
    pub(in crate::disk::ext4) free_inodes_count: u32,
    pub(in crate::disk::ext4) inodes_per_group: u32,
    pub(in crate::disk::ext4) overhead_clusters: u32,
    /// Group descriptors after the first block are in their own groups.
    pub(in crate::disk::ext4) meta_bg: bool,
    /// The times of creation, last write and last check, in seconds since 1970.
    pub(in crate::disk::ext4) time: u32,
    pub(in crate::disk::ext4) uuid: [u8; 16],
    pub(in crate::disk::ext4) hash_seed: [u8; 16],
    pub(in crate::disk::ext4) volume_name: [u8; 16],
    /// `i_block` and `i_size` of the journal's inode, for the repair of a damaged one; `None` without a journal.
    pub(in crate::disk::ext4) journal: Option<([u8; 60], u64)>,
}

impl Superblock {
    /// Encodes the superblock, without the checksum; `group` is the group of this copy.
    pub(in crate::disk::ext4) fn encode(&self, group: u32) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let b = &mut bytes;
        let compatible = EXT_ATTR | DIR_INDEX | if self.journal.is_some() { HAS_JOURNAL } else { 0 };
        let incompatible = FILETYPE | EXTENTS | FLEX_BG | if self.meta_bg { META_BG } else { 0 };
        let read_only = SPARSE_SUPER | LARGE_FILE | HUGE_FILE | DIR_NLINK | EXTRA_ISIZE | METADATA_CSUM;
        put(b, 0x00, self.inodes_count.to_le_bytes()); // s_inodes_count
        put(b, 0x04, self.blocks_count.to_le_bytes()); // s_blocks_count_lo
        put(b, 0x0c, self.free_blocks_count.to_le_bytes()); // s_free_blocks_count_lo
        put(b, 0x10, self.free_inodes_count.to_le_bytes()); // s_free_inodes_count
        put(b, 0x18, LOG_BLOCK_SIZE.to_le_bytes()); // s_log_block_size
        put(b, 0x1c, LOG_BLOCK_SIZE.to_le_bytes()); // s_log_cluster_size
        put(b, 0x20, BLOCKS_PER_GROUP.to_le_bytes()); // s_blocks_per_group
        put(b, 0x24, BLOCKS_PER_GROUP.to_le_bytes()); // s_clusters_per_group
        put(b, 0x28, self.inodes_per_group.to_le_bytes()); // s_inodes_per_group
        put(b, 0x30, self.time.to_le_bytes()); // s_wtime
        put(b, 0x36, u16::MAX.to_le_bytes()); // s_max_mnt_count: no check after a number of mounts
        put(b, 0x38, MAGIC.to_le_bytes()); // s_magic
        put(b, 0x3a, 1_u16.to_le_bytes()); // s_state: cleanly unmounted
        put(b, 0x3c, 1_u16.to_le_bytes()); // s_errors: continue
        put(b, 0x40, self.time.to_le_bytes()); // s_lastcheck
        put(b, 0x4c, 1_u32.to_le_bytes()); // s_rev_level: dynamic inode sizes
        put(b, 0x54, FIRST_INODE.to_le_bytes()); // s_first_ino
        put(b, 0x58, (INODE_SIZE as u16).to_le_bytes()); // s_inode_size
        put(b, 0x5a, (group as u16).to_le_bytes()); // s_block_group_nr: the low bits, as in mke2fs
        put(b, 0x5c, compatible.to_le_bytes()); // s_feature_compat
        put(b, 0x60, incompatible.to_le_bytes()); // s_feature_incompat
        put(b, 0x64, read_only.to_le_bytes()); // s_feature_ro_compat
        put(b, 0x68, self.uuid); // s_uuid
        put(b, 0x78, self.volume_name); // s_volume_name
        // s_journal_uuid (0xd0) stays zero: another value there means a journal on another device.
        put(b, 0xec, self.hash_seed); // s_hash_seed
        put(b, 0xfc, [DX_HASH_HALF_MD4]); // s_def_hash_version
        put(b, 0x100, DEFAULT_MOUNT_OPTIONS.to_le_bytes()); // s_default_mount_opts
        put(b, 0x104, u32::from(self.meta_bg).to_le_bytes()); // s_first_meta_bg
        put(b, 0x108, self.time.to_le_bytes()); // s_mkfs_time
        put(b, 0x15c, EXTRA_ISIZE_BYTES.to_le_bytes()); // s_min_extra_isize
        put(b, 0x15e, EXTRA_ISIZE_BYTES.to_le_bytes()); // s_want_extra_isize
        put(b, 0x160, SIGNED_HASH.to_le_bytes()); // s_flags
        put(b, 0x174, [LOG_GROUPS_PER_FLEX]); // s_log_groups_per_flex
        put(b, 0x175, [CHECKSUM_CRC32C]); // s_checksum_type
        if let Some((block, size)) = self.journal {
            put(b, 0xe0, JOURNAL_INODE.to_le_bytes()); // s_journal_inum
            put(b, 0xfd, [1]); // s_jnl_backup_type: s_jnl_blocks holds the journal's blocks
            put(b, 0x10c, block); // s_jnl_blocks[0..15]
            put(b, 0x148, ((size >> 32) as u32).to_le_bytes()); // s_jnl_blocks[15]: i_size_high
            put(b, 0x14c, (size as u32).to_le_bytes()); // s_jnl_blocks[16]: i_size
        }
        put(b, 0x248, self.overhead_clusters.to_le_bytes()); // s_overhead_clusters
        bytes
    }
}
