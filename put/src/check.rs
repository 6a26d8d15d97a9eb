//! Reads the image back from the medium, in a thread of its own that follows the writer.
//!
//! The blocks of a batch are on the medium before they are read: fdatasync(2) writes them and flushes the device's cache, and the reads
//! pass the page cache (O_DIRECT). Meanwhile the writer goes on, so that reading back costs little time.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use flate2::Crc;

use crate::progress::Progress;
use crate::target::Target;
use crate::write::{BLOCK, UNIT, Units};

/// Blocks of a batch. Each batch costs a flush.
const BATCH: usize = 64;
/// Batches that wait.
const WAITING: usize = 1;
/// O_DIRECT's alignment of memory, offset and length: the largest logical sector.
pub(crate) const ALIGNMENT: usize = 4096;

/// A block that was written.
pub(crate) struct Check {
    /// Its offset and its length.
    pub(crate) start: u64,
    pub(crate) length: usize,
    /// The units with content.
    pub(crate) units: Units,
    /// Their CRC.
    pub(crate) crc: u32,
}

/// The writer's end: collects blocks.
pub(crate) struct Batches {
    batch: Vec<Check>,
    full: SyncSender<Vec<Check>>,
}

impl Batches {
    /// Adds a block; false if the thread has failed.
    pub(crate) fn add(&mut self, check: Check) -> bool {
        if check.units != 0 {
            self.batch.push(check);
        }
        self.batch.len() < BATCH || self.send()
    }

    /// Passes the blocks on; false if the thread has failed.
    pub(crate) fn send(&mut self) -> bool {
        self.full.send(std::mem::take(&mut self.batch)).is_ok()
    }
}

/// The thread that reads back.
pub struct Checker {
    checked: Receiver<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl Checker {
    /// Starts the thread.
    pub(crate) fn start(target: &Arc<Target>, progress: &Arc<Progress>) -> (Self, Batches) {
        let (full, batches) = sync_channel(WAITING);
        let (send_checked, checked) = channel();
        let (target, progress) = (Arc::clone(target), Arc::clone(progress));
        let thread = thread::spawn(move || read_back(&target, &progress, &batches, &send_checked));
        (Self { checked, thread }, Batches { batch: Vec::new(), full })
    }

    /// Waits until everything is read back. Calls `report` after each block.
    ///
    /// # Errors
    /// One line: a read failed, or returned other bytes.
    pub fn finish(self, mut report: impl FnMut(())) -> Result<(), String> {
        self.checked.iter().for_each(&mut report);
        self.thread.join().unwrap_or_else(|_| Err("the checking thread panicked".into()))
    }
}

/// Reads blocks back until the sender is dropped.
fn read_back(
    target: &Target,
    progress: &Progress,
    batches: &Receiver<Vec<Check>>,
    checked: &Sender<()>,
) -> Result<(), String> {
    let at = |error: io::Error| format!("{}: reading back: {error}", target.path.display());
    let mut memory = Aligned::new();
    for batch in batches {
        target.file.sync_data().map_err(|error| format!("{}: {error}", target.path.display()))?;
        let file = target.open_uncached().map_err(at)?;
        for check in batch {
            check.compare(target, &file, &mut memory).map_err(at)??;
            progress.checked.fetch_add(check.length as u64, Relaxed);
            let _ = checked.send(());
        }
    }
    Ok(())
}

impl Check {
    /// Reads the units with content; the inner error is a difference.
    fn compare(&self, target: &Target, file: &std::fs::File, memory: &mut Aligned) -> io::Result<Result<(), String>> {
        let (first, last) = (self.units.trailing_zeros() as usize, Units::BITS - self.units.leading_zeros());
        let start = self.start + (first * UNIT) as u64;
        let block = memory.slice(last as usize * UNIT - first * UNIT);
        let length = read_at(file, block, start)?.min(self.length - first * UNIT);
        let mut crc = Crc::new();
        for (unit, content) in block[..length].chunks(UNIT).enumerate() {
            if self.units >> (first + unit) & 1 == 1 {
                crc.update(content);
            }
        }
        let is_same = crc.sum() == self.crc;
        Ok(if is_same { Ok(()) } else { Err(differs(target, start, start + length as u64)) })
    }
}

/// Describes bytes that were written and are others now.
pub(crate) fn differs(target: &Target, start: u64, end: u64) -> String {
    format!("{}: the bytes {start} to {} read back differ from those written", target.path.display(), end - 1)
}

/// Reads as much as the file has.
pub(crate) fn read_at(file: &std::fs::File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], start + length as u64)? {
            0 => break,
            count => length += count,
        }
        // A read of O_DIRECT that ends in a sector is the last one.
        if !length.is_multiple_of(512) {
            break;
        }
    }
    Ok(length)
}

