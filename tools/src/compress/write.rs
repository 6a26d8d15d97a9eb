//! Compresses an initramfs in a form that the kernel can decompress.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::Path;
use std::str::FromStr;

use flate2::GzBuilder;
use liblzma::stream::{Check, MtStreamBuilder};
use liblzma::write::XzEncoder;

use super::{Method, gzip, lz4};

/// A compression, with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    None,
    /// gzip at a level from 1 to 9.
    Gzip(u32),
    /// Zstandard at a level from 1 to 19: higher levels need windows that a kernel may refuse.
    Zstd(u32),
    /// xz with the preset 0 to 9.
    Xz(u32),
    /// LZ4 at a level from 1 to 12.
    Lz4(u32),
}

impl Compression {
    /// Returns the compression for a file's extension.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "gz" => Self::Gzip(9),
            "zst" => Self::Zstd(9),
            "xz" => Self::Xz(6),
            "lz4" => Self::Lz4(9),
            _ => return None,
        })
    }

    /// Returns the same compression at another level.
    ///
    /// # Errors
    /// A message of one line, for an invalid level.
    pub fn with_level(self, level: u32) -> Result<Self, String> {
        let (levels, found) = match self {
            Self::None => return Err("none has no level".to_owned()),
            Self::Gzip(_) => (1..=9, Self::Gzip(level)),
            Self::Zstd(_) => (1..=19, Self::Zstd(level)),
            Self::Xz(_) => (0..=9, Self::Xz(level)),
            Self::Lz4(_) => (1..=12, Self::Lz4(level)),
        };
        let (least, most) = (levels.start(), levels.end());
        if levels.contains(&level) { Ok(found) } else { Err(format!("{self} has levels from {least} to {most}")) }
    }

    /// Returns the method that decompresses it.
    #[must_use]
    pub fn method(self) -> Option<Method> {
        match self {
            Self::None => None,
            Self::Gzip(_) => Some(Method::Gzip),
            Self::Zstd(_) => Some(Method::Zstd),
            Self::Xz(_) => Some(Method::Xz),
            Self::Lz4(_) => Some(Method::Lz4),
        }
    }

    /// Creates an encoder. The same input gives the same bytes, for any number of processors.
    pub(crate) fn encoder<W: Write>(self, out: W) -> io::Result<Encoder<W>> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = u32::try_from(threads).unwrap_or(1);
        Ok(match self {
            Self::None => Encoder::None(out),
            Self::Gzip(level) => Encoder::Gzip(gzip::Writer::new(out, level)?),
            Self::Zstd(level) => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level.cast_signed())?;
                encoder.include_checksum(true)?;
                // One worker or more give the same bytes; no worker would give others (zstd.h, ZSTD_c_nbWorkers).
                encoder.multithread(threads)?;
                Encoder::Zstd(encoder)
            }
            Self::Xz(level) => {
                // The kernel supports only this check, and only its own architecture's filters (Documentation/staging/xz.rst).
                let stream = MtStreamBuilder::new().threads(threads).preset(level).check(Check::Crc32).encoder()?;
                Encoder::Xz(XzEncoder::new_stream(out, stream))
            }
            Self::Lz4(level) => Encoder::Lz4(lz4::Writer::new(out, level)?),
        })
    }

    /// Returns a separate segment with `bytes` uncompressed, so that its length depends only on that of `bytes`. xz has no such
    /// mode; its segment is compressed, and padded with zeros.
    pub(crate) fn stored(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Gzip(_) => {
                let mut encoder = GzBuilder::new().write(Vec::new(), flate2::Compression::none());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstd(_) => Ok(stored_zstd(bytes)),
            Self::Xz(_) => {
                let mut encoder =
                    XzEncoder::new_stream(Vec::new(), liblzma::stream::Stream::new_easy_encoder(0, Check::Crc32)?);
                encoder.write_all(bytes)?;
                let mut piece = encoder.finish()?;
                // Padding of a stream: a multiple of four (xz-file-format.txt, 2.2).
                piece.resize(piece.len().max(bytes.len() + XZ_FRAME_BYTES).next_multiple_of(4), 0);
                Ok(piece)
            }
            Self::Lz4(_) => Ok(lz4::stored(bytes)),
        }
    }
}

/// More than xz adds to incompressible data.
const XZ_FRAME_BYTES: usize = 128;

/// Returns a zstd frame of one raw block (RFC 8878 §3.1.1): up to 64 KiB and 255 bytes.
fn stored_zstd(bytes: &[u8]) -> Vec<u8> {
    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    /// Frame_Content_Size of 4 bytes, Single_Segment.
    const DESCRIPTOR: u8 = 2 << 6 | 1 << 5;
    /// Last_Block; Block_Type 0 is raw.
    const LAST: u32 = 1;
    let length = bytes.len() as u32; // an entry with one line of text
    [&MAGIC[..], &[DESCRIPTOR], &length.to_le_bytes(), &(length << 3 | LAST).to_le_bytes()[..3], bytes].concat()
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.method().map_or("none", Method::name))
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, level) = match text.split_once(':') {
            Some((kind, level)) => (kind, Some(level)),
            None => (text, None),
        };
        let known = match kind {
            "none" => Some(Self::None),
            "gzip" => Self::of_name(Path::new("a.gz")),
            "zstd" => Self::of_name(Path::new("a.zst")),
            "xz" | "lz4" => Self::of_name(&Path::new("a").with_extension(kind)),
            _ => None,
        };
        let compression = known.ok_or_else(|| "not none, gzip, zstd, xz or lz4, optionally with :LEVEL".to_owned())?;
        match level {
            None => Ok(compression),
            Some(level) => compression.with_level(level.parse().map_err(|_| format!("\"{level}\" is not a level"))?),
        }
    }
}

/// Compresses the bytes written to it; [`Encoder::finish`] writes the rest.
pub(crate) enum Encoder<W: Write> {
    None(W),
    Gzip(gzip::Writer<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Xz(XzEncoder<W>),
    Lz4(lz4::Writer<W>),
}

impl<W: Write> Encoder<W> {
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Xz(encoder) => encoder.finish(),
            Self::Lz4(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
            Self::Lz4(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Xz(encoder) => encoder.flush(),
            Self::Lz4(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_have_a_level() {
        for (text, expected) in [
            ("none", Compression::None),
            ("gzip", Compression::Gzip(9)),
            ("gzip:1", Compression::Gzip(1)),
            ("zstd", Compression::Zstd(9)),
            ("zstd:19", Compression::Zstd(19)),
            ("xz:0", Compression::Xz(0)),
            ("lz4", Compression::Lz4(9)),
            ("lz4:12", Compression::Lz4(12)),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        for text in ["", "zip", "gzip:", "gzip:0", "gzip:10", "gzip:x", "none:1", "zstd:20", "xz:10", "lz4:13", "gz"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
        for (name, expected) in [
            ("a.cpio.gz", Some(Compression::Gzip(9))),
            ("a.zst", Some(Compression::Zstd(9))),
            ("a.xz", Some(Compression::Xz(6))),
            ("a.lz4", Some(Compression::Lz4(9))),
            ("a.cpio", None),
            ("gz", None),
        ] {
            assert_eq!(Compression::of_name(Path::new(name)), expected, "{name}");
        }
    }
}
