//! Probing of a block device: its file system, from the superblock, and its partitions, from the partition table.
//!
//! Checksums of superblocks are not verified: the kernel does so when it mounts. File systems that no root uses are out of scope;
//! [`member`](crate::member) has md, LVM, LUKS, ZFS and bcache.

use core::num::NonZero;

/// The bytes of one of the two places that may hold a superblock, which is also the unit of a read. Bytes past the end of the
/// device are zeros.
pub type Place = [u8; 4096];
/// The offset of the second place, in bytes from the start of the device: btrfs leaves the space before it to boot loaders.
pub const SECOND_PLACE: u64 = 64 * 1024;

/// A file system format: the offsets of its superblock's fields in their place, in bytes.
#[derive(Debug)]
pub struct Format {
    /// Four bytes of magic, little-endian.
    magic: u32,
    magic_at: u16,
    uuid_at: u16,
    label_at: u16,
    label_bytes: u16,
    /// The number of bits of the magic, from the highest on, that are not compared.
    unknown_bits: u8,
    /// Whether the UUID is the serial number of a FAT: four bytes, little-endian.
    is_fat: bool,
    /// Whether the superblock is in the second place.
    is_second: bool,
    /// The type for mount(2), padded with NULs.
    pub fstype: [u8; 9],
}

/// The known formats. ext4 is after the formats that may have its two bytes of magic by chance.
static FORMATS: [Format; 8] = [
    // fs/xfs/libxfs/xfs_format.h, struct xfs_dsb
    format(b"xfs\0\0\0\0\0\0", b"XFSB", 0, 32, (108, 12)),
    // fs/squashfs/squashfs_fs.h, struct squashfs_super_block: neither UUID nor label
    format(b"squashfs\0", b"hsqs", 0, NOWHERE, (0, 0)),
    // fs/erofs/erofs_fs.h, struct erofs_super_block at 1024
    format(b"erofs\0\0\0\0", b"\xe2\xe1\xf5\xe0", 1024, 1024 + 48, (1024 + 64, 16)),
    // include/linux/f2fs_fs.h, struct f2fs_super_block at 1024
    format(b"f2fs\0\0\0\0\0", b"\x10\x20\xf5\xf2", 1024, 1024 + 108, (1024 + 124, UTF16_LABEL)),
    // include/uapi/linux/msdos_fs.h, struct fat_boot_sector: FAT12 and FAT16, then FAT32. The label is that of the boot
    // sector; that of the root directory is not read.
    Format { is_fat: true, ..format(b"vfat\0\0\0\0\0", b"FAT1", 54, 39, (43, 11)) },
    Format { is_fat: true, ..format(b"vfat\0\0\0\0\0", b"FAT3", 82, 67, (71, 11)) },
    // fs/ext4/ext4.h, struct ext4_super_block at 1024; ext4 also mounts ext2 and ext3
    Format { unknown_bits: 16, ..format(b"ext4\0\0\0\0\0", b"\x53\xef\0\0", 1024 + 56, 1024 + 104, (1024 + 120, 16)) },
    // include/uapi/linux/btrfs_tree.h, struct btrfs_super_block
    Format { is_second: true, ..format(b"btrfs\0\0\0\0", b"_BHR", 64, 32, (299, 256)) },
];

/// The offset of an absent UUID: bytes past the place are zeros.
const NOWHERE: u16 = size_of::<Place>() as u16;
/// The bytes of f2fs's label that are compared, which is UTF-16 and has 512 characters. No other label has this size.
const UTF16_LABEL: u16 = 512;

/// A format with a magic of 32 bits in the first place.
const fn format(
    fstype: &[u8; 9],
    magic: &[u8; 4],
    magic_at: u16,
    uuid_at: u16,
    (label_at, label_bytes): (u16, u16),
) -> Format {
    let magic = u32::from_le_bytes(*magic);
    let (unknown_bits, is_fat, is_second) = (0, false, false);
    Format { magic, magic_at, uuid_at, label_at, label_bytes, unknown_bits, is_fat, is_second, fstype: *fstype }
}

