//! Writes the image in a thread of its own. [`check`](crate::check) reads it back.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use flate2::Crc;

use crate::END_BYTES;
use crate::bmap::Map;
use crate::check::{ALIGNMENT, Aligned, Batches, Check, Checker, differs, read_at};
use crate::progress::Progress;
use crate::target::{Target, ZEROS};

/// Bytes of a block, and blocks that wait for the disk.
pub const BLOCK: usize = 1 << 20;
const WAITING: usize = 2;
/// The unit of zero runs, holes and checks. A block has as many as [`Units`] has bits.
pub(crate) const UNIT: usize = 64 << 10;

/// The units of a block that have content, one bit each.
pub(crate) type Units = u16;
const _: () = assert!(BLOCK / UNIT == Units::BITS as usize && END_BYTES == BLOCK as u64);

/// What is on the disk.
#[derive(Default)]
pub struct Written {
    /// Blocks of the two ends of the disk, which are written last.
    held: Vec<(u64, Vec<u8>)>,
    /// The length of the image.
    pub length: u64,
}

/// The sending end of the thread.
pub struct Writer {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Result<Written, String>>,
    checker: Checker,
}

impl Writer {
    /// Starts the thread.
    pub fn start(target: &Arc<Target>, map: Option<Map>, progress: &Arc<Progress>) -> Self {
        Self::start_with(target, map, progress, Checker::start(target, progress))
    }

    /// Starts the thread with one that reads back.
    pub(crate) fn start_with(
        target: &Arc<Target>,
        map: Option<Map>,
        progress: &Arc<Progress>,
        (checker, batches): (Checker, Batches),
    ) -> Self {
        let (full, receive_full) = sync_channel(WAITING);
        let (send_empty, empty) = channel();
        let (target, progress) = (Arc::clone(target), Arc::clone(progress));
        let thread = thread::spawn(move || write(&target, map, &progress, &receive_full, &send_empty, batches));
        Self { full, empty, thread, checker }
    }

    /// Returns an empty block.
    pub fn block(&self) -> Vec<u8> {
        let mut block = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        block.clear();
        block
    }

    /// Passes a block on; false if the thread has failed.
    pub fn send(&self, block: Vec<u8>) -> bool {
        self.full.send(block).is_ok()
    }

    /// Waits until all blocks are written; they are still read back then.
    ///
    /// # Errors
    /// One line.
    pub fn finish(self) -> Result<(Written, Checker), String> {
        drop(self.full);
        let written = self.thread.join().unwrap_or_else(|_| Err("the writing thread panicked".into()));
        match written {
            Ok(written) => Ok((written, self.checker)),
            // It found the checker gone, which has the reason.
            Err(error) if error.is_empty() => Err(self.checker.finish(|_| ()).err().unwrap_or(error)),
            Err(error) => Err(error),
        }
    }
}

/// Writes blocks until the sender is dropped, then everything that the kernel holds back.
fn write(
    target: &Target,
    mut map: Option<Map>,
    progress: &Progress,
    full: &Receiver<Vec<u8>>,
    empty: &Sender<Vec<u8>>,
    mut batches: Batches,
) -> Result<Written, String> {
    let mut written = Written::default();
    let mut zeros = Zeros::default();
    let at = |error: io::Error| format!("{}: {error}", target.path.display());
    for block in full {
        let (start, end) = (written.length, written.length + block.len() as u64);
        written.length = end;
        if let Some(map) = &mut map {
            map.check(start, &block)?;
        }
        progress.written.store(end, Relaxed);
        if start == 0 || end > target.size - END_BYTES {
            zeros.flush(target).map_err(at)?;
            written.held.push((start, block));
            continue;
        }
        let check = write_block(target, map.as_ref(), &mut zeros, start, &block).map_err(at)?;
        let _ = empty.send(block);
        if !batches.add(check) {
            return Err(String::new());
        }
    }
    zeros.flush(target).map_err(at)?;
    if let Some(map) = &map {
        map.finish(written.length)?;
    }
    target.file.sync_data().map_err(at)?;
    if !batches.send() {
        return Err(String::new());
    }
    Ok(written)
}

