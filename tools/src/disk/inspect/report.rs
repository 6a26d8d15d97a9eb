//! The summary of a disk.

use std::io;
use std::os::unix::fs::MetadataExt;

use super::{Disk, Error};
use whit::contract::{self, IMAGE_RECORD};

use crate::cli::listing::{shown, utc};
use crate::cli::size::show;
use crate::disk::verity;
use crate::runrecord::RunRecord;

/// Returns lines of a name and a value: the disk, the file system, its free space, the run record.
///
/// # Errors
/// Errors of stat(2).
pub fn report(disk: &Disk) -> Result<String, Error> {
    let metadata = disk.file().metadata()?;
    let superblock = disk.superblock();
    let bytes = |blocks: u64| show(blocks.saturating_mul(superblock.block_size));
    let mut lines = vec![("disk", format!("{}, {} allocated", show(metadata.len()), show(metadata.blocks() * 512)))];
    if let Some(partition) = disk.partition() {
        lines.push(("partition", format!("{} at {}", show(partition.length), show(partition.start))));
    }
    let label = if superblock.label.is_empty() { "none".to_owned() } else { shown(&superblock.label) };
    lines.extend([
        ("label", label),
        ("UUID", crate::cli::uuid::text(superblock.uuid)),
        ("made", format!("{} UTC, last written {} UTC", utc(superblock.made.into()), utc(superblock.written.into()))),
        ("features", superblock.features().join(" ")),
        (
            "space",
            format!(
                "{} in {} blocks of {}, {} free",
                bytes(superblock.blocks),
                superblock.blocks,
                show(superblock.block_size),
                bytes(superblock.free_blocks)
            ),
        ),
        ("inodes", format!("{}, {} free", superblock.inodes, superblock.free_inodes)),
    ]);
    let bytes = superblock.blocks.saturating_mul(superblock.block_size);
    if let Some(hash) = verity::root(disk.file(), disk.base(), bytes)? {
        lines.push(("verity", format!("roothash={}, not checked", verity::digits(&hash))));
    }
    match record(disk) {
        Err(error) => lines.push(("runs", format!("unknown: {error}"))),
        Ok(None) => lines.push(("runs", format!("nothing is set: there is no {}", contract::path(IMAGE_RECORD)))),
        Ok(Some(text)) => {
            lines.push(("runs", RunRecord::decode(&text).describe()));
            let record = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(shown);
            lines.extend(record.enumerate().map(|(number, line)| (if number == 0 { "record" } else { "" }, line)));
        }
    }
    Ok(lines.into_iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect())
}

/// Returns the run record's text, if the disk has one.
fn record(disk: &Disk) -> Result<Option<Vec<u8>>, Error> {
    /// More than the init reads.
    const MAX_BYTES: usize = 1 << 20;

    struct Bounded(Vec<u8>);

    impl io::Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() + bytes.len() > MAX_BYTES {
                return Err(io::Error::other("is longer than 1 MiB"));
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut text = Bounded(Vec::new());
    match disk.cat(IMAGE_RECORD.to_bytes(), &mut text) {
        Ok(()) => Ok(Some(text.0)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
