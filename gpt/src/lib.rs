//! Writes a GUID partition table (UEFI specification, section 5.3) with one partition, and finds the root partition in one.
//! [`Existing`] is any table, which moves to a disk of another size.
//!
//! The disk has a protective MBR, the table, one partition of the root type of the Discoverable Partitions Specification
//! (used by systemd and others), and the backup table at the end. Sectors have 512 bytes.
#![forbid(unsafe_code)]

mod existing;

use std::hash::Hasher as _;

use flate2::Crc;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

pub use existing::{Existing, Refused};

/// Bytes of a sector.
const SECTOR: u64 = 512;
/// The alignment of the partition's start and length: 1 MiB, as in all partitioning programs.
pub const ALIGNMENT: u64 = 1 << 20;
/// Entries of a table: the minimum of the specification.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Sectors of all entries.
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
/// Bytes of a header without the rest of its sector.
const HEADER: usize = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Characters of a partition's name.
const NAME_UNITS: usize = 36;

/// A GUID in the order of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guid([u8; 16]);

/// The location of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its offset in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// The table of a disk with one root partition.
pub struct Table {
    sectors: u64,
    partition: Partition,
    disk: Guid,
    unique: Guid,
    name: [u16; NAME_UNITS],
    kind: Guid,
}

impl Guid {
    /// Encodes the GUID. The first three of its five numbers are little-endian on disk.
    fn encode(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }

    /// Returns a GUID derived from another (RFC 9562, version 8).
    fn derive(uuid: [u8; 16], purpose: &[u8]) -> Self {
        let mut state = SipHasher13::new();
        state.write(&uuid);
        state.write(purpose);
        let mut bytes = state.finish128().as_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl Table {
    /// Lays out a disk of `disk` bytes for a file system of `length` bytes, a multiple of [`ALIGNMENT`]. The GUIDs are derived
    /// from its UUID, so that the same disk has the same table; the name is truncated at 36 units of UTF-16. `kind` is
    /// the type of the partition, a GUID in the order of its text.
    pub fn new(disk: u64, length: u64, uuid: [u8; 16], name: &str, kind: [u8; 16]) -> Self {
        let partition = Partition { start: ALIGNMENT, length };
        let mut units = [0; NAME_UNITS];
        for (unit, value) in units.iter_mut().zip(name.encode_utf16()) {
            *unit = value;
        }
        Self {
            sectors: disk / SECTOR,
            partition,
            disk: Guid::derive(uuid, b"disk"),
            unique: Guid::derive(uuid, b"partition"),
            name: units,
            kind: Guid(kind),
        }
    }

    /// Returns the disk's first sectors: protective MBR, header, entries.
    pub fn front(&self) -> Vec<u8> {
        let mut bytes = self.protective_mbr().to_vec();
        bytes.extend(self.header(1, self.sectors - 1, 2));
        bytes.extend(self.entries());
        bytes
    }

    /// Returns the offset and the content of the disk's last sectors: entries, then the backup header.
    pub fn back(&self) -> (u64, Vec<u8>) {
        let mut bytes = self.entries();
        bytes.extend(self.header(self.sectors - 1, 1, self.first_of_back()));
        (self.first_of_back() * SECTOR, bytes)
    }

    fn first_of_back(&self) -> u64 {
        self.sectors - 1 - ENTRY_SECTORS
    }

    /// Encodes the protective MBR: one partition that spans the disk, for programs that do not support GPT (section 5.2.3).
    fn protective_mbr(&self) -> [u8; SECTOR as usize] {
        let mut bytes = [0; SECTOR as usize];
        let length = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX);
        bytes[447..450].copy_from_slice(&[0x00, 0x02, 0x00]); // StartingCHS
        bytes[450] = 0xee; // OSType
        bytes[451..454].copy_from_slice(&[0xff; 3]); // EndingCHS
        bytes[454..458].copy_from_slice(&1_u32.to_le_bytes()); // StartingLBA
        bytes[458..462].copy_from_slice(&length.to_le_bytes()); // SizeInLBA
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes
    }

    fn header(&self, own: u64, other: u64, entries: u64) -> [u8; SECTOR as usize] {
        let mut bytes = [0; SECTOR as usize];
        bytes[0..8].copy_from_slice(SIGNATURE);
        bytes[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes()); // Revision
        bytes[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes()); // HeaderSize
        bytes[24..32].copy_from_slice(&own.to_le_bytes()); // MyLBA
        bytes[32..40].copy_from_slice(&other.to_le_bytes()); // AlternateLBA
        bytes[40..48].copy_from_slice(&(2 + ENTRY_SECTORS).to_le_bytes()); // FirstUsableLBA
        bytes[48..56].copy_from_slice(&(self.first_of_back() - 1).to_le_bytes()); // LastUsableLBA
        bytes[56..72].copy_from_slice(&self.disk.encode()); // DiskGUID
        bytes[72..80].copy_from_slice(&entries.to_le_bytes()); // PartitionEntryLBA
        bytes[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes()); // NumberOfPartitionEntries
        bytes[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes()); // SizeOfPartitionEntry
        bytes[88..92].copy_from_slice(&crc32(&self.entries()).to_le_bytes()); // PartitionEntryArrayCRC32
        let sum = crc32(&bytes[..HEADER]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes()); // HeaderCRC32
        bytes
    }

    fn entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; ENTRIES * ENTRY];
        let (first, end) = (self.partition.start / SECTOR, (self.partition.start + self.partition.length) / SECTOR);
        bytes[0..16].copy_from_slice(&self.kind.encode()); // PartitionTypeGUID
        bytes[16..32].copy_from_slice(&self.unique.encode()); // UniquePartitionGUID
        bytes[32..40].copy_from_slice(&first.to_le_bytes()); // StartingLBA
        bytes[40..48].copy_from_slice(&(end - 1).to_le_bytes()); // EndingLBA
        for (place, unit) in bytes[56..56 + 2 * NAME_UNITS].chunks_exact_mut(2).zip(self.name) {
            place.copy_from_slice(&unit.to_le_bytes()); // PartitionName
        }
        bytes
    }
}

