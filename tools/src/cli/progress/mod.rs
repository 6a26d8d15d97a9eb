//! Progress counters, which another thread displays.

mod bar;

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

pub use bar::Bar;

/// Counters of bytes and files.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Progress {
    /// Returns the number of input bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of files, directories and other entries that were processed.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }
}

/// A reader that counts its bytes.
pub(crate) struct Counted<'p, R> {
    pub(crate) input: R,
    pub(crate) progress: &'p Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(target)?;
        self.progress.add_bytes(count as u64);
        Ok(count)
    }
}
