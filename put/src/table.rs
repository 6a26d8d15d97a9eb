//! The partition table in the first MiB of an image: GPT by the project's code, and the four entries of an MBR.

use whit_gpt::{Existing, Partition};

/// Entries of an MBR, and the types of extended partitions, whose chain the kernel reads.
const MBR_ENTRIES: std::ops::Range<usize> = 446..510;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// The type of an entry of a protective MBR.
const PROTECTIVE: u8 = 0xee;

/// The table of an image, fitted to the disk.
#[derive(Debug, Default)]
pub struct Table {
    gpt: Option<Existing>,
    /// The partition that was grown.
    pub grown: Option<u32>,
    /// Whether the table was changed for the disk.
    pub is_fitted: bool,
    /// The partitions of an MBR; `None` with extended ones.
    mbr: Option<Vec<(u32, Partition)>>,
    /// The last partition of the image, before growth, and the byte after it.
    end: Option<(u32, u64)>,
}

impl Table {
    /// Reads the table in the first MiB of an image. `grow` moves the backup to the end of the disk, and extends the last
    /// partition.
    ///
    /// # Errors
    /// One line: the disk cannot have this table.
    pub fn read(front: &[u8], size: u64, sector: u64, grow: bool) -> Result<Self, String> {
        let has_mbr = front.get(510..512) == Some(&[0x55, 0xaa]);
        let mut gpt =
            if has_mbr { Existing::read(front, sector).map_err(|refused| refused.to_string())? } else { None };
        let mbr = if has_mbr { mbr(front, sector) } else { Some(Vec::new()) };
        let partitions = gpt.as_ref().map(Existing::partitions).or_else(|| mbr.clone()).unwrap_or_default();
        let ends = partitions.iter().map(|(number, partition)| (*number, partition.start + partition.length));
        let end = ends.max_by_key(|(_, end)| *end);
        let mut grown = None;
        match &mut gpt {
            Some(table) if grow => grown = table.fit(size, true).map_err(|refused| refused.to_string())?,
            // Partitions that do not fit are refused in any case.
            Some(table) => drop(table.clone().fit(size, false).map_err(|refused| refused.to_string())?),
            None if grow => return Err("--grow: the image has no GUID partition table".into()),
            None => {}
        }
        Ok(Self { is_fitted: grow && gpt.is_some(), gpt, grown, mbr, end })
    }

    /// Refuses an image that ends before its last partition does.
    ///
    /// # Errors
    /// One line.
    pub fn check_length(&self, length: u64) -> Result<(), String> {
        match self.end.filter(|(_, end)| *end > length) {
            Some((number, end)) => {
                Err(format!("the image ends after {length} bytes, its partition {number} after {end}: it is cut"))
            }
            None => Ok(()),
        }
    }

    /// Writes the grown table into the first MiB.
    pub fn write_front(&self, front: &mut [u8]) {
        if let Some(gpt) = &self.gpt {
            gpt.write_front(front);
        }
    }

    /// Returns the offset and the content of the backup.
    pub fn back(&self) -> Option<(u64, Vec<u8>)> {
        self.gpt.as_ref().map(Existing::back)
    }

    /// Returns the number of the last partition.
    pub fn last(&self) -> Option<u32> {
        let partitions = self.gpt.as_ref()?.partitions();
        partitions.iter().max_by_key(|(_, partition)| partition.start).map(|(number, _)| *number)
    }

    /// Returns the partitions; `None` if the kernel has to read the table.
    pub fn partitions(&self) -> Option<Vec<(u32, Partition)>> {
        self.gpt.as_ref().map(Existing::partitions).or_else(|| self.mbr.clone())
    }
}

/// Reads the primary partitions of an MBR; `None` if there are extended ones.
fn mbr(front: &[u8], sector: u64) -> Option<Vec<(u32, Partition)>> {
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(front[MBR_ENTRIES].chunks_exact(16)) {
        let sectors =
            |at: usize| u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
        let partition = Partition { start: sectors(8) * sector, length: sectors(12) * sector };
        match entry[4] {
            kind if EXTENDED.contains(&kind) => return None,
            0 | PROTECTIVE => {}
            // The code of a boot sector without a table is no table either: a flag is 0 or 0x80.
            _ if entry[0] & 0x7f == 0 && partition.start > 0 && partition.length > 0 => {
                partitions.push((number, partition))
            }
            _ => return Some(Vec::new()),
        }
    }
    Some(partitions)
}
