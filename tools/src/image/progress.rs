//! How far the work is, for another thread to show.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that only grow.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Progress {
    /// Bytes of the input that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files, directories and all else that was taken over.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    pub(super) fn add_bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the parts of the work tell.
pub(super) struct Notes<'p> {
    pub(super) progress: &'p Progress,
    /// Attributes of the input that nothing was made of.
    pub(super) attributes_left_out: u64,
}

/// A reader whose bytes are counted.
pub(super) struct Counted<'p, R> {
    pub(super) input: R,
    pub(super) progress: &'p Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(target)?;
        self.progress.add_bytes(count as u64);
        Ok(count)
    }
}
