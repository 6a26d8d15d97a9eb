//! A buffered input that counts its position and passes large reads through without a copy.

use std::io::{self, Read, Seek, SeekFrom};

/// Measured on a 187 MB archive: 64 KiB to 1 MiB are equally fast, and 64 KiB fit the second-level cache.
const BUFFER: usize = 64 << 10;
/// Enough for a header and a few blocks after it.
const SEEKABLE_BUFFER: usize = 4 << 10;
/// Reads of at least this size go directly to the target.
const DIRECT: usize = 16 << 10;

pub(super) struct Source<R> {
    input: R,
    /// Skips bytes without reading them, if the input can seek.
    jump: Option<fn(&mut R, u64) -> io::Result<u64>>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, jump: None, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, offset: 0 }
    }

    /// Creates a source for an input of which only some parts are read: it reads little at a time, and seeks to skip.
    pub(super) fn seekable(input: R) -> Self
    where
        R: Seek,
    {
        let buffer = vec![0; SEEKABLE_BUFFER].into_boxed_slice();
        Self { input, jump: Some(jump), buffer, start: 0, end: 0, offset: 0 }
    }

    /// Returns the number of bytes read and skipped so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills `target` and returns the byte count, which is less than its length only at the end of the input.
    pub(super) fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < target.len() {
            let wanted = &mut target[filled..];
            let count = if self.start < self.end {
                let buffered = &self.buffer[self.start..self.end];
                let count = buffered.len().min(wanted.len());
                wanted[..count].copy_from_slice(&buffered[..count]);
                self.start += count;
                count
            } else if wanted.len() >= DIRECT {
                read_some(&mut self.input, wanted)?
            } else {
                self.start = 0;
                self.end = read_some(&mut self.input, &mut self.buffer)?;
                if self.end == 0 {
                    break;
                }
                continue;
            };
            if count == 0 {
                break;
            }
            filled += count;
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    /// Skips `count` bytes. Returns how many there were before the end of the input.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut skipped = 0;
        while skipped < count {
            if self.start == self.end {
                if let Some(jump) = self.jump {
                    let step = jump(&mut self.input, count - skipped)?;
                    skipped += step;
                    if step == 0 {
                        break;
                    }
                    continue;
                }
                self.start = 0;
                self.end = read_some(&mut self.input, &mut self.buffer)?;
                if self.end == 0 {
                    break;
                }
            }
            let step = (count - skipped).min((self.end - self.start) as u64);
            self.start += step as usize; // at most the buffer's length
            skipped += step;
        }
        self.offset += skipped;
        Ok(skipped)
    }

    /// Reads the rest of the input, and returns the offset of its first byte that is not zero. An input that can seek is not
    /// read: `None`.
    pub(super) fn drain(&mut self) -> io::Result<Option<u64>> {
        let mut found = None;
        while self.jump.is_none() {
            let buffered = &self.buffer[self.start..self.end];
            if found.is_none()
                && let Some(position) = buffered.iter().position(|byte| *byte != 0)
            {
                found = Some(self.offset + position as u64);
            }
            self.offset += buffered.len() as u64;
            self.start = 0;
            self.end = read_some(&mut self.input, &mut self.buffer)?;
            if self.end == 0 {
                break;
            }
        }
        Ok(found)
    }
}

/// Seeks forward by up to `count` bytes, not past the end. Returns the distance.
fn jump<R: Seek>(input: &mut R, count: u64) -> io::Result<u64> {
    let here = input.stream_position()?;
    let end = input.seek(SeekFrom::End(0))?;
    let step = count.min(end.saturating_sub(here));
    input.seek(SeekFrom::Start(here + step))?;
    Ok(step)
}

fn read_some(input: &mut impl Read, target: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(target) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns at most seven bytes at a time, as a slow pipe would.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
            let count = target.len().min(7).min(self.0.len());
            target[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn reads_and_skips_of_every_size_return_the_right_bytes() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
        check(Source::new(Trickle(&bytes)), &bytes);
        check(Source::seekable(io::Cursor::new(&bytes)), &bytes);
    }

    fn check(mut source: Source<impl Read>, bytes: &[u8]) {
        let mut position = 0;
        for size in [1, 512, 20_000, 511, 70_000, 3, 100_000] {
            let mut target = vec![0; size];
            assert_eq!(source.read(&mut target).unwrap(), size);
            assert_eq!(target, &bytes[position..position + size]);
            position += size;
            assert_eq!(source.skip(100).unwrap(), 100);
            position += 100;
            assert_eq!(source.offset(), position as u64);
        }
        let mut rest = vec![0; 200_000];
        assert_eq!(source.read(&mut rest).unwrap(), bytes.len() - position);
        assert_eq!(source.read(&mut rest[..1]).unwrap(), 0);
        assert_eq!(source.skip(1).unwrap(), 0);
    }
}
