//! The legacy LZ4 frame, the only one that the kernel reads (lib/decompress_unlz4.c): a magic, then blocks of up to 8 MiB of
//! content, each preceded by its compressed length. It has no end mark, no checksum and no total length.

use std::io::{self, BufRead, Read, Write};
use std::num::NonZero;
use std::thread::{self, ScopedJoinHandle};

use lz4::block::{self, CompressionMode};

/// The magic of a frame. Another magic may follow in place of a block's length (unlz4(), ARCHIVE_MAGICNUMBER).
pub(crate) const MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
/// The uncompressed size of a block (LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE).
const BLOCK_BYTES: usize = 8 << 20;

/// Compresses the bytes written to it, one block on each processor; [`Writer::finish`] writes the last blocks.
pub(crate) struct Writer<W> {
    out: W,
    level: i32,
    content: Vec<u8>,
    /// The bytes of the blocks that are compressed at the same time.
    batch: usize,
}

impl<W: Write> Writer<W> {
    /// Starts a frame. `level` 1 is the fast compressor, 2 to 12 are LZ4 HC.
    pub(crate) fn new(mut out: W, level: u32) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let level = i32::try_from(level).unwrap_or(i32::MAX);
        Ok(Self { out, level, content: Vec::new(), batch: threads * BLOCK_BYTES })
    }

    /// Writes the last blocks.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write_blocks()?;
        Ok(self.out)
    }

    fn write_blocks(&mut self) -> io::Result<()> {
        let mode = if self.level < 2 { CompressionMode::FAST(1) } else { CompressionMode::HIGHCOMPRESSION(self.level) };
        let compressed: Vec<_> = thread::scope(|scope| {
            let compress = |block| move || block::compress(block, Some(mode), false);
            let workers: Vec<_> = self.content.chunks(BLOCK_BYTES).map(|block| scope.spawn(compress(block))).collect();
            workers.into_iter().map(ScopedJoinHandle::join).collect()
        });
        for block in compressed {
            let block = block.map_err(|_| io::Error::other("a thread that compressed has ended"))??;
            self.out.write_all(&length(block.len()))?;
            self.out.write_all(&block)?;
        }
        self.content.clear();
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.batch - self.content.len());
        self.content.extend_from_slice(&bytes[..taken]);
        if self.content.len() == self.batch {
            self.write_blocks()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns a frame with `bytes` uncompressed, as one sequence of literals (lz4_Block_format.md). Its length depends only on that
/// of `bytes`.
pub(crate) fn stored(bytes: &[u8]) -> Vec<u8> {
    const NIBBLE: usize = 15;
    let mut block = match bytes.len().checked_sub(NIBBLE) {
        None => vec![(bytes.len() << 4) as u8], // below 15
        Some(more) => [&[0xf0][..], &vec![255; more / 255], &[(more % 255) as u8]].concat(),
    };
    block.extend_from_slice(bytes);
    [&MAGIC[..], &length(block.len()), &block].concat()
}

/// Encodes a block's length, which is at most `compress_bound(BLOCK_BYTES)`.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// Decompresses a frame, up to four zeros or the end of the input, as the kernel does.
pub(crate) struct Reader<R> {
    input: R,
    content: Vec<u8>,
    position: usize,
    has_ended: bool,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, content: Vec::new(), position: 0, has_ended: false }
    }

    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// Reads the next block; `content` is empty at the end.
    fn fill(&mut self) -> io::Result<()> {
        self.position = 0;
        let limit = block::compress_bound(BLOCK_BYTES)? as u64;
        let size = loop {
            let mut field = Vec::with_capacity(4);
            self.input.by_ref().take(4).read_to_end(&mut field)?;
            match <[u8; 4]>::try_from(field.as_slice()) {
                Ok(MAGIC) => {}
                Ok(field) => break u64::from(u32::from_le_bytes(field)),
                // Zeros that pad the file.
                Err(_) if field.iter().all(|byte| *byte == 0) => break 0,
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        if size == 0 {
            self.content.clear();
            self.has_ended = true;
            return Ok(());
        }
        if size > limit {
            return Err(io::Error::other(format!("a block of {size} bytes; the kernel accepts at most {limit}")));
        }
        let mut compressed = Vec::new();
        self.input.by_ref().take(size).read_to_end(&mut compressed)?;
        if (compressed.len() as u64) < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content.resize(BLOCK_BYTES, 0);
        let most = i32::try_from(BLOCK_BYTES).unwrap_or(i32::MAX);
        let damaged = |_| io::Error::other("a block is damaged");
        let count = block::decompress_to_buffer(&compressed, Some(most), &mut self.content).map_err(damaged)?;
        self.content.truncate(count);
        Ok(())
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        while self.position == self.content.len() && !self.has_ended {
            self.fill()?;
        }
        let rest = &self.content[self.position..];
        let count = rest.len().min(target.len());
        target[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index / 9 * 31 / 8) as u8).collect()
    }

    fn compressed(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), level).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<(Vec<u8>, usize)> {
        let mut reader = Reader::new(bytes);
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        Ok((content, reader.into_inner().len()))
    }

    #[test]
    fn compressed_blocks_are_read_back() {
        for length in [0, 1, 1000, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 1] {
            for level in [1, 9] {
                let bytes = compressed(&content(length), level);
                assert!(read(&bytes).unwrap() == (content(length), 0), "{length} at level {level}");
            }
        }
    }

    #[test]
    fn stored_frames_have_the_same_length_for_every_content() {
        for length in [0, 1, 14, 15, 16, 269, 270, 271, 525, 5000] {
            let (one, other) = (stored(&content(length)), stored(&vec![7; length]));
            assert_eq!(one.len(), other.len());
            assert!(length == 0 || read(&one).unwrap() == (content(length), 0), "{length}");
        }
    }

    #[test]
    fn frames_follow_each_other_and_end_at_zeros() {
        let frame = compressed(b"one", 1);
        let both = [frame.as_slice(), &compressed(b"two", 1), &[0; 4], b"more"].concat();
        assert_eq!(read(&both).unwrap(), (b"onetwo".to_vec(), 4));
        for zeros in 0..4 {
            assert_eq!(read(&[frame.as_slice(), &vec![0; zeros]].concat()).unwrap().0, b"one");
        }
    }

    #[test]
    fn every_truncation_and_an_invalid_block_are_errors() {
        let frame = compressed(&content(3000), 1);
        for length in 5..frame.len() {
            assert!(length == 8 && frame[4..8] == [0; 4] || read(&frame[..length]).is_err(), "{length}");
        }
        for (bytes, message) in [(&b"0707"[..], "a block of"), (b"\x04\0\0\0\xff\xff\xff\xff", "damaged")] {
            let error = read(&[&MAGIC[..], bytes].concat()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        // A block that decompresses to more than 8 MiB.
        let bomb = block::compress(&vec![0; BLOCK_BYTES + 1], None, false).unwrap();
        let framed = [&MAGIC[..], &length(bomb.len()), &bomb].concat();
        assert!(read(&framed).is_err());
    }
}