/// Returns the length of a disk whose partition has `length` bytes. The backup table takes one more MiB.
pub fn disk_length(length: u64) -> u64 {
    length.saturating_add(2 * ALIGNMENT)
}

/// Returns the length of the partition of a disk of `disk` bytes.
pub fn partition_length(disk: u64) -> u64 {
    (disk - disk % ALIGNMENT).saturating_sub(2 * ALIGNMENT)
}

/// Bytes at the start of a disk that [`root`] reads.
pub const FRONT: usize = (2 + ENTRY_SECTORS as usize) * SECTOR as usize;

/// Finds a partition of these types in the first [`FRONT`] bytes of a disk; without one, returns the first partition.
/// `None` if there is no table.
pub fn root(front: &[u8], kinds: &[[u8; 16]]) -> Option<Partition> {
    let header = front.get(SECTOR as usize..2 * SECTOR as usize)?;
    if !header.starts_with(SIGNATURE) {
        return None;
    }
    let entries = front.get(2 * SECTOR as usize..)?.chunks_exact(ENTRY);
    let used: Vec<&[u8]> = entries.filter(|entry| entry[..16] != [0; 16]).collect();
    let is_root = |entry: &&&[u8]| kinds.iter().any(|kind| entry[..16] == Guid(*kind).encode());
    let root = used.iter().find(is_root).or(used.first())?;
    let number = |at: usize| Some(u64::from_le_bytes(root.get(at..at + 8)?.try_into().ok()?));
    let (first, last) = (number(32)?, number(40)?);
    let length = last.checked_add(1)?.checked_sub(first)?.checked_mul(SECTOR)?;
    Some(Partition { start: first.checked_mul(SECTOR)?, length })
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A root of x86-64 (Discoverable Partitions Specification).
    pub(crate) const KIND: [u8; 16] = 0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709_u128.to_be_bytes();

    #[test]
    fn a_written_table_is_read_back() {
        let length = 5 << 20;
        let table = Table::new(disk_length(length), length, [7; 16], "root", KIND);
        let front = table.front();
        assert_eq!(front.len(), FRONT);
        assert_eq!(root(&front, &[KIND]), Some(Partition { start: 1 << 20, length }));
        let (start, back) = table.back();
        assert_eq!(start + back.len() as u64, disk_length(length));
        assert_eq!(front[1024..], back[..back.len() - 512]);
        for cut in [0, 511, 512, 1023, 1024, 1100] {
            assert_eq!(root(&front[..cut], &[KIND]), None, "{cut}");
        }
        assert_eq!(root(&[0; FRONT], &[KIND]), None);
    }

    #[test]
    fn disk_and_partition_lengths_are_consistent() {
        for (disk, partition) in [(0, 0), (2 << 20, 0), (3 << 20, 1 << 20), (4 << 30, (4 << 30) - (2 << 20))] {
            assert_eq!(partition_length(disk), partition);
        }
        assert_eq!(partition_length((10 << 20) + 512), 8 << 20);
        assert_eq!(partition_length(disk_length(77 << 20)), 77 << 20);
    }

    #[test]
    fn guids_are_mixed_endian_and_differ() {
        // lsblk -o PARTTYPE of a partition created by sgdisk -t 1:8304, and its bytes on disk.
        assert_eq!(Guid(KIND).encode(), *b"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09");
        let (one, other) = (Guid::derive([1; 16], b"disk"), Guid::derive([1; 16], b"partition"));
        assert_ne!(one, other);
        assert_eq!(one, Guid::derive([1; 16], b"disk"));
        assert_ne!(one, Guid::derive([2; 16], b"disk"));
        assert_eq!((one.0[6] >> 4, one.0[8] >> 6), (8, 2));
    }

    #[test]
    fn long_names_are_truncated() {
        let table = Table::new(3 << 20, 1 << 20, [0; 16], &"é".repeat(40), KIND);
        assert_eq!(table.name, [0xe9; NAME_UNITS]);
        assert_eq!(table.entries()[56 + 72..][..ENTRY].len(), ENTRY);
    }
}
