//! What is on a block device, from its first bytes.

/// Bytes from the start of a device that [`fstype`] looks at.
pub const HEAD: usize = 4096;

/// Where the magic number of a file system stands, its bytes there, and the name the kernel knows it by.
const MAGIC: [(usize, &[u8], &str); 4] = [
    // ext4 mounts ext2 and ext3 too (fs/ext4/ext4.h, EXT4_SUPER_MAGIC at s_magic).
    (1024 + 56, &[0x53, 0xef], "ext4"),
    (0, b"XFSB", "xfs"),
    (0, b"hsqs", "squashfs"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
];

/// The type of the file system whose first bytes these are.
pub fn fstype(head: &[u8]) -> Option<&'static str> {
    let is = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    MAGIC.iter().find(|(at, magic, _)| is(*at, magic)).map(|(_, _, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_magic() {
        for (at, magic, name) in MAGIC {
            let mut head = [0; HEAD];
            head[at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(fstype(&head), Some(name));
            assert_eq!(fstype(&head[..at + 1]), None, "cut");
        }
        assert_eq!(fstype(&[0; HEAD]), None);
        assert_eq!(fstype(&[]), None);
    }
}
