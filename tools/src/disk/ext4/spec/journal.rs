//! `journal_superblock_t` (Documentation/filesystems/ext4/journal.rst): an empty, clean log. Big-endian.

use super::{BLOCK_SIZE, put};

const MAGIC: u32 = 0xc03b_3998;
const SUPERBLOCK_V2: u32 = 4;

/// Encodes the first block of a journal of `blocks` blocks. The others need no content: `s_start` 0 means an empty log.
pub(in crate::disk::ext4) fn encode_journal_superblock(blocks: u32, uuid: [u8; 16]) -> [u8; 1024] {
    let mut bytes = [0; 1024];
    let b = &mut bytes;
    put(b, 0x00, MAGIC.to_be_bytes()); // h_magic
    put(b, 0x04, SUPERBLOCK_V2.to_be_bytes()); // h_blocktype
    put(b, 0x0c, (BLOCK_SIZE as u32).to_be_bytes()); // s_blocksize
    put(b, 0x10, blocks.to_be_bytes()); // s_maxlen
    put(b, 0x14, 1_u32.to_be_bytes()); // s_first: the first block of the log
    put(b, 0x18, 1_u32.to_be_bytes()); // s_sequence: the first transaction expected
    put(b, 0x30, uuid); // s_uuid
    put(b, 0x40, 1_u32.to_be_bytes()); // s_nr_users
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_equal_those_of_mke2fs() {
        // mke2fs 1.47.0 -t ext4 -b 4096 -J size=4, `debugfs -R 'dump <8> FILE'`, first 80 bytes; the rest is zeros.
        let mut expected = [0; 1024];
        expected[..32]
            .copy_from_slice(b"\xc0\x3b\x39\x98\0\0\0\x04\0\0\0\0\0\0\x10\0\0\0\x04\0\0\0\0\x01\0\0\0\x01\0\0\0\0");
        expected[48..64].fill(0x5a);
        expected[67] = 1;
        assert_eq!(encode_journal_superblock(1024, [0x5a; 16]), expected);
    }
}
