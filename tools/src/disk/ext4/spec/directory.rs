//! `struct ext4_dir_entry_2`, its block with a checksum tail, and the nodes of a hash tree (`struct dx_root`,
//! `struct dx_node`).

use super::{BLOCK_SIZE, put};

/// The longest name.
pub(in crate::disk::ext4) const MAX_NAME: usize = 255;
/// Bytes of a block that entries may fill; `struct ext4_dir_entry_tail` takes the last 12.
pub(in crate::disk::ext4) const USABLE: usize = BLOCK_SIZE - TAIL;
const TAIL: usize = 12;
const TAIL_FILE_TYPE: u8 = 0xde;
const DX_HASH_HALF_MD4: u8 = 1;

/// The most blocks that a hash tree's root points to: 8 bytes each, after the two entries and the root's information, and
/// before the 8 bytes of `struct dx_tail`.
pub(in crate::disk::ext4) const DX_ROOT_LIMIT: usize = (BLOCK_SIZE - DX_ROOT_ENTRIES) / 8 - 1;
/// The most blocks that an inner node points to.
pub(in crate::disk::ext4) const DX_NODE_LIMIT: usize = (BLOCK_SIZE - DX_NODE_ENTRIES) / 8 - 1;
const DX_ROOT_ENTRIES: usize = 32;
const DX_NODE_ENTRIES: usize = 8;

/// `file_type` of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::disk::ext4) enum FileType {
    File = 1,
    Directory = 2,
    CharacterDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

/// Returns the bytes of an entry: its header and name, rounded up to four.
pub(in crate::disk::ext4) fn record_length(name: &[u8]) -> usize {
    (8 + name.len()).next_multiple_of(4)
}

/// A block of entries under construction.
pub(in crate::disk::ext4) struct DirectoryBlock {
    bytes: [u8; BLOCK_SIZE],
    /// The offsets of the last entry and of the next one.
    last: usize,
    end: usize,
}

impl DirectoryBlock {
    /// Returns a block without entries.
    pub(in crate::disk::ext4) fn new() -> Self {
        Self { bytes: [0; BLOCK_SIZE], last: 0, end: 0 }
    }

    /// Appends an entry that fits.
    pub(in crate::disk::ext4) fn push(&mut self, inode: u32, file_type: FileType, name: &[u8]) {
        let length = record_length(name);
        put_entry(&mut self.bytes[self.end..], inode, length, name, file_type as u8);
        self.last = self.end;
        self.end += length;
    }

    /// Encodes the block, without the checksum. The last entry extends to the tail.
    pub(in crate::disk::ext4) fn finish(mut self) -> [u8; BLOCK_SIZE] {
        let length = (USABLE - self.last) as u16; // at most a block
        put(&mut self.bytes, self.last + 4, length.to_le_bytes());
        put_entry(&mut self.bytes[USABLE..], 0, TAIL, &[], TAIL_FILE_TYPE);
        self.bytes
    }
}

/// Encodes the first block of a directory with a hash tree: the entries `.` and `..`, whose record length hides the root.
/// `children` are pairs of the lowest hash and the block within the directory; the first hash is not stored.
pub(in crate::disk::ext4) fn encode_dx_root(
    inode: u32,
    parent: u32,
    levels: u8,
    children: &[(u32, u32)],
) -> [u8; BLOCK_SIZE] {
    let mut bytes = [0; BLOCK_SIZE];
    put_entry(&mut bytes, inode, 12, b".", FileType::Directory as u8);
    put_entry(&mut bytes[12..], parent, BLOCK_SIZE - 12, b"..", FileType::Directory as u8);
    // struct dx_root_info: reserved_zero, hash_version, info_length, indirect_levels, unused_flags.
    put(&mut bytes, 24, [0, 0, 0, 0, DX_HASH_HALF_MD4, 8, levels, 0]);
    put_children(&mut bytes[DX_ROOT_ENTRIES..], DX_ROOT_LIMIT, children);
    bytes
}

/// Encodes an inner node, hidden by an empty entry that spans the block.
pub(in crate::disk::ext4) fn encode_dx_node(children: &[(u32, u32)]) -> [u8; BLOCK_SIZE] {
    let mut bytes = [0; BLOCK_SIZE];
    put_entry(&mut bytes, 0, BLOCK_SIZE, &[], 0);
    put_children(&mut bytes[DX_NODE_ENTRIES..], DX_NODE_LIMIT, children);
    bytes
}

fn put_children(entries: &mut [u8], limit: usize, children: &[(u32, u32)]) {
    for (index, (hash, block)) in children.iter().enumerate() {
        put(entries, index * 8, hash.to_le_bytes());
        put(entries, index * 8 + 4, block.to_le_bytes());
    }
    // struct dx_countlimit replaces the first hash.
    put(entries, 0, (limit as u16).to_le_bytes());
    put(entries, 2, (children.len() as u16).to_le_bytes());
}

fn put_entry(bytes: &mut [u8], inode: u32, length: usize, name: &[u8], file_type: u8) {
    put(bytes, 0, inode.to_le_bytes());
    put(bytes, 4, (length as u16).to_le_bytes()); // at most a block
    put(bytes, 6, [name.len() as u8, file_type]); // at most MAX_NAME
    bytes[8..8 + name.len()].copy_from_slice(name);
}