/// Memory with the alignment of O_DIRECT.
pub(crate) struct Aligned(Vec<u8>);

impl Aligned {
    pub(crate) fn new() -> Self {
        Self(vec![0; BLOCK + 2 * ALIGNMENT])
    }

    pub(crate) fn slice(&mut self, length: usize) -> &mut [u8] {
        let start = self.0.as_ptr().align_offset(ALIGNMENT);
        &mut self.0[start..start + length]
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::write::Writer;

    const DISK: u64 = 128 << 20;

    /// A file in the place of a disk; it is removed at the end.
    struct Disk(Arc<Target>);

    impl Disk {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("put-check-{name}-{}", std::process::id()));
            File::create(&path).unwrap().set_len(DISK).unwrap();
            Self(Arc::new(Target::open(&path).unwrap()))
        }

        /// Returns the check of a block that is the only one with content, in its second unit.
        fn check(&self, start: u64, crc: &[u8]) -> Check {
            self.0.file.write_all_at(&[7; UNIT], start + UNIT as u64).unwrap();
            let mut sum = Crc::new();
            sum.update(crc);
            Check { start, length: BLOCK, units: 0b10, crc: sum.sum() }
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0.path);
        }
    }

    #[test]
    fn a_difference_is_an_error_with_its_place() {
        let disk = Disk::new("difference");
        let progress = Arc::default();
        let (checker, mut batches) = Checker::start(&disk.0, &progress);
        for (start, content) in [(1 << 20, [7; UNIT]), (2 << 20, [8; UNIT]), (3 << 20, [7; UNIT])] {
            assert!(batches.add(disk.check(start, &content)));
        }
        assert!(batches.send());
        drop(batches);
        let mut count = 0;
        let error = checker.finish(|()| count += 1).unwrap_err();
        let place = ": the bytes 2162688 to 2228223 read back differ from those written";
        assert_eq!(error, format!("{}{place}", disk.0.path.display()));
        assert_eq!((count, progress.checked.load(Relaxed)), (1, BLOCK as u64), "it ends at the difference");
    }

    #[test]
    fn without_a_difference_all_blocks_are_checked() {
        let disk = Disk::new("same");
        let progress = Arc::default();
        let (checker, mut batches) = Checker::start(&disk.0, &progress);
        for start in [1 << 20, 2 << 20] {
            assert!(batches.add(disk.check(start, &[7; UNIT])));
        }
        assert!(batches.send());
        drop(batches);
        let mut count = 0;
        checker.finish(|()| count += 1).unwrap();
        assert_eq!((count, progress.checked.load(Relaxed)), (2, 2 * BLOCK as u64));
    }

    /// The thread that reads back has ended. The writer finds that at the end of a batch, or at the end of the image.
    #[test]
    fn the_writer_returns_the_difference() {
        let disk = Disk::new("writer");
        for (blocks, is_early) in [(3, false), (BATCH + 16, true)] {
            let progress = Arc::default();
            let (checker, mut batches) = Checker::start(&disk.0, &progress);
            assert!(batches.add(disk.check(100 << 20, &[8; UNIT])) && batches.send());
            while !checker.thread.is_finished() {
                thread::yield_now();
            }
            let writer = Writer::start_with(&disk.0, None, &progress, (checker, batches));
            let sent = (0..blocks).take_while(|_| {
                let mut block = writer.block();
                block.resize(BLOCK, 0);
                block[..UNIT].fill(7);
                writer.send(block)
            });
            assert_eq!(sent.count() < blocks, is_early);
            let error = writer.finish().err().unwrap();
            assert!(
                error.ends_with(": the bytes 104923136 to 104988671 read back differ from those written"),
                "{error}"
            );
        }
    }
}
