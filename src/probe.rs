//! What is on a block device, from its first bytes.

/// Bytes from the start of a device that [`fstype`] looks at; nothing is known of a smaller one.
pub const HEAD: usize = 4096;

/// The type of the file system whose first bytes these are.
pub fn fstype(head: &[u8]) -> Option<&'static str> {
    let words = head.first_chunk::<HEAD>()?.as_chunks::<4>().0;
    if words.first() == Some(b"XFSB") {
        Some("xfs")
    } else if words.first() == Some(b"hsqs") {
        Some("squashfs")
    } else if words.get(1024 / 4) == Some(&[0xe2, 0xe1, 0xf5, 0xe0]) {
        Some("erofs")
    } else if let Some([0x53, 0xef, ..]) = words.get((1024 + 56) / 4) {
        Some("ext4") // It mounts ext2 and ext3 too (fs/ext4/ext4.h, EXT4_SUPER_MAGIC at s_magic).
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_magic() {
        for (at, magic, name) in [
            (1080, &[0x53, 0xef][..], "ext4"),
            (0, b"XFSB", "xfs"),
            (0, b"hsqs", "squashfs"),
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
        ] {
            let mut head = [0; HEAD];
            head[at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(fstype(&head), Some(name));
            assert_eq!(fstype(&head[..at + 1]), None, "cut");
        }
        assert_eq!(fstype(&[0; HEAD]), None);
        assert_eq!(fstype(&[]), None);
    }
}
