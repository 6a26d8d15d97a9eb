//! Encodes a directory's content: one block of entries, or a hash tree (Documentation/filesystems/ext4/directory.rst).
//!
//! A tree has its root in block 0, then inner nodes if one level is not enough, then the blocks of entries in the order of
//! their hashes. The kernel can extend it.

use super::checksum::InodeSeed;
use super::hash::hash;
use super::spec::{
    BLOCK_SIZE, DIRECTORY_USABLE, DX_NODE_LIMIT, DX_ROOT_LIMIT, DirectoryBlock, FileType, encode_dx_node,
    encode_dx_root, record_length,
};

/// The fill level of a tree's blocks: free space prevents the first names added later from splitting blocks.
const FILL: usize = DIRECTORY_USABLE * 7 / 8;

/// One entry.
#[derive(Clone, Copy)]
pub(super) struct Child<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) file_type: FileType,
}

/// The numbers and seeds of a directory.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    pub(super) inode: u32,
    pub(super) parent: u32,
    pub(super) seed: InodeSeed,
    pub(super) hash_seed: [u8; 16],
}

/// Encodes the directory into `blocks`. Returns false if it has more entries than a tree of two levels can hold.
pub(super) fn encode(identity: Identity, children: &[Child], blocks: &mut Vec<u8>) -> bool {
    blocks.clear();
    let own = record_length(b".") + record_length(b"..");
    let length: usize = children.iter().map(|child| record_length(child.name)).sum();
    if own + length > DIRECTORY_USABLE {
        return encode_tree(identity, children, blocks);
    }
    let mut block = DirectoryBlock::new();
    block.push(identity.inode, FileType::Directory, b".");
    block.push(identity.parent, FileType::Directory, b"..");
    for child in children {
        block.push(child.inode, child.file_type, child.name);
    }
    push_entries(identity, block, blocks);
    true
}

fn encode_tree(identity: Identity, children: &[Child], blocks: &mut Vec<u8>) -> bool {
    let mut sorted: Vec<((u32, u32), &Child)> =
        children.iter().map(|child| (hash(&identity.hash_seed, child.name), child)).collect();
    sorted.sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| left.1.name.cmp(right.1.name)));
    let leaves = divide(&sorted);
    let hashes = leaves.iter().map(|leaf| leaf.0);
    if leaves.len() <= DX_ROOT_LIMIT {
        let pointers: Vec<(u32, u32)> = hashes.zip(1..).collect();
        push_root(identity, 0, &pointers, blocks);
    } else {
        let node_count = leaves.len().div_ceil(DX_NODE_LIMIT);
        if node_count > DX_ROOT_LIMIT {
            return false;
        }
        // Block 0 is the root, then the nodes, then the leaves. DX_ROOT_LIMIT nodes of DX_NODE_LIMIT leaves fit 32 bits.
        let pointers: Vec<(u32, u32)> = hashes.zip(1 + node_count as u32..).collect();
        let nodes: Vec<&[(u32, u32)]> = pointers.chunks(DX_NODE_LIMIT).collect();
        let above: Vec<(u32, u32)> = nodes.iter().map(|node| node[0].0).zip(1..).collect();
        push_root(identity, 1, &above, blocks);
        for node in nodes {
            let mut block = encode_dx_node(node);
            identity.seed.seal_index(&mut block, 8 + node.len() * 8);
            blocks.extend_from_slice(&block);
        }
    }
    for (_, entries) in leaves {
        let mut block = DirectoryBlock::new();
        for (_, child) in entries {
            block.push(child.inode, child.file_type, child.name);
        }
        push_entries(identity, block, blocks);
    }
    true
}

type Hashed<'a> = ((u32, u32), &'a Child<'a>);

