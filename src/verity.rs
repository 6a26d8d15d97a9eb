//! dm-verity: the hash tree after a file system, in the format of veritysetup (cryptsetup, lib/verity/verity.c).
//!
//! One form is accepted: version 1, SHA-256, blocks of 4096 bytes, and a superblock at the first such block after the file system. So
//! a disk chooses nothing but the salt.

use crate::probe::{Format, Place};

/// The bytes of a block, of data and of hashes.
pub const BLOCK_BYTES: u64 = 4096;
/// The longest salt that is accepted; the format has room for 256 bytes.
pub const MAX_SALT: usize = 128;
/// The start of a superblock: the signature, the version and the type of the tree, which is 1 (a salt precedes the data).
pub const START: [u8; 16] = *b"verity\0\0\x01\0\0\0\x01\0\0\0";
/// The offset of [`PARAMETERS`]. The UUID precedes them.
pub const PARAMETERS_AT: usize = 32;
/// The name of the algorithm, and the bytes of a block of data and of hashes.
pub const PARAMETERS: [u8; 40] = *b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\x10\0\0";
/// The offset of the number of data blocks: 64 bits, little-endian.
pub const DATA_BLOCKS_AT: usize = 72;
/// The offset of the salt's length: 16 bits, little-endian.
pub const SALT_BYTES_AT: usize = 80;
/// The offset of the salt.
pub const SALT_AT: usize = 88;
/// The digits of a root hash.
pub const HASH_DIGITS: usize = 64;

/// The first bytes of the types of file systems: an array would be compared byte by byte.
const EXT4: u32 = u32::from_le_bytes(*b"ext4");
const SQUASHFS: u32 = u32::from_le_bytes(*b"squa");
const EROFS: u32 = u32::from_le_bytes(*b"erof");

/// Returns the number of blocks of a file system, the last one perhaps incomplete; `None` for a format whose size is unknown here. `place`
/// is the start of the device.
pub fn file_system_blocks(format: &Format, place: &Place) -> Option<u64> {
    let number = |at: usize| -> u64 {
        place.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let low = |at| number(at) & u64::from(u32::MAX);
    let bytes = match u32::from_le_bytes(*format.fstype.first_chunk()?) {
        // fs/ext4/ext4.h, struct ext4_super_block: s_blocks_count_lo, s_blocks_count_hi, s_log_block_size
        EXT4 => (low(1024 + 4) | low(1024 + 0x150) << 32).checked_shl((low(1024 + 24) as u32).wrapping_add(10))?,
        // fs/squashfs/squashfs_fs.h, struct squashfs_super_block: bytes_used
        SQUASHFS => number(40),
        // fs/erofs/erofs_fs.h, struct erofs_super_block: blocks, blkszbits
        EROFS => low(1024 + 36).checked_shl((number(1024 + 12) & 0xff) as u32)?,
        _ => return None,
    };
    Some(bytes.div_ceil(BLOCK_BYTES))
}

/// Returns the salt of the superblock in `place`, for this number of data blocks; `None` for any other superblock.
pub fn salt(place: &Place, data_blocks: u64) -> Option<&[u8]> {
    let has = |at: usize, bytes: &[u8]| place.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    let is_known = has(0, &START) && has(PARAMETERS_AT, &PARAMETERS) && has(DATA_BLOCKS_AT, &data_blocks.to_le_bytes());
    let length = usize::from(u16::from_le_bytes(*place.get(SALT_BYTES_AT..)?.first_chunk()?));
    place.get(SALT_AT..SALT_AT + length).filter(|_| is_known && length <= MAX_SALT)
}

/// Returns whether a text is a root hash.
pub fn is_hash(text: &[u8]) -> bool {
    text.len() == HASH_DIGITS && text.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::probe::identify;
    use crate::probe::tests::{disk, undump};
    use std::string::String;
    use std::vec::Vec;

    /// The first block of a disk.
    fn first(disk: &[u8]) -> Place {
        let mut place = [0; _];
        let length = disk.len().min(place.len());
        place[..length].copy_from_slice(&disk[..length]);
        place
    }

    fn blocks(disk: &[u8]) -> Option<u64> {
        let place = first(disk);
        file_system_blocks(identify(&place, 0)?, &place)
    }

    /// A superblock of 18,432 data blocks with a salt of three bytes.
    fn superblock() -> Place {
        let mut place = [0; _];
        let fields: [(usize, &[u8]); 5] = [
            (0, &START),
            (PARAMETERS_AT, &PARAMETERS),
            (72, &18_432u64.to_le_bytes()),
            (80, &[3, 0]),
            (88, b"\x01\xab\xff"),
        ];
        for (at, bytes) in fields {
            place[at..at + bytes.len()].copy_from_slice(bytes);
        }
        place
    }

    #[test]
    fn the_size_of_a_file_system_is_that_of_its_tool() {
        // `dumpe2fs -h`, `unsquashfs -s` and `dump.erofs` of these disks.
        for (name, disk, expected) in [
            ("ext2", disk!("ext2"), Some(256)),
            ("ext4", disk!("ext4"), Some(2048)),
            ("squashfs", disk!("squashfs"), Some(1)),
            ("erofs", disk!("erofs"), Some(1)),
            ("xfs", disk!("xfs"), None),
        ] {
            assert_eq!(blocks(&disk), expected, "{name}");
        }
    }

    #[test]
    fn a_large_ext4_has_more_than_32_bits_of_blocks() {
        let mut place = first(&disk!("ext4"));
        place[1024 + 4..1024 + 8].copy_from_slice(&7u32.to_le_bytes());
        place[1024 + 24..1024 + 28].copy_from_slice(&2u32.to_le_bytes());
        place[1024 + 0x150] = 1;
        let format = identify(&place, 0).unwrap();
        assert_eq!(file_system_blocks(format, &place), Some((1 << 32) + 7));
        // A shift of more bits than there are.
        place[1024 + 24..1024 + 28].copy_from_slice(&u32::MAX.to_le_bytes());
        let _ = file_system_blocks(format, &place);
        place[1024 + 24..1024 + 28].copy_from_slice(&54u32.to_le_bytes());
        assert_eq!(file_system_blocks(format, &place), None);
    }

    #[test]
    fn a_superblock_of_another_form_is_none() {
        let good = superblock();
        assert_eq!(salt(&good, 18_432), Some(&b"\x01\xab\xff"[..]));
        assert_eq!(salt(&good, 18_431), None);
        assert_eq!(salt(&[0; _], 0), None);
        // The signature, the version, the type, the algorithm, the sizes of blocks, the number of blocks.
        for at in [0, 7, 8, 12, 32, 38, 63, 64, 65, 68, 69, 72, 79] {
            let mut other = good;
            other[at] ^= 1;
            assert_eq!(salt(&other, 18_432), None, "{at}");
        }
        let mut other = good;
        for (length, is_valid) in [(0u16, true), (128, true), (129, false), (u16::MAX, false)] {
            other[80..82].copy_from_slice(&length.to_le_bytes());
            assert_eq!(salt(&other, 18_432).map(<[u8]>::len), is_valid.then_some(length.into()), "{length}");
        }
    }

    #[test]
    fn a_hash_has_64_digits() {
        let hash = b"0123456789abcdefABCDEF00112233445566778899aabbccddeeff0011223344";
        assert!(is_hash(hash) && !is_hash(&hash[1..]) && !is_hash(&[b'g'; 64]) && !is_hash(b""));
    }
}
