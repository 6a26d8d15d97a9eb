//! The compressions of a segment: those that the kernel supports (lib/decompress.c, decompress_method()), except LZO.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

use super::lz4;

/// The length of the longest magic.
pub(crate) const MAGIC_BYTES: usize = 6;
/// The memory limit of the xz and lzma decoders; `xz -9` needs 65 MiB.
pub(crate) const MEMORY_BYTES: u64 = 160 << 20;

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// LZ4's legacy frame.
    Lz4,
    /// bzip2.
    Bzip2,
    /// The format before xz.
    Lzma,
}

impl Method {
    /// Detects the compression by the magic.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Method); 6] = [
            (b"\x1f\x8b", Method::Gzip),
            (b"\x28\xb5\x2f\xfd", Method::Zstd),
            (b"\xfd7zXZ\0", Method::Xz),
            (&lz4::MAGIC, Method::Lz4),
            (b"BZh", Method::Bzip2),
            (b"\x5d\0\0", Method::Lzma),
        ];
        MAGIC.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, method)| *method)
    }

    /// Returns whether a frame may start with this byte.
    pub(crate) fn starts_with(self, first: u8) -> bool {
        match self {
            Self::Gzip => first == 0x1f,
            Self::Bzip2 => first == b'B',
            _ => true,
        }
    }

    /// Returns the name; in upper case, it is also the end of the kernel's `CONFIG_RD_` option.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
        }
    }
}

/// Decompresses one frame of an input; [`Decoder::into_inner`] returns the input after it.
pub(crate) enum Decoder<R: BufRead> {
    Gzip(GzDecoder<R>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    Xz(XzDecoder<R>),
    Lz4(lz4::Reader<R>),
    Bzip2(BzDecoder<R>),
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(method: Method, input: R) -> io::Result<Self> {
        Ok(match method {
            Method::Gzip => Self::Gzip(GzDecoder::new(input)),
            Method::Zstd => Self::Zstd(zstd::stream::read::Decoder::with_buffer(input)?.single_frame()),
            Method::Xz => Self::Xz(XzDecoder::new_stream(input, Stream::new_stream_decoder(MEMORY_BYTES, 0)?)),
            Method::Lzma => Self::Xz(XzDecoder::new_stream(input, Stream::new_lzma_decoder(MEMORY_BYTES)?)),
            Method::Lz4 => Self::Lz4(lz4::Reader::new(input)),
            Method::Bzip2 => Self::Bzip2(BzDecoder::new(input)),
        })
    }

    pub(crate) fn into_inner(self) -> R {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Lz4(decoder) => decoder.into_inner(),
            Self::Bzip2(decoder) => decoder.into_inner(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(target),
            Self::Zstd(decoder) => decoder.read(target),
            Self::Xz(decoder) => decoder.read(target),
            Self::Lz4(decoder) => decoder.read(target),
            Self::Bzip2(decoder) => decoder.read(target),
        }
    }
}
