//! The on-disk structures, byte by byte, with the kernel's names and offsets (Documentation/filesystems/ext4/, and
//! fs/ext4/ext4.h). Each is a struct of its variable fields, and an `encode` that reads as a table of offsets.
//!
//! All numbers are little-endian, except the journal's (big-endian). Checksums are in `super::checksum`.

mod directory;
mod group;
mod inode;
mod journal;
mod superblock;

pub(super) use directory::{
    DX_NODE_LIMIT, DX_ROOT_LIMIT, DirectoryBlock, FileType, MAX_NAME, USABLE as DIRECTORY_USABLE, encode_dx_node,
    encode_dx_root, record_length,
};
pub(super) use group::{BLOCK_UNINIT, GroupDescriptor, INODE_UNINIT, INODE_ZEROED};
pub(super) use inode::{EXTENTS_FL, INDEX_FL, Inode, decode_nanoseconds, decode_seconds, encode_device, encode_time};
pub(super) use journal::encode_journal_superblock;
pub(super) use superblock::{SIGNATURE_OFFSET, Superblock};

/// Bytes of a block: the only supported size.
pub(crate) const BLOCK_SIZE: usize = 4096;
/// log2(`BLOCK_SIZE`) - 10, for `s_log_block_size`.
const LOG_BLOCK_SIZE: u32 = 2;
/// Blocks of a group: one block of bitmap covers it.
pub(crate) const BLOCKS_PER_GROUP: u32 = 8 * BLOCK_SIZE as u32;
/// Bytes of an inode: room for nanoseconds, a checksum and small attributes.
pub(crate) const INODE_SIZE: usize = 256;
/// Inodes in one block of an inode table.
pub(crate) const INODES_PER_BLOCK: u32 = (BLOCK_SIZE / INODE_SIZE) as u32;
/// Bytes of a group descriptor without the `64bit` feature.
pub(crate) const DESCRIPTOR_SIZE: usize = 32;
/// Group descriptors in one block.
pub(crate) const DESCRIPTORS_PER_BLOCK: u32 = (BLOCK_SIZE / DESCRIPTOR_SIZE) as u32;

/// The inode of the root directory.
pub(crate) const ROOT_INODE: u32 = 2;
/// The inode of the journal.
pub(crate) const JOURNAL_INODE: u32 = 8;
/// The first inode that is not reserved; by convention that of lost+found.
pub(crate) const FIRST_INODE: u32 = 11;

/// Writes `bytes` at `offset`.
fn put<const N: usize>(buffer: &mut [u8], offset: usize, bytes: [u8; N]) {
    buffer[offset..offset + N].copy_from_slice(&bytes);
}
