//! `struct ext4_group_desc`: its first 32 bytes, which are all without the `64bit` feature.

use super::{DESCRIPTOR_SIZE, put};

/// No inode of the group is in use: its bitmap is not read.
pub(in crate::disk::ext4) const INODE_UNINIT: u16 = 1;
/// No block of the group is in use except its copy of the superblock: its bitmap is not read.
pub(in crate::disk::ext4) const BLOCK_UNINIT: u16 = 2;
/// The unused part of the inode table is zeros already: the kernel need not write it after the first mount.
pub(in crate::disk::ext4) const INODE_ZEROED: u16 = 4;

/// One group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::disk::ext4) struct GroupDescriptor {
    pub(in crate::disk::ext4) block_bitmap: u32,
    pub(in crate::disk::ext4) inode_bitmap: u32,
    pub(in crate::disk::ext4) inode_table: u32,
    pub(in crate::disk::ext4) free_blocks_count: u16,
    pub(in crate::disk::ext4) free_inodes_count: u16,
    pub(in crate::disk::ext4) used_dirs_count: u16,
    pub(in crate::disk::ext4) flags: u16,
    pub(in crate::disk::ext4) block_bitmap_csum: u16,
    pub(in crate::disk::ext4) inode_bitmap_csum: u16,
    /// The number of never used inodes at the table's end.
    pub(in crate::disk::ext4) itable_unused: u16,
}

impl GroupDescriptor {
    /// Offset of `bg_checksum`, the last field.
    pub(in crate::disk::ext4) const CHECKSUM: usize = 0x1e;

    /// Encodes the descriptor, without the checksum.
    pub(in crate::disk::ext4) fn encode(&self) -> [u8; DESCRIPTOR_SIZE] {
        let mut bytes = [0; DESCRIPTOR_SIZE];
        let b = &mut bytes;
        put(b, 0x00, self.block_bitmap.to_le_bytes()); // bg_block_bitmap_lo
        put(b, 0x04, self.inode_bitmap.to_le_bytes()); // bg_inode_bitmap_lo
        put(b, 0x08, self.inode_table.to_le_bytes()); // bg_inode_table_lo
        put(b, 0x0c, self.free_blocks_count.to_le_bytes()); // bg_free_blocks_count_lo
        put(b, 0x0e, self.free_inodes_count.to_le_bytes()); // bg_free_inodes_count_lo
        put(b, 0x10, self.used_dirs_count.to_le_bytes()); // bg_used_dirs_count_lo
        put(b, 0x12, self.flags.to_le_bytes()); // bg_flags
        put(b, 0x18, self.block_bitmap_csum.to_le_bytes()); // bg_block_bitmap_csum_lo
        put(b, 0x1a, self.inode_bitmap_csum.to_le_bytes()); // bg_inode_bitmap_csum_lo
        put(b, 0x1c, self.itable_unused.to_le_bytes()); // bg_itable_unused_lo
        bytes
    }
}
