//! The image file: ascending writes gathered into large ones, zeros left out where they are many.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};

/// Gathered before a write. Measured: from 512 KiB on there is no difference.
const BUFFER: usize = 1 << 20;

/// Writes to a new file, whose untouched parts read as zeros.
pub(super) struct Disk<'a> {
    file: &'a File,
    /// Where the file system starts in the file: all other offsets count from there.
    base: u64,
    buffer: Box<[u8]>,
    /// Offset of the buffer's first byte.
    start: u64,
    filled: usize,
}

impl<'a> Disk<'a> {
    pub(super) fn new(file: &'a File, base: u64) -> Self {
        Self { file, base, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, filled: 0 }
    }

    /// The file, and where the file system starts in it.
    pub(super) fn place(&self) -> (&'a File, u64) {
        (self.file, self.base)
    }

    /// `length` bytes to fill, whose place is `offset`; `advance` then keeps them. What they hold before is
    /// left over from earlier writes.
    pub(super) fn room(&mut self, offset: u64, length: usize) -> io::Result<&mut [u8]> {
        if self.start + self.filled as u64 != offset || self.buffer.len() - self.filled < length {
            self.flush()?;
            self.start = offset;
        }
        Ok(&mut self.buffer[self.filled..][..length])
    }

    /// Keeps the first `length` bytes of the last `room`.
    pub(super) fn advance(&mut self, length: usize) {
        self.filled += length;
    }

    /// Writes `bytes` at `offset`.
    pub(super) fn write(&mut self, mut offset: u64, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(BUFFER) {
            self.room(offset, piece.len())?.copy_from_slice(piece);
            self.advance(piece.len());
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Makes `length` bytes from `offset` on zeros again.
    pub(super) fn clear(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.flush()?;
        let offset = self.base + offset;
        if fallocate(self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length).is_ok() {
            return Ok(());
        }
        let zeros = vec![0; BUFFER];
        let mut done = 0;
        while done < length {
            let count = (length - done).min(BUFFER as u64);
            self.file.write_all_at(&zeros[..count as usize], offset + done)?; // at most BUFFER
            done += count;
        }
        Ok(())
    }

    /// Writes what has been gathered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer[..self.filled], self.base + self.start)?;
        self.start += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// Writes the rest and sets the file's length.
    pub(super) fn finish(&mut self, length: u64) -> io::Result<()> {
        self.flush()?;
        self.file.set_len(self.base + length)
    }
}

/// Whether all bytes are zero. Ordinary data is told by its first bytes.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|piece| piece.iter().fold(0, |any, byte| any | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_writes_end_up_in_their_places() {
        for base in [0, 4096 * 5] {
            check_writes(base);
        }
    }

    fn check_writes(base: u64) {
        let file = tempfile::tempfile().unwrap();
        let mut disk = Disk::new(&file, base);
        let mut expected = vec![0; 5 << 20];
        for (offset, length, byte) in [(0, 10, 1), (10, 3 << 20, 2), (4 << 20, 100, 3), ((4 << 20) + 100, 4096, 4)] {
            let bytes = vec![byte; length];
            disk.write(offset as u64, &bytes).unwrap();
            expected[offset..offset + length].copy_from_slice(&bytes);
        }
        disk.clear(4096, 2 << 20).unwrap();
        expected[4096..4096 + (2 << 20)].fill(0);
        disk.finish(5 << 20).unwrap();
        let mut written = vec![0; 5 << 20];
        file.read_exact_at(&mut written, base).unwrap();
        assert!(written == expected);
        assert_eq!(file.metadata().unwrap().len(), base + (5 << 20));
    }

    #[test]
    fn one_bit_is_not_zero() {
        let mut bytes = vec![0; 4096];
        assert!(is_zero(&bytes));
        for position in [0, 255, 256, 4095] {
            bytes[position] = 0x80;
            assert!(!is_zero(&bytes));
            bytes[position] = 0;
        }
    }
}
