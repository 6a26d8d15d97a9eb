//! The checksums of `metadata_csum`: CRC-32C without the final inversion, with the formula of each.
//!
//! `crc(seed, bytes)` below is the kernel's `ext4_chksum`; `‖` concatenates its inputs. The checksum field itself counts as
//! zeros or is left out, as stated.

use super::spec::{BLOCK_SIZE, GroupDescriptor, INODE_SIZE, Inode, SIGNATURE_OFFSET};

/// CRC-32C without the inversions at its start and end that the common form has.
fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// The start of every checksum of one file system.
#[derive(Clone, Copy)]
pub(super) struct FileSystemSeed(u32);

/// The start of the checksums of one inode and its blocks.
#[derive(Clone, Copy)]
pub(super) struct InodeSeed(u32);

/// Sets the checksum of a superblock: `crc(~0, bytes before s_checksum)`.
pub(super) fn seal_superblock(bytes: &mut [u8; 1024]) {
    let sum = crc(u32::MAX, &bytes[..SIGNATURE_OFFSET]);
    bytes[SIGNATURE_OFFSET..].copy_from_slice(&sum.to_le_bytes());
}

impl FileSystemSeed {
    /// Computes `crc(~0, uuid)`.
    pub(super) fn new(uuid: [u8; 16]) -> Self {
        Self(crc(u32::MAX, &uuid))
    }

    /// Computes `crc(fs_seed, le32(number) ‖ le32(i_generation))`; the generation is 0 here.
    pub(super) fn inode(self, number: u32) -> InodeSeed {
        InodeSeed(crc(crc(self.0, &number.to_le_bytes()), &[0; 4]))
    }

    /// Sets the checksum of a group descriptor: the low half of `crc(fs_seed, le32(group) ‖ bytes before bg_checksum ‖ two
    /// zeros)`.
    pub(super) fn seal_descriptor(self, group: u32, bytes: &mut [u8; 32]) {
        let start = crc(self.0, &group.to_le_bytes());
        let sum = crc(crc(start, &bytes[..GroupDescriptor::CHECKSUM]), &[0; 2]);
        bytes[GroupDescriptor::CHECKSUM..].copy_from_slice(&(sum as u16).to_le_bytes());
    }

    /// Computes the checksum of a bitmap: the low half of `crc(fs_seed, the bytes with bits of existing slots)`. These are all
    /// bytes of a block bitmap, and `inodes_per_group / 8` of an inode bitmap.
    pub(super) fn bitmap(self, bytes: &[u8]) -> u16 {
        crc(self.0, bytes) as u16
    }

    /// Sets the checksum of an attribute block: `crc(fs_seed, le64(block number) ‖ the block with h_checksum as zeros)`; `at` is its offset.
    pub(super) fn seal_attribute_block(self, number: u64, block: &mut [u8; BLOCK_SIZE], at: usize) {
        let sum = crc(crc(self.0, &number.to_le_bytes()), block);
        block[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

impl InodeSeed {
    /// Sets the checksum of an inode, in two halves: `crc(inode_seed, all its bytes with both halves as zeros)`.
    pub(super) fn seal_inode(self, bytes: &mut [u8; INODE_SIZE]) {
        let sum = crc(self.0, bytes).to_le_bytes();
        bytes[Inode::CHECKSUM_LOW..][..2].copy_from_slice(&sum[..2]);
        bytes[Inode::CHECKSUM_HIGH..][..2].copy_from_slice(&sum[2..]);
    }

    /// Sets the checksum of a directory block (without its 12-byte tail) or an extent block (without its 4-byte tail):
    /// `crc(inode_seed, the first covered bytes)`, in the block's last four bytes.
    pub(super) fn seal_block(self, block: &mut [u8; BLOCK_SIZE], covered: usize) {
        let sum = crc(self.0, &block[..covered]);
        block[BLOCK_SIZE - 4..].copy_from_slice(&sum.to_le_bytes());
    }

    /// Sets the checksum of a hash tree node: `crc(inode_seed, the bytes up to the last entry in use ‖ dt_reserved ‖ four
    /// zeros)`, in the block's last four bytes. `used` is the end of that entry.
    pub(super) fn seal_index(self, block: &mut [u8; BLOCK_SIZE], used: usize) {
        let sum = crc(crc(self.0, &block[..used]), &[0; 8]);
        block[BLOCK_SIZE - 4..].copy_from_slice(&sum.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_equals_that_of_the_kernel() {
        // lib/crc32test.c states `crc32c` results without the final inversion; "123456789" is the common check value.
        assert_eq!(crc(u32::MAX, b"123456789"), !0xe306_9283);
        assert_eq!(crc(crc(u32::MAX, b"1234"), b"56789"), crc(u32::MAX, b"123456789"));
    }
}
