//! Members of volumes that whit does not assemble: md arrays, LVM, LUKS, ZFS, bcache.
//!
//! A member may look like the file system on its volume, as one of a mirror does whose superblock is at its end. To mount it would
//! make it differ from the others. So the marks of members are looked for on a device before it is mounted.

use core::num::NonZero;

use crate::error::Errno;

/// Four bytes that identify a member, at an offset of its device.
struct Mark {
    magic: [u8; 4],
    /// The offset in units of two bytes; if it is negative, it is that from the end of the device.
    offset: i16,
    /// The offset is rounded down to a multiple of two to the power of this.
    bits: u8,
    /// The number of its [`Errno::member`].
    errno: NonZero<u8>,
}

/// drivers/md/md.c, struct mdp_super_t and struct mdp_superblock_1.
const MD: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
/// lib/format_text/layout.h, struct label_header, at 24: the type of the label, which is in one of the first four sectors.
const LVM: &[u8; 4] = b"LVM2";

static MARKS: [Mark; 11] = [
    mark(MD, 0, 0, 0),       // 1.1
    mark(MD, 4096, 0, 0),    // 1.2
    mark(MD, -8192, 12, 0),  // 1.0: md.c, super_1_load()
    mark(MD, -65536, 16, 0), // 0.90: md_p.h, MD_NEW_SIZE_SECTORS()
    mark(*LVM, 24, 0, 1),
    mark(*LVM, 512 + 24, 0, 1),
    mark(*LVM, 1024 + 24, 0, 1),
    mark(*LVM, 1536 + 24, 0, 1),
    mark(*b"LUKS", 0, 0, 2), // LUKS2 On-Disk Format, 2.1
    // OpenZFS, vdev_label.c: the end of the length and the start of the first name, "version", of the configuration, an XDR list 16 KiB
    // into the label.
    mark(*b"\0\x07ve", 16384 + 22, 0, 3),
    // drivers/md/bcache, struct cache_sb_disk: the second four bytes of the magic, as bcachefs has the first too.
    mark([0x4e, 0x1a, 0x45, 0xca], 4096 + 28, 0, 4),
];

const fn mark(magic: [u8; 4], offset: i32, bits: u8, volume: u8) -> Mark {
    let errno = NonZero::new(Errno::member(volume).0.get() as u8).expect("it is not 0");
    Mark { magic, offset: (offset / 2) as i16, bits, errno }
}

/// Checks that a device of `size` bytes is no member of a volume. `read` returns the bytes at an offset.
///
/// # Errors
/// The volume's kind, from [`Errno::FIRST_MEMBER`] on.
pub fn check(size: u64, mut read: impl FnMut(u64) -> [u8; 4]) -> Result<(), Errno> {
    for mark in &MARKS {
        let start = if mark.offset < 0 { size } else { 0 };
        let at = start.wrapping_add_signed(2 * i64::from(mark.offset));
        if read(at >> mark.bits << mark.bits) == mark.magic {
            return Err(Errno(mark.errno.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::probe::tests::{disk, undump};
    use crate::text::tests::shown;
    use std::string::String;
    use std::vec::Vec;

    fn member_of(disk: &[u8]) -> Option<String> {
        let read = |at| {
            let bytes = usize::try_from(at).ok().and_then(|at| disk.get(at..)?.first_chunk());
            bytes.copied().unwrap_or_default()
        };
        check(disk.len() as u64, read).err().map(|errno| shown(&errno))
    }

    fn members() -> [(&'static str, Vec<u8>); 9] {
        [
            ("md-0.90", disk!("md-0.90")),
            ("md-1.0", disk!("md-1.0")),
            ("md-1.1", disk!("md-1.1")),
            ("md-1.2", disk!("md-1.2")),
            ("lvm", disk!("lvm")),
            ("luks1", disk!("luks1")),
            ("luks2", disk!("luks2")),
            ("zfs", disk!("zfs")),
            ("bcache", disk!("bcache")),
        ]
    }

    #[test]
    fn members_are_identified_as_by_blkid() {
        let mut lines = include_str!("../tests/golden/disks/members.tsv").lines();
        for (name, disk) in members() {
            let volume = match lines.next().unwrap().strip_prefix(name).unwrap() {
                "\tTYPE=linux_raid_member" => "md RAID",
                "\tTYPE=LVM2_member" => "LVM",
                "\tTYPE=crypto_LUKS" => "LUKS",
                "\tTYPE=zfs_member" => "ZFS",
                "\tTYPE=bcache" => "bcache",
                other => panic!("{other}"),
            };
            assert_eq!(member_of(&disk).as_deref(), Some(volume), "{name}");
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn an_lvm_label_may_be_in_each_of_the_first_four_sectors() {
        let golden = disk!("lvm");
        for sector in 0..5 {
            let mut disk = std::vec![0; 8192];
            disk[sector * 512..][..512].copy_from_slice(&golden[512..1024]);
            assert_eq!(member_of(&disk).is_some(), sector < 4, "{sector}");
        }
    }

    #[test]
    fn superblocks_at_the_end_are_found_on_disks_of_any_size() {
        // mdadm 4.2, super1.c and super0.c: the first byte for a size in bytes.
        for (size, one, ninety) in [
            (16 << 20, (16 << 20) - 8192, (16 << 20) - 65536),
            ((16 << 20) + 512, (16 << 20) - 8192, (16 << 20) - 65536),
            ((16 << 20) + 4096, (16 << 20) - 4096, (16 << 20) - 65536),
            ((16 << 20) + 65024, (16 << 20) + 53248, (16 << 20) - 65536),
        ] {
            for at in [one, ninety] {
                let mut disk = std::vec![0; size];
                disk[at..at + 4].copy_from_slice(&MD);
                assert_eq!(member_of(&disk).as_deref(), Some("md RAID"), "{size} {at}");
                disk[at] = 0;
                assert_eq!(member_of(&disk), None);
            }
        }
    }

    #[test]
    fn file_systems_and_tables_are_no_members() {
        for disk in [disk!("ext4"), disk!("xfs"), disk!("btrfs"), disk!("f2fs"), disk!("squashfs"), disk!("erofs")] {
            assert_eq!(member_of(&disk), None);
        }
        for disk in [disk!("fat12"), disk!("fat32"), disk!("gpt"), disk!("msdos"), std::vec![0xff; 70_000]] {
            assert_eq!(member_of(&disk), None);
        }
    }

    #[test]
    fn a_mark_has_eight_bytes() {
        assert_eq!(size_of::<Mark>(), 8);
    }

    #[test]
    fn small_disks_are_no_members() {
        for size in 0..70_000 {
            assert_eq!(check(size, |_| [0; 4]), Ok(()));
        }
    }
}
