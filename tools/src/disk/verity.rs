//! The hash tree of dm-verity after a file system, in the format of veritysetup: a superblock, then the levels of the tree, the root
//! first (cryptsetup, lib/verity/verity_hash.c). `whit::verity` has the superblock, which the init reads.
//!
//! A level is read from the file, so that a tree of any size needs no memory. The same file system has the same tree: the salt is
//! derived from its UUID.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};
use whit::verity::{BLOCK_BYTES, DATA_BLOCKS_AT, PARAMETERS, PARAMETERS_AT, SALT_AT, SALT_BYTES_AT, START};

use super::ext4::is_zero;

/// A hash.
pub type Hash = [u8; HASH];
const HASH: usize = 32;
const BLOCK: usize = BLOCK_BYTES as usize;
/// Hashes in a block.
const FANOUT: u64 = (BLOCK / HASH) as u64;
/// Blocks that are read at once; their hashes fill whole blocks.
const PIECE: u64 = 2 * FANOUT;

/// Returns the number of blocks of each level of the tree over so many blocks of data, the lowest level first. There is no level over a
/// single block.
fn levels(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(FANOUT);
        levels.push(blocks);
    }
    levels
}

/// Returns the length of a file system with its superblock of dm-verity and its tree.
pub fn length(data_bytes: u64) -> u64 {
    let data_blocks = data_bytes.div_ceil(BLOCK_BYTES);
    (data_blocks + 1 + levels(data_blocks).iter().sum::<u64>()) * BLOCK_BYTES
}

/// Returns the length of the largest file system, a multiple of `unit`, that fits with its tree.
pub fn data_length(available: u64, unit: u64) -> u64 {
    let mut data = available / (FANOUT + 1) * FANOUT / unit * unit + unit;
    while data > 0 && length(data) > available {
        data -= unit;
    }
    data
}

/// Returns the digits of a root hash.
pub fn digits(hash: &Hash) -> String {
    hash.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}"); // to a String
        digits
    })
}

/// Appends superblock and tree to a file system of `data_bytes`, a multiple of a block, at `base`. Returns the root hash.
///
/// # Errors
/// Errors of reading and writing.
pub fn append(file: &File, base: u64, data_bytes: u64, uuid: [u8; 16]) -> io::Result<Hash> {
    let tree = Tree::of(base, data_bytes, Sha256::digest(uuid).into());
    file.write_all_at(&tree.superblock(uuid), base + data_bytes)?;
    file.set_len(base + length(data_bytes))?;
    tree.compute(file, &mut |offset, hashes| file.write_all_at(hashes, offset))
}

/// Computes the tree of a finished disk again. Returns whether it is the one on the disk, and has this root hash.
///
/// # Errors
/// Errors of reading.
pub fn check(file: &File, base: u64, data_bytes: u64, uuid: [u8; 16], root: &Hash) -> io::Result<bool> {
    let tree = Tree::of(base, data_bytes, Sha256::digest(uuid).into());
    let mut is_same = true;
    let mut compare = |offset: u64, expected: &[u8]| {
        let mut found = vec![0; expected.len()];
        file.read_exact_at(&mut found, offset)?;
        is_same &= found == expected;
        io::Result::Ok(())
    };
    compare(base + data_bytes, &tree.superblock(uuid))?;
    let computed = tree.compute(file, &mut compare)?;
    Ok(is_same && computed == *root)
}

/// Returns the root hash of the tree after a file system of `data_bytes` at `base`, from the tree's first block; `None` if there is no
/// tree that the init accepts.
///
/// # Errors
/// Errors of reading.
pub fn root(file: &File, base: u64, data_bytes: u64) -> io::Result<Option<Hash>> {
    let data_blocks = data_bytes.div_ceil(BLOCK_BYTES);
    // The number of blocks is the disk's: it may be any.
    let offset = |number| data_blocks.checked_add(number)?.checked_mul(BLOCK_BYTES)?.checked_add(base);
    let block = |number: u64| {
        let mut block = [0; BLOCK];
        let Some(offset) = offset(number).filter(|offset| i64::try_from(*offset).is_ok()) else { return Ok(None) };
        match file.read_exact_at(&mut block, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            result => result.map(|()| Some(block)),
        }
    };
    let (Some(superblock), Some(first)) = (block(0)?, block(1)?) else { return Ok(None) };
    Ok(whit::verity::salt(&superblock, data_blocks).map(|salt| Hasher::new(salt).hash(&first)))
}

/// The tree of a file system.
struct Tree {
    /// The offset of the file system in the file.
    base: u64,
    data_blocks: u64,
    salt: Hash,
}

impl Tree {
    fn of(base: u64, data_bytes: u64, salt: Hash) -> Self {
        Self { base, data_blocks: data_bytes / BLOCK_BYTES, salt }
    }

    fn superblock(&self, uuid: [u8; 16]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let fields: [(usize, &[u8]); 6] = [
            (0, &START),
            (START.len(), &uuid),
            (PARAMETERS_AT, &PARAMETERS),
            (DATA_BLOCKS_AT, &self.data_blocks.to_le_bytes()),
            (SALT_BYTES_AT, &(HASH as u16).to_le_bytes()),
            (SALT_AT, &self.salt),
        ];
        for (at, bytes) in fields {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        }
        block
    }

