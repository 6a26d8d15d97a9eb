//! Extents (Documentation/filesystems/ext4/ifork.rst): the map from a file's blocks to the disk's.
//!
//! Four fit into the inode; more are in a tree of blocks with 340 entries each, as deep as necessary.

use super::checksum::InodeSeed;
use super::layout::Run;
use super::spec::BLOCK_SIZE;

const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// Entries that fit into `i_block`.
pub(super) const IN_INODE: usize = (60 - HEADER) / ENTRY;
/// Entries that fit into a block, before the 4 bytes of `struct ext4_extent_tail`.
const IN_BLOCK: usize = (BLOCK_SIZE - HEADER - 4) / ENTRY;
/// `EXT_INIT_MAX_LEN`: longer lengths mean unwritten extents.
const MAX_LENGTH: u32 = 1 << 15;

/// The blocks `run`, which contain the file's blocks from `logical` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) logical: u32,
    pub(super) run: Run,
}

/// Appends a run to the extents of one file, which start at index `first`; one that continues the last is merged.
pub(super) fn append(extents: &mut Vec<Extent>, first: usize, mut logical: u32, mut run: Run) {
    if let Some(last) = extents[first..].last_mut() {
        let continues = last.logical + last.run.length == logical && last.run.start + last.run.length == run.start;
        if continues {
            let count = run.length.min(MAX_LENGTH - last.run.length);
            last.run.length += count;
            (logical, run) = (logical + count, Run { start: run.start + count, length: run.length - count });
        }
    }
    while run.length > 0 {
        let count = run.length.min(MAX_LENGTH);
        extents.push(Extent { logical, run: Run { start: run.start, length: count } });
        (logical, run) = (logical + count, Run { start: run.start + count, length: run.length - count });
    }
}

/// Encodes `i_block` of a file, and writes its tree. Returns the number of the tree's blocks too. `store` writes a block and
/// returns its number.
pub(super) fn encode_tree<E>(
    extents: &[Extent],
    seed: InodeSeed,
    mut store: impl FnMut(&[u8; BLOCK_SIZE]) -> Result<u32, E>,
) -> Result<([u8; 60], u32), E> {
    let mut level: Vec<(u32, [u8; ENTRY])> = extents.iter().map(|extent| (extent.logical, leaf(extent))).collect();
    let (mut depth, mut blocks) = (0, 0);
    while level.len() > IN_INODE {
        let mut above = Vec::with_capacity(level.len().div_ceil(IN_BLOCK));
        for entries in level.chunks(IN_BLOCK) {
            let mut block = [0; BLOCK_SIZE];
            encode_node(&mut block, entries, IN_BLOCK, depth);
            seed.seal_block(&mut block, HEADER + IN_BLOCK * ENTRY);
            let logical = entries[0].0; // chunks are never empty
            above.push((logical, index(logical, store(&block)?)));
            blocks += 1;
        }
        level = above;
        depth += 1;
    }
    Ok((encode_root(&level, depth), blocks))
}

/// Encodes `i_block` of a file with at most [`IN_INODE`] extents.
pub(super) fn encode_short(extents: &[Extent]) -> [u8; 60] {
    let entries: Vec<_> = extents.iter().map(|extent| (extent.logical, leaf(extent))).collect();
    encode_root(&entries, 0)
}

fn encode_root(entries: &[(u32, [u8; ENTRY])], depth: u16) -> [u8; 60] {
    let mut root = [0; 60];
    encode_node(&mut root, entries, IN_INODE, depth);
    root
}

/// Encodes `struct ext4_extent_header` and the entries.
fn encode_node(node: &mut [u8], entries: &[(u32, [u8; ENTRY])], most: usize, depth: u16) {
    node[0..2].copy_from_slice(&MAGIC.to_le_bytes()); // eh_magic
    node[2..4].copy_from_slice(&(entries.len() as u16).to_le_bytes()); // eh_entries
    node[4..6].copy_from_slice(&(most as u16).to_le_bytes()); // eh_max
    node[6..8].copy_from_slice(&depth.to_le_bytes()); // eh_depth
    for (place, (_, entry)) in node[HEADER..].chunks_exact_mut(ENTRY).zip(entries) {
        place.copy_from_slice(entry);
    }
}

