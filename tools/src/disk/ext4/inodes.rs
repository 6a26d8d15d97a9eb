//! Encodes nodes as inodes.

use std::collections::HashMap;

use super::Builder;
use super::attributes;
use super::checksum::InodeSeed;
use super::extents::encode_short;
use super::spec::{BLOCK_SIZE, EXTENTS_FL, FileType, INDEX_FL, INODE_SIZE, Inode, encode_device, encode_time};
use super::tree::{Content, Node, NodeId, mode};

/// A directory with more links than this has a link count of 1, for unknown (`dir_nlink`).
pub(super) const MAX_DIRECTORY_LINKS: u32 = 65_000;
const SECTORS_PER_BLOCK: u64 = BLOCK_SIZE as u64 / 512;

/// Data of inodes that is stored in separate blocks.
pub(super) struct Outside {
    /// Roots of extent trees, with the blocks below them.
    pub(super) trees: HashMap<NodeId, ([u8; 60], u32)>,
    /// Attribute blocks.
    pub(super) attributes: HashMap<NodeId, u32>,
}

/// The journal's inode.
pub(super) struct Journal {
    /// Its `i_block`.
    pub(super) block: [u8; 60],
    /// Blocks of the log.
    pub(super) blocks: u32,
    /// Blocks of its extent tree.
    pub(super) tree_blocks: u32,
}

impl Journal {
    /// Returns the bytes of the log.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.blocks) * BLOCK_SIZE as u64
    }

    /// Encodes its inode.
    pub(super) fn encode(&self, time: u32, seed: InodeSeed) -> [u8; INODE_SIZE] {
        let mut bytes = Inode {
            mode: mode::FILE | 0o600,
            uid: 0,
            gid: 0,
            size: self.size(),
            links_count: 1,
            sectors: u64::from(self.blocks + self.tree_blocks) * SECTORS_PER_BLOCK,
            flags: EXTENTS_FL,
            block: self.block,
            file_acl: 0,
            time: encode_time(i64::from(time), 0),
        }
        .encode();
        seed.seal_inode(&mut bytes);
        bytes
    }
}

impl Builder<'_> {
    /// Encodes the inode of a node whose content is written.
    pub(super) fn encode_inode(&self, id: NodeId, outside: &Outside, seed: InodeSeed) -> [u8; INODE_SIZE] {
        let node = self.tree.node(id);
        let attribute_block = outside.attributes.get(&id).copied();
        let (block, blocks) = self.encode_content(id, node, outside);
        let has_extents = matches!(node.kind(), mode::FILE | mode::DIRECTORY) || blocks > 0;
        let is_tree = node.is_directory() && node.size > BLOCK_SIZE as u64;
        let links = if node.is_directory() && node.links > MAX_DIRECTORY_LINKS { 1 } else { node.links };
        let mut bytes = Inode {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            links_count: links as u16, // bounded here and by Tree::link
            sectors: (blocks + u64::from(attribute_block.is_some())) * SECTORS_PER_BLOCK,
            flags: if has_extents { EXTENTS_FL } else { 0 } | if is_tree { INDEX_FL } else { 0 },
            block,
            file_acl: attribute_block.unwrap_or(0),
            time: node.time,
        }
        .encode();
        if let Some(encoded) = attributes::encode(self.sets.get(node.attributes)) {
            bytes[Inode::ATTRIBUTES..][..encoded.in_inode.len()].copy_from_slice(&encoded.in_inode);
        }
        seed.seal_inode(&mut bytes);
        bytes
    }

    /// Encodes `i_block`. Returns the number of the content's blocks too.
    fn encode_content(&self, id: NodeId, node: &Node, outside: &Outside) -> ([u8; 60], u64) {
        match node.content {
            Content::Extents { first, count } => {
                let extents = &self.extents[first as usize..][..count as usize];
                let data: u64 = extents.iter().map(|extent| u64::from(extent.run.length)).sum();
                match outside.trees.get(&id) {
                    Some((block, tree_blocks)) => (*block, data + u64::from(*tree_blocks)),
                    None => (encode_short(extents), data),
                }
            }
            Content::Target { start, length } => {
                let mut block = [0; 60];
                block[..usize::from(length)].copy_from_slice(self.tree.slice(start, length));
                (block, 0)
            }
            // Checked by Builder::device.
            Content::Device { major, minor } => (encode_device(major, minor).unwrap_or([0; 60]), 0),
            Content::Nothing | Content::Directory { .. } => ([0; 60], 0),
        }
    }
}

/// Returns the type of a node for a directory entry.
pub(super) fn file_type(node: &Node) -> FileType {
    match node.kind() {
        mode::DIRECTORY => FileType::Directory,
        mode::SYMLINK => FileType::Symlink,
        mode::CHARACTER_DEVICE => FileType::CharacterDevice,
        mode::BLOCK_DEVICE => FileType::BlockDevice,
        mode::FIFO => FileType::Fifo,
        _ => FileType::File,
    }
}