/// Returns the format of the superblock in a place, if any. `at` is the offset of the place on the device, in bytes.
pub fn identify(place: &Place, at: u64) -> Option<&'static Format> {
    FORMATS.iter().find(|format| {
        let difference = u32::from_le_bytes(bytes(place, format.magic_at)) ^ format.magic;
        format.is_second == (at > 0) && difference << format.unknown_bits == 0
    })
}

impl Format {
    /// Returns the UUID in the superblock, its first digit the highest; `None` if the superblock has none.
    pub fn uuid(&self, place: &Place) -> Option<NonZero<u128>> {
        NonZero::new(if self.is_fat {
            u32::from_le_bytes(bytes(place, self.uuid_at)).into()
        } else {
            u128::from_be_bytes(bytes(place, self.uuid_at))
        })
    }

    /// Whether the file system may have several disks: it is a btrfs.
    pub fn has_disks(&self) -> bool {
        self.is_second
    }

    /// Returns the number of this disk in a btrfs of one or more disks (struct btrfs_dev_item, devid); 0 for other formats.
    pub fn disk(&self, place: &Place) -> u32 {
        if self.is_second { u32::from_le_bytes(bytes(place, 201)) } else { 0 }
    }

    /// Returns the label in the superblock with its padding, and the width of a character in bytes.
    pub fn label<'a>(&self, place: &'a Place) -> (&'a [u8], usize) {
        let start = usize::from(self.label_at);
        let label = place.get(start..start + usize::from(self.label_bytes)).unwrap_or_default();
        (label, if self.label_bytes == UTF16_LABEL { 2 } else { 1 })
    }
}

/// Returns bytes of a place; zeros past its end.
fn bytes<const SIZE: usize>(place: &Place, at: u16) -> [u8; SIZE] {
    place.get(usize::from(at)..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; SIZE])
}

/// Returns the offset of the GPT entry of the partition `number`, in bytes from the start of the disk. Returns `None` if `header`
/// is not a GPT header, or has no such entry (UEFI 2.10, 5.3.2). The kernel has verified the header.
pub fn gpt_entry(header: &Place, block_bytes: u64, number: u32) -> Option<u64> {
    let index = number.wrapping_sub(1);
    if bytes(header, 0) != *b"EFI PART" || index >= u32::from_le_bytes(bytes(header, 80)) {
        return None;
    }
    let entries = u64::from_le_bytes(bytes(header, 72)).wrapping_mul(block_bytes);
    let entry_bytes = u32::from_le_bytes(bytes(header, 84));
    Some(entries.wrapping_add(u64::from(index).wrapping_mul(entry_bytes.into())))
}

/// Returns the UUID of a partition from its GPT entry (UEFI 2.10, 5.3.3). The first three fields of a UUID are little-endian
/// (appendix A).
pub fn gpt_uuid(entry: &Place) -> Option<NonZero<u128>> {
    let time_low = u64::from(u32::from_le_bytes(bytes(entry, 16)));
    let time_mid = u64::from(u16::from_le_bytes(bytes(entry, 20)));
    let time_high = u64::from(u16::from_le_bytes(bytes(entry, 22)));
    let rest = u64::from_be_bytes(bytes(entry, 24));
    NonZero::new(u128::from(time_low << 32 | time_mid << 16 | time_high) << 64 | u128::from(rest))
}

/// Returns the kernel's UUID of the partition `number` in an MSDOS table, from the first block of the disk: the disk's signature
/// and two digits of the number (block/partitions/msdos.c, set_info).
pub fn msdos_uuid(block: &Place, number: u32) -> Option<NonZero<u128>> {
    let signature = u64::from(u32::from_le_bytes(bytes(block, 440)));
    NonZero::new(u128::from(signature << 8 | u64::from(number)))
}

#[cfg(test)]
pub(crate) mod tests {
    extern crate std;
    use super::*;
    use crate::root::is_written;
    use crate::text::hexadecimal;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// Disks of real tools, as dumps of `hexdump -C`: see tests/golden/README.md.
    macro_rules! disk {
        ($name:literal) => {
            undump(include_str!(concat!("../tests/golden/disks/", $name, ".hexdump")))
        };
    }