/// Writes the runs of units with content, and collects those of zeros.
fn write_block(target: &Target, map: Option<&Map>, zeros: &mut Zeros, start: u64, block: &[u8]) -> io::Result<Check> {
    let (mut units, mut crc, mut run) = (0, Crc::new(), 0..0);
    for (index, unit) in block.chunks(UNIT).enumerate() {
        let (from, to) = (index * UNIT, index * UNIT + unit.len());
        let at = start + from as u64;
        if map.is_some_and(|map| !map.has(at, start + to as u64)) {
            continue;
        }
        // A unit that is not whole ends the image; zeroing needs whole sectors.
        if is_zero(unit) {
            zeros.add(target, at)?;
            continue;
        }
        units |= 1 << index;
        crc.update(unit);
        if run.end != from {
            write_run(target, start, block, run)?;
            run = from..from;
        }
        run.end = to;
    }
    write_run(target, start, block, run)?;
    Ok(Check { start, length: block.len(), units, crc: crc.sum() })
}

fn write_run(target: &Target, start: u64, block: &[u8], run: std::ops::Range<usize>) -> io::Result<()> {
    if run.is_empty() {
        return Ok(());
    }
    target.file.write_all_at(&block[run.clone()], start + run.start as u64)
}

fn is_zero(unit: &[u8]) -> bool {
    *unit == ZEROS[..]
}

/// A run of zeros that goes on.
#[derive(Default)]
struct Zeros {
    start: u64,
    end: u64,
}

impl Zeros {
    fn add(&mut self, target: &Target, at: u64) -> io::Result<()> {
        if self.end != at {
            self.flush(target)?;
            self.start = at;
        }
        self.end = at + UNIT as u64;
        Ok(())
    }

    fn flush(&mut self, target: &Target) -> io::Result<()> {
        if self.end > self.start {
            target.zero(self.start, self.end - self.start)?;
        }
        *self = Self::default();
        Ok(())
    }
}

impl Written {
    /// Returns the first MiB of the image.
    pub fn front(&self) -> &[u8] {
        self.held.first().map_or(&[], |(_, block)| block)
    }

    /// Writes the ends of the disk: the last MiB, the backup of the partition table, then the first MiB. `front` is the first MiB
    /// of the image, in which the table may have grown.
    ///
    /// # Errors
    /// One line. The ends are wiped again.
    pub fn complete(&self, target: &Target, front: &[u8], back: Option<(u64, Vec<u8>)>) -> Result<(), String> {
        let at = |error: io::Error| format!("{}: {error}", target.path.display());
        let write = || {
            for (start, block) in self.held.iter().filter(|(start, _)| *start > 0) {
                write_padded(target, block, *start)?;
            }
            if let Some((start, bytes)) = &back {
                target.file.write_all_at(bytes, *start)?;
            }
            target.file.sync_data()?;
            write_padded(target, front, 0)?;
            target.file.sync_data()
        };
        let check = || {
            let file = target.open_uncached().map_err(at)?;
            let mut memory = Aligned::new();
            let mut compare = |start: u64, expected: &[u8], hidden: &std::ops::Range<u64>| {
                let block = memory.slice(expected.len().next_multiple_of(ALIGNMENT));
                // The backup may begin in the middle of a sector of O_DIRECT's alignment.
                let before = (start % ALIGNMENT as u64) as usize;
                let length = read_at(&file, block, start - before as u64).map_err(at)?;
                let read = block[..length].get(before..).unwrap_or_default();
                let same = expected
                    .iter()
                    .zip(read)
                    .enumerate()
                    .all(|(index, (one, other))| one == other || hidden.contains(&(start + index as u64)));
                let is_whole = before > 0 || read.len() >= expected.len();
                if same && is_whole { Ok(()) } else { Err(differs(target, start, start + expected.len() as u64)) }
            };
            let hidden = back.as_ref().map_or(0..0, |(start, bytes)| *start..start + bytes.len() as u64);
            for (start, block) in self.held.iter().filter(|(start, _)| *start > 0) {
                compare(*start, block, &hidden)?;
            }
            if let Some((start, bytes)) = &back {
                compare(*start, bytes, &(0..0))?;
            }
            compare(0, front, &(0..0))
        };
        write().map_err(at).and_then(|()| check())
    }
}

/// Writes bytes, with zeros up to a whole sector.
fn write_padded(target: &Target, bytes: &[u8], start: u64) -> io::Result<()> {
    target.file.write_all_at(bytes, start)?;
    let rest = bytes.len() as u64 % target.sector;
    if rest > 0 {
        target.file.write_all_at(&vec![0; (target.sector - rest) as usize], start + bytes.len() as u64)?;
    }
    Ok(())
}
