//! The hash of names in a directory's tree: half MD4 over signed characters (`ext4fs_dirhash`, fs/ext4/hash.c).
//!
//! A flag in the superblock selects signed or unsigned characters, and the kernel follows it on every architecture. Some
//! readers support only the signed form, that of mke2fs on x86.

/// Reserved for the end of a directory, so no name may have it (`EXT4_HTREE_EOF_32BIT` shifted).
const END: u32 = 0xffff_fffe;

/// Returns the major hash, whose lowest bit is clear, and the minor one.
pub(super) fn hash(seed: &[u8; 16], name: &[u8]) -> (u32, u32) {
    let mut state = [0; 4];
    for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest));
        rest = rest.get(32..).unwrap_or_default();
    }
    let major = state[1] & !1;
    (if major == END { END - 2 } else { major }, state[2])
}

/// Converts up to 32 bytes to eight words, padded with the length (`str2hashbuf_signed`).
fn words(name: &[u8]) -> [u32; 8] {
    // A name is at most 255 bytes, so its length fits into each byte of the padding.
    let padding = (name.len() as u32).wrapping_mul(0x0101_0101);
    let mut words = [padding; 8];
    for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
        *word = bytes.iter().fold(padding, |value, byte| (value << 8).wrapping_add(*byte as i8 as u32));
    }
    words
}

/// Computes `half_md4_transform`: three of MD4's rounds, with half the input.
fn transform(state: &mut [u32; 4], input: &[u32; 8]) {
    const ROUND_2: u32 = 0x5a82_7999;
    const ROUND_3: u32 = 0x6ed9_eba1;
    let [mut a, mut b, mut c, mut d] = *state;
    let mut round = |function: fn(u32, u32, u32) -> u32, constant: u32, order: [usize; 8], shifts: [u32; 4]| {
        for half in order.chunks_exact(4) {
            let step = |target: &mut u32, x, y, z, index: usize, shift| {
                let sum = target.wrapping_add(function(x, y, z)).wrapping_add(input[index]).wrapping_add(constant);
                *target = sum.rotate_left(shift);
            };
            step(&mut a, b, c, d, half[0], shifts[0]);
            step(&mut d, a, b, c, half[1], shifts[1]);
            step(&mut c, d, a, b, half[2], shifts[2]);
            step(&mut b, c, d, a, half[3], shifts[3]);
        }
    };
    round(|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]);
    round(|x, y, z| (x & y).wrapping_add((x ^ y) & z), ROUND_2, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]);
    round(|x, y, z| x ^ y ^ z, ROUND_3, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]);
    for (word, value) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn hashes_equal_those_of_debugfs() {
        // debugfs 1.47.0: dx_hash -h half_md4 -s 01234567-89ab-cdef-0123-456789abcdef NAME
        let seed = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes();
        for (name, major, minor) in [
            (&b"a"[..], 0x35dc_0cc4, 0x3f1d_acef),
            (b"passwd", 0x353d_0824, 0xb1c1_99ca),
            (b"caf\xc3\xa9-\xffname", 0x9822_2d8a, 0xe388_82b4),
            (b"abcdefghijklmnopqrstuvwxyz012345", 0x5732_34fc, 0x40d0_64fa),
            (b"abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz0123456789", 0xdd54_bb18, 0x2d60_3b67),
        ] {
            assert_eq!(hash(&seed, name), (major, minor), "{}", name.escape_ascii());
        }
    }
}
