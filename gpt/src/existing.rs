//! A table of any program's: its partitions, and the table fitted to a larger disk.
//!
//! Sectors have 512 or 4096 bytes. What is not changed keeps its bytes: attributes, names, fields of later revisions.

use crate::{ALIGNMENT, ENTRY, HEADER, Partition, SIGNATURE, crc32};

/// Limit for the bytes of all entries: 16 times the usual table.
const MAX_ENTRIES: usize = 256 << 10;
/// Entries of an MBR: four of 16 bytes at this offset.
const MBR_ENTRIES: usize = 446;
const PROTECTIVE: u8 = 0xee;

/// A table that was read from the first bytes of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    sector: u64,
    /// The header without the rest of its sector.
    header: Vec<u8>,
    entries: Vec<u8>,
    entry_bytes: usize,
    /// The offset of the entries in the disk.
    entries_at: usize,
}

/// The reason that a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The table is for sectors of another size.
    SectorSize(u64),
    /// A checksum or a length in the header is wrong.
    Damaged,
    /// A partition ends after the usable part of the disk.
    TooLarge(u32),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SectorSize(sector) => write!(f, "the partition table is for a disk with sectors of {sector} bytes"),
            Self::Damaged => f.write_str("the partition table is damaged"),
            Self::TooLarge(number) => write!(f, "partition {number} ends after the end of the disk"),
        }
    }
}