/// Divides sorted entries into blocks. Returns each with the hash of its pointer: that of its first entry, with the lowest
/// bit set if the previous block has entries with the same hash (`dx_insert_block`, "continued").
fn divide<'a, 'b>(sorted: &'b [Hashed<'a>]) -> Vec<(u32, &'b [Hashed<'a>])> {
    let mut leaves = Vec::new();
    let (mut start, mut filled) = (0, 0);
    for (index, ((major, _), child)) in sorted.iter().enumerate() {
        let length = record_length(child.name);
        // Names with one hash stay together while the block has room.
        let continues = index > start && sorted[index - 1].0.0 == *major;
        let most = if continues { DIRECTORY_USABLE } else { FILL };
        if filled + length > most {
            leaves.push((start, index));
            (start, filled) = (index, 0);
        }
        filled += length;
    }
    leaves.push((start, sorted.len()));
    let pointer = |start: usize| {
        let major = sorted[start].0.0;
        let continued = start > 0 && sorted[start - 1].0.0 == major;
        major | u32::from(continued)
    };
    leaves.into_iter().map(|(start, end)| (pointer(start), &sorted[start..end])).collect()
}

fn push_root(identity: Identity, levels: u8, pointers: &[(u32, u32)], blocks: &mut Vec<u8>) {
    let mut block = encode_dx_root(identity.inode, identity.parent, levels, pointers);
    identity.seed.seal_index(&mut block, 32 + pointers.len() * 8);
    blocks.extend_from_slice(&block);
}

fn push_entries(identity: Identity, block: DirectoryBlock, blocks: &mut Vec<u8>) {
    let mut bytes: [u8; BLOCK_SIZE] = block.finish();
    identity.seed.seal_block(&mut bytes, DIRECTORY_USABLE);
    blocks.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::super::checksum::FileSystemSeed;
    use super::*;

    fn identity() -> Identity {
        Identity { inode: 12, parent: 2, seed: FileSystemSeed::new([1; 16]).inode(12), hash_seed: [7; 16] }
    }

    fn children(names: &[Vec<u8>]) -> Vec<Child<'_>> {
        names.iter().map(|name| Child { name, inode: 99, file_type: FileType::File }).collect()
    }

    /// Returns the names in all blocks of entries, walked by record length.
    fn listed(blocks: &[u8]) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for block in blocks.chunks_exact(BLOCK_SIZE) {
            let mut at = 0;
            while at < BLOCK_SIZE {
                let inode = u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
                let length = usize::from(u16::from_le_bytes([block[at + 4], block[at + 5]]));
                assert!(length >= 8 && length % 4 == 0);
                if inode != 0 {
                    names.push(block[at + 8..at + 8 + usize::from(block[at + 6])].to_vec());
                }
                at += length;
            }
            assert_eq!(at, BLOCK_SIZE);
        }
        names
    }

    #[test]
    fn every_name_is_listed_once_for_every_size() {
        for (count, blocks_expected) in [(0, Some(1)), (203, Some(1)), (204, Some(3)), (100_000, None)] {
            let mut names: Vec<Vec<u8>> = (0..count).map(|index| format!("name{index:06}").into_bytes()).collect();
            let mut blocks = Vec::new();
            assert!(encode(identity(), &children(&names), &mut blocks));
            if let Some(expected) = blocks_expected {
                assert_eq!(blocks.len(), expected * BLOCK_SIZE, "{count} names");
            }
            let mut found = listed(&blocks);
            names.extend([b".".to_vec(), b"..".to_vec()]);
            found.sort();
            names.sort();
            assert!(found == names, "{count} names");
        }
    }

    #[test]
    fn a_hash_that_continues_is_marked() {
        let child = Child { name: &[b'x'; 255], inode: 99, file_type: FileType::File };
        // 15 entries of 264 bytes fill a block; all have one hash.
        let sorted: Vec<Hashed> = (0..20).map(|_| ((0x1000, 0), &child)).collect();
        let leaves = divide(&sorted);
        assert_eq!(leaves.iter().map(|leaf| (leaf.0, leaf.1.len())).collect::<Vec<_>>(), [(0x1000, 15), (0x1001, 5)]);
    }
}
