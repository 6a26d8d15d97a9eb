//! What an archive or a layer is wrapped in, told by its first bytes.

use std::io::{self, Cursor, Read};
use std::thread::Scope;

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;

use super::ahead::ahead;

/// As many bytes as the longest magic has.
const MAGIC_BYTES: usize = 6;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    /// Tells by the first bytes; none when they are of no compression known here.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Compression); 4] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"BZh", Compression::Bzip2),
        ];
        MAGIC.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, compression)| *compression)
    }

    /// The name of the format, and of the program that undoes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Undoes it, also for several pieces one behind the other, as `cat a.gz b.gz` makes them.
    fn decoder<'a>(self, input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
            Self::Xz => Box::new(XzDecoder::new_multi_decoder(input)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        })
    }
}

/// How `input` is compressed, and its content.
pub(crate) fn decoder<'a>(
    mut input: impl Read + Send + 'a,
) -> io::Result<(Option<Compression>, Box<dyn Read + Send + 'a>)> {
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    input.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    let whole = Cursor::new(start).chain(input);
    let content: Box<dyn Read + Send + 'a> = match compression {
        None => Box::new(whole),
        Some(compression) => Box::new(Named { name: compression.name(), decoder: compression.decoder(whole)? }),
    };
    Ok((compression, content))
}

/// The content of `input`: its own bytes, or what they decompress to in a thread of its own.
pub(super) fn decompress<'scope>(
    scope: &'scope Scope<'scope, '_>,
    input: impl Read + Send + 'scope,
) -> io::Result<Box<dyn Read + Send + 'scope>> {
    let (compression, content) = decoder(input)?;
    Ok(if compression.is_none() { content } else { Box::new(ahead(scope, content)) })
}

/// A decoder whose errors say what it decodes.
struct Named<R> {
    name: &'static str,
    decoder: R,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(target).map_err(|error| {
            let text = match error.kind() {
                io::ErrorKind::Interrupted => return error,
                io::ErrorKind::UnexpectedEof => "the data end too early; they were cut off: make them again".to_owned(),
                _ => error.to_string(),
            };
            io::Error::new(error.kind(), format!("{}: {text}", self.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn content() -> Vec<u8> {
        (0..700_000_u32).map(|index| (index / 7) as u8).collect()
    }

    fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let write = |encoder: &mut dyn Write| encoder.write_all(bytes).unwrap();
        match compression {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                write(&mut encoder);
                encoder.finish().unwrap()
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                encoder.include_checksum(true).unwrap();
                write(&mut encoder);
                encoder.finish().unwrap()
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                write(&mut encoder);
                encoder.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                write(&mut encoder);
                encoder.finish().unwrap()
            }
        }
    }

    fn read(input: &[u8]) -> io::Result<Vec<u8>> {
        std::thread::scope(|scope| {
            let mut output = Vec::new();
            decompress(scope, input)?.read_to_end(&mut output)?;
            Ok(output)
        })
    }

    /// What is said of bytes that do not decompress.
    fn refusal(input: &[u8], context: &str) -> String {
        match read(input) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted: {context}"),
        }
    }

    const ALL: [Compression; 4] = [Compression::Gzip, Compression::Zstd, Compression::Xz, Compression::Bzip2];

    #[test]
    fn each_is_told_by_its_magic_and_undone_in_several_pieces_too() {
        for compression in ALL {
            let bytes = compressed(compression, &content());
            assert_eq!(Compression::of(&bytes), Some(compression));
            assert!(read(&bytes).unwrap() == content(), "{}", compression.name());
            let twice = [bytes.as_slice(), &bytes].concat();
            assert!(read(&twice).unwrap() == content().repeat(2), "{} twice", compression.name());
        }
    }

    #[test]
    fn what_is_not_compressed_is_left_alone() {
        for input in [&b"plain text"[..], b"x", b"", b"BZ", b"\x28\xb5\x2f"] {
            assert_eq!(read(input).unwrap(), input);
        }
    }

    #[test]
    fn every_cut_is_an_error_that_names_the_format() {
        for compression in ALL {
            let bytes = compressed(compression, b"content");
            let name = compression.name();
            for length in MAGIC_BYTES..bytes.len() {
                let error = refusal(&bytes[..length], name);
                assert!(error.starts_with(name) && error.contains("cut off"), "cut at {length}: {error}");
            }
            let mut damaged = compressed(compression, &content());
            let middle = damaged.len() / 2;
            damaged[middle..middle + 8].fill(0x55);
            let error = refusal(&damaged, name);
            assert!(error.starts_with(name), "{error}");
        }
    }
}
