//! Fuzz targets of `put`.

use whit_put::bmap::Map;
use whit_put::booty;
use whit_put::options::Options;
use whit_put::table::Table;

/// Bytes of an image of zeros that a block map is applied to.
static IMAGE: [u8; 20_000] = [0; 20_000];
/// The disk of a partition table, and the size of its sectors.
const DISK: u64 = 64 << 20;
const SECTOR: u64 = 512;

/// Parses a block map and checks an image by it, in parts of several sizes: each has the same result.
pub(super) fn block_map(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let check = |step: usize| {
        let mut map = Map::parse(text)?;
        let _ = map.has(0, 1);
        for (index, part) in IMAGE.chunks(step).enumerate() {
            map.check((index * step) as u64, part)?;
        }
        map.finish(IMAGE.len() as u64)
    };
    let whole = check(IMAGE.len());
    for step in [1000, 4096] {
        assert_eq!(check(step).is_ok(), whole.is_ok());
    }
}

/// Reads the configuration of a machine: one that is accepted names an image and a disk.
pub(super) fn configuration(input: &[u8]) {
    let mut options = Options::default();
    if booty::apply(input, &mut options).is_ok() {
        assert!(!options.source.is_empty() && !options.disk.is_empty());
        assert_ne!(options.grown_partition, Some(0));
    }
}

/// Reads the start of an image, as it is and with checksums that are right, and writes its table for a larger disk. The result is a table of
/// the same partitions.
pub(super) fn table(input: &[u8]) {
    fit(input);
    let mut summed = input.to_vec();
    if write_checksums(&mut summed).is_some() {
        fit(&summed);
    }
}

fn fit(front: &[u8]) {
    let Ok(read) = Table::read(front, DISK, SECTOR, false) else { return };
    let _ = read.check_length(DISK);
    let before = read.partitions().map(|partitions| partitions.len());
    let Ok(grown) = Table::read(front, DISK, SECTOR, true) else { return };
    let mut front = front.to_vec();
    grown.write_front(&mut front);
    let (at, back) = grown.back().expect("a table that was grown");
    assert_eq!(at + back.len() as u64, DISK, "the backup is not at the end");
    let again = Table::read(&front, DISK, SECTOR, false).expect("a table that was written");
    assert_eq!(again.partitions().map(|partitions| partitions.len()), before);
}

/// Writes the checksums of the entries and of the header (UEFI specification, table 5-5); `None` where they lie outside of the input.
fn write_checksums(front: &mut [u8]) -> Option<()> {
    const HEADER: usize = 512;
    let number = |front: &[u8], at: usize| Some(u32::from_le_bytes(*front.get(HEADER + at..)?.first_chunk()?) as usize);
    let entries = number(front, 72)?.checked_mul(SECTOR as usize)?;
    let length = number(front, 80)?.checked_mul(number(front, 84)?)?;
    let sum = crc32(front.get(entries..entries.checked_add(length)?)?);
    front.get_mut(HEADER + 88..HEADER + 92)?.copy_from_slice(&sum.to_le_bytes());
    front.get_mut(HEADER + 16..HEADER + 20)?.fill(0);
    let sum = crc32(front.get(HEADER..HEADER + number(front, 12)?.min(4096))?);
    front[HEADER + 16..HEADER + 20].copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// CRC-32 of zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

/// Makes the tables of two images, which are too large to keep.
pub(super) fn table_seeds() -> Vec<Vec<u8>> {
    let table = |length: u64| {
        let disk = whit_gpt::disk_length(length);
        whit_gpt::Table::new(disk, length, [7; 16], "root", [9; 16]).front()
    };
    vec![table(8 << 20), table(40 << 20)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        for seed in table_seeds() {
            assert!(Table::read(&seed, DISK, SECTOR, true).is_ok_and(|table| table.is_fitted));
            let mut summed = seed.clone();
            write_checksums(&mut summed).unwrap();
            assert!(summed == seed);
        }
    }
}
