//! Parallel gzip, as in pigz: one member (RFC 1952) whose pieces are compressed at the same time. Each piece uses the 32 KiB
//! before it as a dictionary, so that the ratio stays good, and ends at a byte boundary (RFC 1951 §3.2.4, an empty stored
//! block). Several members would be simpler, but the kernel accepts them only if each ends at the end of a cpio entry.

use std::io::{self, Write};
use std::num::NonZero;
use std::thread::{self, ScopedJoinHandle};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The uncompressed size of a piece.
const PIECE_BYTES: usize = 1 << 20;
/// The window of deflate.
const WINDOW_BYTES: usize = 32 << 10;
/// The number of pieces per processor between two writes.
const PIECES_EACH: usize = 4;

/// Compresses the bytes written to it; [`Writer::finish`] ends the member.
pub(crate) struct Writer<W> {
    out: W,
    level: u32,
    /// The end of the compressed content, as a dictionary, and the content that is not compressed yet, which begins at `start`.
    content: Vec<u8>,
    start: usize,
    batch: usize,
    crc: Crc,
}

impl<W: Write> Writer<W> {
    /// Starts a member without a name or time: the same input gives the same bytes.
    pub(crate) fn new(mut out: W, level: u32) -> io::Result<Self> {
        const UNKNOWN_SYSTEM: u8 = 255;
        // XFL: 2 for the slowest compressor, 4 for the fastest (RFC 1952 §2.3.1).
        let speed = match level {
            9.. => 2,
            0..2 => 4,
            _ => 0,
        };
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, speed, UNKNOWN_SYSTEM])?;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let batch = threads * PIECES_EACH * PIECE_BYTES;
        Ok(Self { out, level, content: Vec::new(), start: 0, batch, crc: Crc::new() })
    }

    /// Writes the last pieces, the checksum and the length.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write_pieces(true)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn write_pieces(&mut self, is_end: bool) -> io::Result<()> {
        let (content, level) = (self.content.as_slice(), self.level);
        let starts: Vec<usize> = (self.start..content.len().max(self.start + 1)).step_by(PIECE_BYTES).collect();
        let pieces: Vec<_> = thread::scope(|scope| {
            let compress = |start: usize| {
                let end = content.len().min(start + PIECE_BYTES);
                let flush = if is_end && end == content.len() { FlushCompress::Finish } else { FlushCompress::Sync };
                move || piece(&content[start.saturating_sub(WINDOW_BYTES)..start], &content[start..end], level, flush)
            };
            let workers: Vec<_> = starts.into_iter().map(|start| scope.spawn(compress(start))).collect();
            workers.into_iter().map(ScopedJoinHandle::join).collect()
        });
        for piece in pieces {
            let piece = piece.map_err(|_| io::Error::other("a thread that compressed has ended"))??;
            self.out.write_all(&piece)?;
        }
        self.crc.update(&content[self.start..]);
        let used = self.content.len().saturating_sub(WINDOW_BYTES);
        self.content.drain(..used);
        self.start = self.content.len();
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only when more bytes come: the last piece must be flushed as the last one, for every batch size.
        if self.content.len() - self.start == self.batch && !bytes.is_empty() {
            self.write_pieces(false)?;
        }
        let taken = bytes.len().min(self.batch - (self.content.len() - self.start));
        self.content.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Compresses `content`, which follows `window`.
fn piece(window: &[u8], content: &[u8], level: u32, flush: FlushCompress) -> io::Result<Vec<u8>> {
    /// More than deflate needs for its last block and the empty block after it.
    const SLACK: usize = 64;
    let mut deflate = Compress::new(Compression::new(level), false);
    if !window.is_empty() {
        deflate.set_dictionary(window)?;
    }
    let mut out = Vec::with_capacity(content.len() / 2 + SLACK);
    loop {
        let done = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let status = deflate.compress_vec(&content[done..], &mut out, flush)?;
        // If room is left, all output was written (zlib.h, deflate()).
        let has_room = out.len() < out.capacity();
        if status == Status::StreamEnd || has_room && flush == FlushCompress::Sync {
            return Ok(out);
        }
        out.reserve(content.len() / 4 + SLACK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn content(length: usize) -> Vec<u8> {
        (0..length as u32).map(|index| ((index.wrapping_mul(2_654_435_761) >> 27) ^ (index >> 12)) as u8).collect()
    }

    fn compressed(bytes: &[u8], level: u32, at_once: usize) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), level).unwrap();
        writer.batch = at_once;
        for part in bytes.chunks(70_001) {
            writer.write_all(part).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn one_member_holds_all_pieces() {
        for length in [0, 1, 1000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 4 * PIECE_BYTES, 4 * PIECE_BYTES + 9]
        {
            let bytes = compressed(&content(length), 6, 2 * PIECE_BYTES);
            let mut input = bytes.as_slice();
            let mut read = Vec::new();
            flate2::bufread::GzDecoder::new(&mut input).read_to_end(&mut read).unwrap();
            assert!(read == content(length) && input.is_empty(), "{length}");
        }
    }

    #[test]
    fn the_number_of_processors_does_not_change_the_bytes() {
        for length in [4 * PIECE_BYTES, 5 * PIECE_BYTES + 77] {
            let batches = [1, 2, 3, 8].map(|pieces| compressed(&content(length), 1, pieces * PIECE_BYTES));
            assert!(batches.iter().all(|batch| *batch == batches[0]), "{length}");
        }
    }

    #[test]
    fn a_piece_uses_the_one_before_it_as_its_dictionary() {
        // The second piece repeats the end of the first.
        let mut random = 1_u32;
        let mut bytes: Vec<u8> = (0..PIECE_BYTES)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        let alone = compressed(&bytes, 6, PIECE_BYTES).len();
        bytes.extend_from_within(PIECE_BYTES - 20_000..);
        assert!(compressed(&bytes, 6, PIECE_BYTES).len() < alone + 1000);
    }
}