    /// Computes the levels from the lowest on, and passes each piece of one to `sink` before the next level is read from the file. Returns
    /// the root hash.
    fn compute(&self, file: &File, sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<Hash> {
        let hasher = Hasher::new(&self.salt);
        let levels = levels(self.data_blocks);
        let mut from = (self.base, self.data_blocks);
        // The end of the tree; the lowest level is the last.
        let mut end = self.base + (self.data_blocks + 1 + levels.iter().sum::<u64>()) * BLOCK_BYTES;
        for blocks in levels {
            end -= blocks * BLOCK_BYTES;
            hasher.level(file, from, end, sink)?;
            from = (end, blocks);
        }
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, from.0)?;
        Ok(hasher.hash(&block))
    }
}

/// SHA-256 that has begun with the salt.
struct Hasher {
    begun: Sha256,
    of_zeros: Hash,
}

impl Hasher {
    fn new(salt: &[u8]) -> Self {
        let begun = Sha256::new().chain_update(salt);
        let of_zeros = begun.clone().chain_update([0; BLOCK]).finalize().into();
        Self { begun, of_zeros }
    }

    fn hash(&self, block: &[u8]) -> Hash {
        if is_zero(block) { self.of_zeros } else { self.begun.clone().chain_update(block).finalize().into() }
    }

    /// Passes the hashes of the blocks from an offset on to `sink`, in whole blocks for the offset `to`.
    fn level(
        &self,
        file: &File,
        (from, blocks): (u64, u64),
        to: u64,
        sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut data = vec![0; PIECE as usize * BLOCK];
        let mut hashes = Vec::new();
        for first in (0..blocks).step_by(PIECE as usize) {
            let count = PIECE.min(blocks - first);
            let data = &mut data[..count as usize * BLOCK];
            file.read_exact_at(data, from + first * BLOCK_BYTES)?;
            hashes.clear();
            for block in data.chunks(BLOCK) {
                hashes.extend_from_slice(&self.hash(block));
            }
            hashes.resize(hashes.len().next_multiple_of(BLOCK), 0);
            sink(to + first / FANOUT * BLOCK_BYTES, &hashes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_has_a_hash_for_each_block_below() {
        for (data, expected) in [
            (0, &[][..]),
            (1, &[]),
            (2, &[1]),
            (128, &[1]),
            (129, &[2, 1]),
            (16_384, &[128, 1]),
            (16_385, &[129, 2, 1]),
        ] {
            assert_eq!(levels(data), expected, "{data}");
        }
        assert_eq!(length(129 * BLOCK_BYTES), (129 + 1 + 3) * BLOCK_BYTES);
        assert_eq!(length(129 * BLOCK_BYTES - 1), length(129 * BLOCK_BYTES));
    }

    #[test]
    fn the_largest_file_system_fits_with_its_tree() {
        for unit in [BLOCK_BYTES, 1 << 20] {
            for available in (0..80 << 20).step_by(700_001).chain([(64 << 20) - 1, 64 << 20, 1 << 40]) {
                let data = data_length(available, unit);
                assert!(data.is_multiple_of(unit) && (data == 0 || length(data) <= available), "{data} in {available}");
                assert!(length(data + unit) > available, "{data} in {available}");
            }
        }
    }

    #[test]
    fn a_disk_may_state_any_number_of_blocks() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        for data_bytes in [0, 1 << 19, 1 << 20, 1 << 60, i64::MAX as u64, u64::MAX - BLOCK_BYTES, u64::MAX] {
            assert_eq!(root(&file, 0, data_bytes).unwrap(), None, "{data_bytes}");
        }
    }

    #[test]
    fn one_changed_bit_is_found() {
        let file = tempfile::tempfile().unwrap();
        let bytes = 300 * BLOCK_BYTES;
        let base = 2 * BLOCK_BYTES;
        file.set_len(base + bytes).unwrap();
        file.write_all_at(&[7; 100_000], base + 50_000).unwrap();
        let uuid = [3; 16];
        let hash = append(&file, base, bytes, uuid).unwrap();
        assert_eq!(file.metadata().unwrap().len(), base + length(bytes));
        assert!(check(&file, base, bytes, uuid, &hash).unwrap());
        assert_eq!(root(&file, base, bytes).unwrap(), Some(hash));
        assert_eq!(root(&file, base, bytes - BLOCK_BYTES).unwrap(), None);
        assert_eq!(root(&file, base, bytes + (1 << 30)).unwrap(), None);
        for at in [base, base + 60_001, base + bytes, base + bytes + SALT_AT as u64, base + length(bytes) - 1] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
            assert!(!check(&file, base, bytes, uuid, &hash).unwrap(), "{at}");
            file.write_all_at(&byte, at).unwrap();
        }
        assert!(check(&file, base, bytes, uuid, &hash).unwrap());
    }
}
