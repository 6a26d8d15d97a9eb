//! How a segment is compressed: the kernel's own list (lib/decompress.c, decompress_method()), but for LZO.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

use super::lz4;

/// As many bytes as the longest magic has.
pub(crate) const MAGIC_BYTES: usize = 6;
/// What a decoder of xz or lzma may take; `xz -9` takes 65 MiB of it.
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
    /// Tells by the first bytes.
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

    /// The name that it goes by, also after the kernel's `CONFIG_RD_` in upper case.
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

/// One compressed piece of an input, which is given back when it is over.
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
