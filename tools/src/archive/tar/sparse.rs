//! Sparse files: the map from stored bytes to positions in the file.
//!
//! GNU tar has four forms (its manual, "Storing Sparse Files"): regions in the header and in blocks after it (old),
//! in PAX records (0.0 and 0.1), and as text before the content (1.0). All end up as one [`Map`].

use super::Problem;
use super::header::{BLOCK, unsigned};

/// The most regions of a file: a bound on memory, far above the number that a file system reports.
const MAX_REGIONS: usize = 1 << 22;

/// Stored bytes: `length` of them at `offset` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The regions of a file in ascending order, and the file's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    regions: Vec<Region>,
    size: u64,
}

impl Map {
    /// Makes this the map of a file without holes.
    pub(super) fn set_whole(&mut self, size: u64) {
        self.regions.clear();
        if size > 0 {
            self.regions.push(Region { offset: 0, length: size });
        }
        self.size = size;
    }

    /// Whether the file has no holes.
    pub(super) fn is_whole(&self) -> bool {
        match self.regions[..] {
            [] => self.size == 0,
            [Region { offset, length }] => offset == 0 && length == self.size,
            _ => false,
        }
    }

    /// Returns the bytes of memory that the regions take.
    pub(super) fn kept_bytes(&self) -> usize {
        size_of_val(self.regions.as_slice())
    }

    /// Checks that the regions ascend, lie within the file, and add up to `stored` bytes.
    pub(super) fn new(regions: Vec<Region>, size: u64, stored: u64) -> Result<Self, Problem> {
        let (mut end, mut sum) = (0, 0_u64);
        for region in &regions {
            if region.offset < end {
                return Err(Problem::SparseMap);
            }
            end = region.offset.checked_add(region.length).ok_or(Problem::SparseMap)?;
            sum = sum.checked_add(region.length).ok_or(Problem::SparseMap)?;
        }
        if end > size || sum != stored {
            return Err(Problem::SparseMap);
        }
        Ok(Self { regions, size })
    }

    /// Returns the size of the file, holes included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns region number `index`; `None` after the last one.
    pub(super) fn region(&self, index: usize) -> Option<Region> {
        self.regions.get(index).copied()
    }
}

/// Appends the regions of one table of the old form: pairs of 12-byte fields, up to the first empty one.
pub(super) fn append_table(table: &[u8], regions: &mut Vec<Region>) -> Result<(), Problem> {
    const FIELD: usize = 12;
    for pair in table.chunks_exact(2 * FIELD) {
        let (offset, length) = pair.split_at(FIELD);
        if offset[0] == 0 || length[0] == 0 {
            break;
        }
        push(regions, Region { offset: unsigned(offset, "sparse")?, length: unsigned(length, "sparse")? })?;
    }
    Ok(())
}

/// Appends the regions of one extension block of the old form (21 regions). Returns whether another block follows.
pub(super) fn append_extension(block: &[u8; BLOCK], regions: &mut Vec<Region>) -> Result<bool, Problem> {
    append_table(&block[..504], regions)?;
    Ok(block[504] != 0)
}

/// Appends one region, up to `MAX_REGIONS`.
pub(super) fn push(regions: &mut Vec<Region>, region: Region) -> Result<(), Problem> {
    if regions.len() >= MAX_REGIONS {
        return Err(Problem::SparseMap);
    }
    regions.push(region);
    Ok(())
}

/// The text map of form 1.0: decimal lines (count, then offset and length of each) before the content.
#[derive(Default)]
pub(super) struct TextMap {
    number: Option<u64>,
    count: Option<u64>,
    offset: Option<u64>,
    regions: Vec<Region>,
}

impl TextMap {
    /// Parses one block. Returns the regions when the last line is complete; the rest of that block is padding.
    pub(super) fn take(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Region>>, Problem> {
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let value = self.number.unwrap_or(0).checked_mul(10).and_then(|value| value.checked_add(digit));
                    self.number = Some(value.ok_or(Problem::SparseMap)?);
                }
                b'\n' => {
                    let value = self.number.take().ok_or(Problem::SparseMap)?;
                    match (self.count, self.offset.take()) {
                        (None, _) => self.count = Some(value),
                        (Some(_), None) => self.offset = Some(value),
                        (Some(_), Some(offset)) => push(&mut self.regions, Region { offset, length: value })?,
                    }
                    if self.count == Some(self.regions.len() as u64) {
                        return Ok(Some(std::mem::take(&mut self.regions)));
                    }
                }
                _ => return Err(Problem::SparseMap),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGIONS: [Region; 2] = [Region { offset: 4096, length: 512 }, Region { offset: 8192, length: 100 }];

    #[test]
    fn regions_must_ascend_fit_and_add_up() {
        assert!(Map::new(REGIONS.to_vec(), 10_000, 612).is_ok());
        assert_eq!(Map::new(REGIONS.to_vec(), 8200, 612), Err(Problem::SparseMap));
        assert_eq!(Map::new(REGIONS.to_vec(), 10_000, 613), Err(Problem::SparseMap));
        assert_eq!(Map::new(vec![REGIONS[1], REGIONS[0]], 10_000, 612), Err(Problem::SparseMap));
        let endless = vec![Region { offset: u64::MAX, length: 2 }];
        assert_eq!(Map::new(endless, u64::MAX, 2), Err(Problem::SparseMap));
    }

    #[test]
    fn a_text_map_may_straddle_blocks() {
        let mut text = format!("2\n{:0>505}\n512\n8192\n100\n", 4096).into_bytes();
        text.resize(1024, 0);
        let mut map = TextMap::default();
        assert_eq!(map.take(text[..512].try_into().unwrap()), Ok(None));
        assert_eq!(map.take(text[512..].try_into().unwrap()), Ok(Some(REGIONS.to_vec())));
    }

    #[test]
    fn a_text_map_with_anything_but_lines_of_digits_is_refused() {
        for start in ["\n", "2\n\n", "x", "99999999999999999999\n", "1\0"] {
            let mut block = [b'\n'; BLOCK];
            block[..start.len()].copy_from_slice(start.as_bytes());
            assert_eq!(TextMap::default().take(&block), Err(Problem::SparseMap), "{start:?}");
        }
    }
}
