//! The input of an initramfs: a buffered reader with lookahead.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

use crate::cli::progress::Progress;

const BUFFER_BYTES: usize = 256 << 10;

/// A file with a buffer that can look ahead by the length of a magic, and its position.
pub(super) struct Input<R> {
    input: R,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and is not consumed yet.
    filled: Range<usize>,
    pub(super) position: u64,
    progress: Arc<Progress>,
}

impl<R> Input<R> {
    pub(super) fn new(input: R, progress: Arc<Progress>) -> Self {
        Self { input, buffer: vec![0; BUFFER_BYTES], filled: 0..0, position: 0, progress }
    }

    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.filled.clone()]
    }
}

impl<R: Read> Input<R> {
    /// Returns the next bytes without consuming them: at least `count`, fewer only at the end.
    pub(super) fn at_least(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.filled.len() < count {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
            match self.input.read(&mut self.buffer[self.filled.end..]) {
                Ok(0) => break,
                Ok(read) => self.filled.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.buffered())
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.at_least(1)
    }

    fn consume(&mut self, count: usize) {
        self.filled.start += count;
        self.position += count as u64;
        self.progress.add_bytes(count as u64);
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let rest = self.fill_buf()?;
        let count = rest.len().min(target.len());
        target[..count].copy_from_slice(&rest[..count]);
        self.consume(count);
        Ok(count)
    }
}