impl Existing {
    /// Reads the table in the first bytes of a disk with sectors of `sector` bytes; `None` if there is none.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn read(front: &[u8], sector: u64) -> Result<Option<Self>, Refused> {
        let header_at = |sector: u64| front.get(sector as usize..).filter(|header| header.starts_with(SIGNATURE));
        let Some(rest) = header_at(sector) else {
            let other = if sector == 512 { 4096 } else { 512 };
            return if header_at(other).is_some() { Err(Refused::SectorSize(other)) } else { Ok(None) };
        };
        let length = number(rest, 12, 4).ok_or(Refused::Damaged)?;
        let in_sector = (HEADER as u64..=sector).contains(&length);
        let header = rest.get(..length as usize).filter(|_| in_sector).ok_or(Refused::Damaged)?.to_vec();
        let mut zeroed = header.clone();
        zeroed[16..20].fill(0);
        let field = |at, bytes| number(&header, at, bytes).unwrap_or_default();
        let (count, entry_bytes) = (field(80, 4) as usize, field(84, 4) as usize);
        let is_sound = entry_bytes >= ENTRY && entry_bytes.is_multiple_of(8) && count > 0;
        let total = count.checked_mul(entry_bytes).filter(|total| is_sound && *total <= MAX_ENTRIES);
        let start = field(72, 8).checked_mul(sector).and_then(|start| usize::try_from(start).ok());
        let (Some(total), Some(start)) = (total, start) else { return Err(Refused::Damaged) };
        let entries = start.checked_add(total).and_then(|end| front.get(start..end)).ok_or(Refused::Damaged)?;
        if crc32(&zeroed) != field(16, 4) as u32 || crc32(entries) != field(88, 4) as u32 {
            return Err(Refused::Damaged);
        }
        Ok(Some(Self { sector, entries: entries.to_vec(), entry_bytes, entries_at: start, header }))
    }

    /// Returns the partitions with their numbers. Entries that end before they start are left out. Offsets saturate, so that a partition
    /// past 2^64 bytes ends there, after the end of every disk.
    pub fn partitions(&self) -> Vec<(u32, Partition)> {
        let entry = |(index, entry): (usize, &[u8])| {
            let (first, last) = (number(entry, 32, 8)?, number(entry, 40, 8)?);
            let start = first.saturating_mul(self.sector);
            let length = last.saturating_add(1).saturating_mul(self.sector).saturating_sub(start);
            let is_used = entry[..16] != [0; 16] && first <= last;
            is_used.then_some((index as u32 + 1, Partition { start, length }))
        };
        self.entries.chunks_exact(self.entry_bytes).enumerate().filter_map(entry).collect()
    }

    /// Fits the table to a disk of `disk` bytes: its backup is at the disk's end. `grow` extends the last partition over the free
    /// space that follows it, and returns its number.
    ///
    /// # Errors
    /// [`Refused::TooLarge`].
    pub fn fit(&mut self, disk: u64, grow: bool) -> Result<Option<u32>, Refused> {
        let sectors = disk / self.sector;
        let last = self.partitions().into_iter().max_by_key(|(_, partition)| partition.start + partition.length);
        let usable_end = sectors.saturating_sub(1 + self.entry_sectors()); // After the last usable sector.
        if let Some((number, partition)) = last
            && (partition.start + partition.length) / self.sector > usable_end
        {
            return Err(Refused::TooLarge(number));
        }
        self.set(32, sectors.saturating_sub(1)); // AlternateLBA
        self.set(48, usable_end.saturating_sub(1)); // LastUsableLBA
        let mut grown = None;
        if let Some((number, partition)) = last.filter(|_| grow) {
            let end = usable_end - usable_end % (ALIGNMENT / self.sector);
            if end > (partition.start + partition.length) / self.sector {
                let at = (number as usize - 1) * self.entry_bytes + 40; // EndingLBA
                self.entries[at..at + 8].copy_from_slice(&(end - 1).to_le_bytes());
                grown = Some(number);
            }
        }
        Ok(grown)
    }

    /// Writes the table, and the length of the protective MBR's partition, into the first bytes of the disk that it was read from.
    pub fn write_front(&self, front: &mut [u8]) {
        let header = self.header_of(1, self.field(32), self.entries_at as u64 / self.sector);
        front[self.sector as usize..][..header.len()].copy_from_slice(&header);
        front[self.entries_at..][..self.entries.len()].copy_from_slice(&self.entries);
        let length = u32::try_from(self.field(32)).unwrap_or(u32::MAX);
        for entry in front[MBR_ENTRIES..MBR_ENTRIES + 64].chunks_exact_mut(16) {
            if entry[4] == PROTECTIVE && entry[8..12] == 1_u32.to_le_bytes() {
                entry[12..16].copy_from_slice(&length.to_le_bytes());
            }
        }
    }

    /// Returns the offset and the content of the backup: entries, then the header.
    pub fn back(&self) -> (u64, Vec<u8>) {
        let own = self.field(32);
        let first = own - self.entry_sectors();
        let mut bytes = self.entries.clone();
        bytes.resize((self.entry_sectors() * self.sector) as usize, 0);
        bytes.extend(self.header_of(own, 1, first));
        bytes.resize(((self.entry_sectors() + 1) * self.sector) as usize, 0);
        (first * self.sector, bytes)
    }

    fn header_of(&self, own: u64, other: u64, entries: u64) -> Vec<u8> {
        let mut header = self.header.clone();
        header[16..20].fill(0);
        for (at, value) in [(24, own), (32, other), (72, entries)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[88..92].copy_from_slice(&crc32(&self.entries).to_le_bytes());
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    }

    fn entry_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.sector)
    }

    fn field(&self, at: usize) -> u64 {
        number(&self.header, at, 8).unwrap_or_default()
    }

    fn set(&mut self, at: usize, value: u64) {
        self.header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// Reads a little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at + length)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FRONT, Table, disk_length};

    const LENGTH: u64 = 5 << 20;

    fn table() -> Vec<u8> {
        Table::new(disk_length(LENGTH), LENGTH, [7; 16], "root", crate::tests::KIND).front()
    }

    #[test]
    fn a_table_fits_a_larger_disk_and_its_partition_grows() {
        let mut front = table();
        let mut existing = Existing::read(&front, 512).unwrap().unwrap();
        assert_eq!(existing.partitions(), [(1, Partition { start: 1 << 20, length: LENGTH })]);
        let disk = 64 << 20;
        assert_eq!(existing.fit(disk, true), Ok(Some(1)));
        existing.write_front(&mut front);
        // What mkraw writes for a partition of this length has the same bytes, GUIDs aside.
        let length = crate::partition_length(disk);
        let expected = Table::new(disk, length, [7; 16], "root", crate::tests::KIND);
        assert_eq!(front, expected.front());
        assert_eq!(existing.back(), expected.back());
    }

    #[test]
    fn without_growth_the_backup_alone_moves() {
        let mut existing = Existing::read(&table(), 512).unwrap().unwrap();
        assert_eq!(existing.fit(64 << 20, false), Ok(None));
        assert_eq!(existing.partitions(), [(1, Partition { start: 1 << 20, length: LENGTH })]);
        assert_eq!(existing.back().0 + existing.back().1.len() as u64, 64 << 20);
    }

    #[test]
    fn a_partition_whose_end_overflows_is_too_large() {
        for (first, last) in [(1 << 54, u64::MAX), (u64::MAX, u64::MAX), (1 << 55, (1 << 55) + 7), (2048, u64::MAX - 1)]
        {
            let mut existing = Existing::read(&table(), 512).unwrap().unwrap();
            existing.entries[32..40].copy_from_slice(&u64::to_le_bytes(first));
            existing.entries[40..48].copy_from_slice(&u64::to_le_bytes(last));
            assert_eq!(existing.fit(64 << 20, true), Err(Refused::TooLarge(1)), "{first} {last}");
        }
    }

    #[test]
    fn a_smaller_disk_other_sectors_and_damage_are_refused() {
        let front = table();
        let mut existing = Existing::read(&front, 512).unwrap().unwrap();
        assert_eq!(existing.fit(4 << 20, false), Err(Refused::TooLarge(1)));
        assert_eq!(Existing::read(&front, 4096), Err(Refused::SectorSize(512)));
        assert_eq!(Existing::read(&[0; FRONT], 512), Ok(None));
        for at in [512 + 16, 512 + 40, 1024 + 3, 512 + 12, 512 + 73, 512 + 80, 512 + 87] {
            let mut damaged = front.clone();
            damaged[at] ^= 0x40;
            assert_eq!(Existing::read(&damaged, 512), Err(Refused::Damaged), "{at}");
        }
        for cut in 520..FRONT {
            assert_eq!(Existing::read(&front[..cut], 512), Err(Refused::Damaged), "{cut}");
        }
    }
}