/// Encodes `struct ext4_extent`.
fn leaf(extent: &Extent) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[0..4].copy_from_slice(&extent.logical.to_le_bytes()); // ee_block
    bytes[4..6].copy_from_slice(&(extent.run.length as u16).to_le_bytes()); // ee_len: at most MAX_LENGTH
    bytes[8..12].copy_from_slice(&extent.run.start.to_le_bytes()); // ee_start_lo
    bytes
}

/// Encodes `struct ext4_extent_idx`.
fn index(logical: u32, block: u32) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[0..4].copy_from_slice(&logical.to_le_bytes()); // ei_block
    bytes[4..8].copy_from_slice(&block.to_le_bytes()); // ei_leaf_lo
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::checksum::FileSystemSeed;
    use super::*;

    #[test]
    fn adjacent_runs_are_merged_up_to_the_longest_extent() {
        let mut extents = Vec::new();
        append(&mut extents, 0, 0, Run { start: 100, length: 32_000 });
        append(&mut extents, 0, 32_000, Run { start: 32_100, length: 40_000 });
        append(&mut extents, 0, 80_000, Run { start: 72_100, length: 1 }); // a hole in front
        append(&mut extents, 0, 80_001, Run { start: 90_000, length: 1 }); // elsewhere
        let flat: Vec<_> = extents.iter().map(|extent| (extent.logical, extent.run.start, extent.run.length)).collect();
        assert_eq!(
            flat,
            [
                (0, 100, 32_768),
                (32_768, 32_868, 32_768),
                (65_536, 65_636, 6_464),
                (80_000, 72_100, 1),
                (80_001, 90_000, 1)
            ]
        );
    }

    #[test]
    fn a_new_file_does_not_continue_the_one_before() {
        let mut extents = vec![Extent { logical: 0, run: Run { start: 5, length: 1 } }];
        append(&mut extents, 1, 1, Run { start: 6, length: 1 });
        assert_eq!(extents.len(), 2);
    }

    #[test]
    fn the_tree_has_the_least_depth() {
        let seed = FileSystemSeed::new([0; 16]).inode(12);
        for (count, depth, blocks) in [(0, 0, 0), (4, 0, 0), (5, 1, 1), (1360, 1, 4), (1361, 2, 6), (120_000, 2, 355)] {
            let extents: Vec<Extent> = (0..count)
                .map(|index| Extent { logical: index * 2, run: Run { start: index * 3, length: 1 } })
                .collect();
            let mut stored = Vec::new();
            let (root, taken) = encode_tree(&extents, seed, |block| {
                stored.push(*block);
                Ok::<u32, ()>(stored.len() as u32 - 1)
            })
            .unwrap();
            assert_eq!((u16::from_le_bytes([root[6], root[7]]), taken), (depth, blocks), "{count} extents");
            let mut found = Vec::new();
            collect(&root, &stored, &mut found);
            let expected: Vec<(u32, u32)> = extents.iter().map(|extent| (extent.logical, extent.run.start)).collect();
            assert_eq!(found, expected);
        }
    }

    fn collect(node: &[u8], stored: &[[u8; BLOCK_SIZE]], found: &mut Vec<(u32, u32)>) {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let (count, depth) = (u16::from_le_bytes([node[2], node[3]]), node[6]);
        for entry in node[HEADER..].chunks_exact(ENTRY).take(usize::from(count)) {
            if depth == 0 {
                found.push((word(&entry[..4]), word(&entry[8..])));
            } else {
                collect(&stored[word(&entry[4..8]) as usize], stored, found);
            }
        }
    }
}