    pub(crate) use disk;

    include!("../tests/golden/undump.rs");

    /// Returns a place as pread(2) does, with zeros past the end of the device.
    fn place(disk: &[u8], at: u64) -> Place {
        let mut place = [0; _];
        let available = disk.get(at as usize..).unwrap_or_default();
        let length = available.len().min(place.len());
        place[..length].copy_from_slice(&available[..length]);
        place
    }

    /// Returns the format, and the place with its superblock.
    fn probed(disk: &[u8]) -> Option<(&'static Format, Place)> {
        [0, SECOND_PLACE].into_iter().find_map(|at| Some((identify(&place(disk, at), at)?, place(disk, at))))
    }

    fn fstype(format: &Format) -> &str {
        core::str::from_utf8(&format.fstype).unwrap().trim_end_matches('\0')
    }

    fn disks() -> [(&'static str, Vec<u8>); 11] {
        [
            ("ext2", disk!("ext2")),
            ("ext3", disk!("ext3")),
            ("ext4", disk!("ext4")),
            ("xfs", disk!("xfs")),
            ("btrfs", disk!("btrfs")),
            ("f2fs", disk!("f2fs")),
            ("squashfs", disk!("squashfs")),
            ("erofs", disk!("erofs")),
            ("fat12", disk!("fat12")),
            ("fat16", disk!("fat16")),
            ("fat32", disk!("fat32")),
        ]
    }

    #[test]
    fn file_systems_are_identified_as_by_blkid() {
        let mut blkid = include_str!("../tests/golden/disks/blkid.tsv").lines();
        for (name, disk) in disks() {
            let mut fields = blkid.next().unwrap().split('\t');
            assert_eq!(fields.next(), Some(name));
            let fields: Vec<_> = fields.map(|field| field.split_once('=').unwrap()).collect();
            let field = |key| fields.iter().find(|(other, _)| *other == key).map(|(_, value)| *value);

            let (format, place) = probed(&disk).unwrap();
            let mounts_as = field("TYPE").map(|fstype| if fstype.starts_with("ext") { "ext4" } else { fstype });
            assert_eq!(Some(fstype(format)), mounts_as);
            assert_eq!(format.uuid(&place), field("UUID").map(|uuid| hexadecimal(uuid.as_bytes()).unwrap()), "{name}");
            // blkid escapes a space by a backslash.
            let label = field("LABEL").unwrap_or_default().replace('\\', "");
            let (found, width) = format.label(&place);
            assert!(is_written(found, width, label.as_bytes()), "{name}: {label}");
            assert!(!is_written(found, width, (label + "x").as_bytes()), "{name}");
        }
        assert_eq!(blkid.next(), None);
    }

    #[test]
    fn a_truncated_disk_is_unknown_or_identified_alike() {
        for (name, disk) in disks() {
            let (whole, _) = probed(&disk).unwrap();
            let magic_end = if whole.is_second { SECOND_PLACE as usize } else { 0 } + usize::from(whole.magic_at) + 4;
            for end in (0..disk.len()).filter(|end| *end < 4096 || *end > SECOND_PLACE as usize) {
                let found = probed(&disk[..end]).map(|(format, _)| core::ptr::from_ref(format));
                let expected = (end >= magic_end).then_some(core::ptr::from_ref(whole));
                // The last two bytes of ext4's magic are not compared, so they may be zeros.
                assert!(found == expected || end + 2 >= magic_end, "{name}, {end} bytes");
            }
        }
    }

    #[test]
    fn each_field_is_read_at_its_offset() {
        for (name, disk) in disks() {
            let (format, place) = probed(&disk).unwrap();
            let at = if format.is_second { SECOND_PLACE } else { 0 };
            let changed = |position: u16| {
                let mut place = place;
                place[usize::from(position)] ^= 0x20;
                place
            };
            assert!(identify(&changed(format.magic_at), at).is_none(), "{name}");
            assert!(identify(&place, SECOND_PLACE - at).is_none(), "{name} in the other place");
            if format.uuid_at == NOWHERE {
                continue;
            }
            let last = format.uuid_at + if format.is_fat { 3 } else { 15 };
            for position in [format.uuid_at, last] {
                assert_ne!(format.uuid(&changed(position)), format.uuid(&place), "{name}");
            }
            for position in [format.uuid_at - 1, last + 1] {
                assert_eq!(format.uuid(&changed(position)), format.uuid(&place), "{name}");
            }
            for position in [format.label_at, format.label_at + format.label_bytes - 1] {
                assert_ne!(format.label(&changed(position)).0, format.label(&place).0, "{name}");
            }
        }
    }

    #[test]
    fn partition_tables_and_constant_bytes_are_no_file_system() {
        for disk in [disk!("gpt"), disk!("msdos"), std::vec![0; 70_000], std::vec![0xff; 70_000]] {
            assert!(probed(&disk).is_none());
        }
        assert_eq!(size_of::<Format>(), 24, "the table has 192 bytes");
    }

    #[test]
    fn only_a_btrfs_has_numbered_disks() {
        for (name, disk) in disks() {
            let (format, place) = probed(&disk).unwrap();
            assert_eq!(format.disk(&place), u32::from(name == "btrfs"), "{name}");
        }
    }

    #[test]
    fn a_label_outside_ascii_does_not_match_an_ascii_one() {
        let (format, mut place) = probed(&disk!("f2fs")).unwrap();
        let label = |place: &Place, written: &str| {
            let (label, width) = format.label(place);
            is_written(label, width, written.as_bytes())
        };
        assert!(label(&place, "f2fs root"));
        place[usize::from(format.label_at) + 1] = 1; // U+0166
        assert!(!label(&place, "f2fs root"));
    }

    /// Returns the kernel's UUID of a partition, found as the init finds it.
    fn partition(disk: &[u8], number: u32) -> Option<String> {
        let gpt = [512, 4096].into_iter().find_map(|block_bytes| {
            let entry = gpt_entry(&place(disk, block_bytes), block_bytes, number)?;
            gpt_uuid(&place(disk, entry))
        });
        gpt.or_else(|| msdos_uuid(&place(disk, 0), number)).map(|uuid| std::format!("{uuid:x}"))
    }

    #[test]
    fn partitions_have_the_uuids_of_partx() {
        for (disk, name) in [(disk!("gpt"), "gpt"), (disk!("gpt-4096"), "gpt-4096"), (disk!("msdos"), "msdos")] {
            let partx = include_str!("../tests/golden/disks/partx.tsv").lines();
            let mut count = 0;
            for fields in partx.map(|line| line.split('\t').collect::<Vec<_>>()).filter(|fields| fields[0] == name) {
                let uuid = fields[2].replace('-', "");
                assert_eq!(
                    partition(&disk, fields[1].parse().unwrap()),
                    Some(uuid.trim_start_matches('0').to_string())
                );
                count += 1;
            }
            assert_eq!(count, 2, "{name}");
        }
    }

    #[test]
    fn entries_of_a_gpt_are_found_by_its_header() {
        let header = place(&disk!("gpt"), 512);
        assert_eq!(gpt_entry(&header, 512, 1), Some(1024));
        assert_eq!(gpt_entry(&header, 512, 128), Some(1024 + 127 * 128));
        for number in [0, 129, u32::MAX] {
            assert_eq!(gpt_entry(&header, 512, number), None);
        }
        for (position, byte, entry) in [
            (0, b'e', None),                 // the signature
            (7, b'!', None),                 // its last byte
            (72, 3, Some(1536 + 128)),       // the first block of entries
            (80, 1, None),                   // the number of entries
            (85, 1, Some(1024 + 128 + 256)), // the size of an entry
            (79, 0xff, Some(1024 + 128)),    // a block past the end of any disk
        ] {
            let mut header = header;
            header[position] = byte;
            assert_eq!(gpt_entry(&header, 512, 2), entry, "{position}");
        }
        for end in 0..96 {
            let _ = gpt_entry(&place(&header[..end], 0), 512, 2);
        }
    }
}
