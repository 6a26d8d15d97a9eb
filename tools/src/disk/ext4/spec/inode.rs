//! `struct ext4_inode` and the rest of a 256-byte inode.

use super::{INODE_SIZE, put};

/// `i_block` is the root of an extent tree.
pub(in crate::disk::ext4) const EXTENTS_FL: u32 = 0x8_0000;
/// The directory has a hash tree.
pub(in crate::disk::ext4) const INDEX_FL: u32 = 0x1000;
/// Bytes in use after the first 128: up to and including `i_projid`.
const EXTRA_ISIZE: u16 = 32;

/// The variable fields of an inode. Access, change and creation time equal the modification time.
#[derive(Clone, Debug)]
pub(in crate::disk::ext4) struct Inode {
    pub(in crate::disk::ext4) mode: u16,
    pub(in crate::disk::ext4) uid: u32,
    pub(in crate::disk::ext4) gid: u32,
    pub(in crate::disk::ext4) size: u64,
    pub(in crate::disk::ext4) links_count: u16,
    /// In units of 512 bytes, metadata blocks included.
    pub(in crate::disk::ext4) sectors: u64,
    pub(in crate::disk::ext4) flags: u32,
    pub(in crate::disk::ext4) block: [u8; 60],
    /// Block with extended attributes, 0 for none.
    pub(in crate::disk::ext4) file_acl: u32,
    /// The two words of `encode_time`.
    pub(in crate::disk::ext4) time: (u32, u32),
}

impl Inode {
    /// Offset of the checksum's low half, `l_i_checksum_lo`.
    pub(in crate::disk::ext4) const CHECKSUM_LOW: usize = 0x7c;
    /// Offset of its high half, `i_checksum_hi`.
    pub(in crate::disk::ext4) const CHECKSUM_HIGH: usize = 0x82;
    /// Offset of the extended attributes within the inode.
    pub(in crate::disk::ext4) const ATTRIBUTES: usize = 128 + EXTRA_ISIZE as usize;

    /// Encodes the inode, without checksum and attributes.
    pub(in crate::disk::ext4) fn encode(&self) -> [u8; INODE_SIZE] {
        let mut bytes = [0; INODE_SIZE];
        let b = &mut bytes;
        let (seconds, extra) = (self.time.0.to_le_bytes(), self.time.1.to_le_bytes());
        put(b, 0x00, self.mode.to_le_bytes()); // i_mode
        put(b, 0x02, (self.uid as u16).to_le_bytes()); // i_uid: low half
        put(b, 0x04, (self.size as u32).to_le_bytes()); // i_size_lo
        put(b, 0x08, seconds); // i_atime
        put(b, 0x0c, seconds); // i_ctime
        put(b, 0x10, seconds); // i_mtime
        put(b, 0x18, (self.gid as u16).to_le_bytes()); // i_gid: low half
        put(b, 0x1a, self.links_count.to_le_bytes()); // i_links_count
        put(b, 0x1c, (self.sectors as u32).to_le_bytes()); // i_blocks_lo
        put(b, 0x20, self.flags.to_le_bytes()); // i_flags
        put(b, 0x28, self.block); // i_block
        put(b, 0x68, self.file_acl.to_le_bytes()); // i_file_acl_lo
        put(b, 0x6c, ((self.size >> 32) as u32).to_le_bytes()); // i_size_high
        put(b, 0x74, ((self.sectors >> 32) as u16).to_le_bytes()); // l_i_blocks_high
        put(b, 0x78, ((self.uid >> 16) as u16).to_le_bytes()); // l_i_uid_high
        put(b, 0x7a, ((self.gid >> 16) as u16).to_le_bytes()); // l_i_gid_high
        put(b, 0x80, EXTRA_ISIZE.to_le_bytes()); // i_extra_isize
        put(b, 0x84, extra); // i_ctime_extra
        put(b, 0x88, extra); // i_mtime_extra
        put(b, 0x8c, extra); // i_atime_extra
        put(b, 0x90, seconds); // i_crtime
        put(b, 0x94, extra); // i_crtime_extra
        bytes
    }
}

/// Encodes a time as `i_mtime` and `i_mtime_extra`, clamped to their range: 1901-12-13 to 2446-05-10.
///
/// The low word is signed; two bits of the other one count its overflows (`ext4_encode_extra_time`).
pub(in crate::disk::ext4) fn encode_time(seconds: i64, nanoseconds: u32) -> (u32, u32) {
    const EARLIEST: i64 = i32::MIN as i64;
    const LATEST: i64 = i32::MAX as i64 + (3 << 32);
    let seconds = seconds.clamp(EARLIEST, LATEST);
    let low = seconds as i32; // the two bits count the overflow
    let epoch = ((seconds - i64::from(low)) >> 32) as u32 & 3;
    (low as u32, epoch | nanoseconds << 2)
}

/// Decodes the seconds from the two words.
pub(in crate::disk::ext4) fn decode_seconds(time: (u32, u32)) -> i64 {
    i64::from(time.0 as i32) + (i64::from(time.1 & 3) << 32)
}

/// Decodes the nanoseconds.
pub(in crate::disk::ext4) fn decode_nanoseconds(time: (u32, u32)) -> u32 {
    time.1 >> 2
}

/// Encodes a device number in the first two words of `i_block`; `None` if it does not fit Linux's 12 and 20 bits.
///
/// The old form (8 and 8 bits) is in the first word, the new one in the second (`ext4_iget`, `new_encode_dev`).
pub(in crate::disk::ext4) fn encode_device(major: u32, minor: u32) -> Option<[u8; 60]> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return None;
    }
    let mut block = [0; 60];
    if major < 256 && minor < 256 {
        put(&mut block, 0, (major << 8 | minor).to_le_bytes());
    } else {
        put(&mut block, 4, (minor & 0xff | major << 8 | (minor & !0xff) << 12).to_le_bytes());
    }
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_table_of_the_kernel() {
        // Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps": the extra bits and their ranges.
        for (seconds, low, epoch) in [
            (-1, u32::MAX, 0),
            (-0x8000_0000, 0x8000_0000, 0),
            (0, 0, 0),
            (0x7fff_ffff, 0x7fff_ffff, 0),
            (0x8000_0000, 0x8000_0000, 1),
            (0x1_7fff_ffff, 0x7fff_ffff, 1),
            (0x2_7fff_ffff, 0x7fff_ffff, 2),
            (0x3_7fff_ffff, 0x7fff_ffff, 3),
        ] {
            assert_eq!(encode_time(seconds, 5), (low, epoch | 5 << 2), "{seconds:#x}");
            assert_eq!(decode_seconds((low, epoch | 5 << 2)), seconds);
        }
        assert_eq!(encode_time(i64::MAX, 0), encode_time(0x3_7fff_ffff, 0));
        assert_eq!(encode_time(i64::MIN, 0), encode_time(-0x8000_0000, 0));
    }

    #[test]
    fn devices_use_the_old_form_where_it_fits() {
        let words = |major, minor| {
            let block = encode_device(major, minor).unwrap();
            let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            (word(0), word(4))
        };
        assert_eq!(words(1, 3), (0x103, 0));
        assert_eq!(words(259, 0x12345), (0, 0x1231_0345));
        assert_eq!(words(8, 256), (0, 0x10_0800));
        assert_eq!(encode_device(4096, 0), None);
        assert_eq!(encode_device(0, 1 << 20), None);
    }
}
