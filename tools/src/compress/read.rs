//! Detects the compression of an archive or a layer by its magic, and decompresses it.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::thread::Scope;

use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::ahead::ahead;
use super::method::{Decoder, MAGIC_BYTES, MEMORY_BYTES, Method};

/// Bytes of compressed input that are read at once.
const BUFFER: usize = 64 << 10;

/// The start of zstd's skippable frames, after a byte 0x50 to 0x5f (RFC 8878 §3.1.2). pzstd and zstd:chunked write them.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Decompresses all concatenated frames (as from `cat a.gz b.gz`).
fn all_frames<'a>(method: Method, input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match method {
        Method::Gzip | Method::Bzip2 => Box::new(Frames::new(method, input)?),
        Method::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
        Method::Xz => Box::new(XzDecoder::new_stream(input, Stream::new_stream_decoder(MEMORY_BYTES, CONCATENATED)?)),
        // Used for an initramfs, not for images and packages.
        Method::Lz4 | Method::Lzma => {
            return Err(io::Error::other(format!("{} is not supported for archives and layers", method.name())));
        }
    })
}

/// Returns the compression of `input`, and its content.
pub(crate) fn decoder<'a>(mut input: impl Read + Send + 'a) -> io::Result<(Option<Method>, Box<dyn Read + Send + 'a>)> {
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    input.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut start)?;
    let is_skippable = matches!(start[..], [0x50..=0x5f, ref rest @ ..] if rest.starts_with(&SKIPPABLE));
    let method = if is_skippable { Some(Method::Zstd) } else { Method::of(&start) };
    let whole = Cursor::new(start).chain(input);
    let content: Box<dyn Read + Send + 'a> = match method {
        None => Box::new(whole),
        Some(method) => Box::new(Named { name: method.name(), decoder: all_frames(method, whole)? }),
    };
    Ok((method, content))
}

/// Returns the content of `input`. If it is compressed, another thread decompresses it.
pub(crate) fn decompress<'scope>(
    scope: &'scope Scope<'scope, '_>,
    input: impl Read + Send + 'scope,
) -> io::Result<Box<dyn Read + Send + 'scope>> {
    let (method, content) = decoder(input)?;
    Ok(if method.is_none() { content } else { Box::new(ahead(scope, content)) })
}

/// The frames of a file one after the other, with zeros after the last one: padding of tapes and block devices.
struct Frames<R: Read> {
    method: Method,
    /// `None` after the last frame.
    decoder: Option<Decoder<BufReader<R>>>,
}

impl<R: Read> Frames<R> {
    fn new(method: Method, input: R) -> io::Result<Self> {
        Ok(Self { method, decoder: Some(Decoder::new(method, BufReader::with_capacity(BUFFER, input))?) })
    }

    /// Starts the frame after the one that has ended, if there is one.
    fn advance(&mut self) -> io::Result<()> {
        let Some(decoder) = self.decoder.take() else { return Ok(()) };
        let mut input = decoder.into_inner();
        let mut is_padded = false;
        let next = loop {
            let bytes = input.fill_buf()?;
            match bytes.iter().position(|byte| *byte != 0) {
                Some(zeros) => {
                    is_padded |= zeros > 0;
                    input.consume(zeros);
                    break input.buffer().first().copied();
                }
                None if bytes.is_empty() => break None,
                None => {
                    let count = bytes.len();
                    is_padded = true;
                    input.consume(count);
                }
            }
        };
        match next {
            None => Ok(()),
            // A frame that is cut off is reported by its decoder.
            Some(first) if !is_padded && self.method.starts_with(first) => {
                self.decoder = Some(Decoder::new(self.method, input)?);
                Ok(())
            }
            Some(_) => Err(io::Error::other("other data follow the compressed data; remove them")),
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let count = decoder.read(target)?;
            if count > 0 || target.is_empty() {
                return Ok(count);
            }
            self.advance()?;
        }
        Ok(0)
    }
}

/// A decoder whose errors begin with the name of the compression.
struct Named<R> {
    name: &'static str,
    decoder: R,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(target).map_err(|error| {
            let text = match error.kind() {
                io::ErrorKind::Interrupted => return error,
                io::ErrorKind::UnexpectedEof => "the data are truncated; make the file again".to_owned(),
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

    use liblzma::stream::{Check, Filters, LzmaOptions};

    fn content() -> Vec<u8> {
        (0..700_000_u32).map(|index| (index / 7) as u8).collect()
    }

    fn compressed(compression: Method, bytes: &[u8]) -> Vec<u8> {
        let write = |encoder: &mut dyn Write| encoder.write_all(bytes).unwrap();
        match compression {
            Method::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                write(&mut encoder);
                encoder.finish().unwrap()
            }
            Method::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                encoder.include_checksum(true).unwrap();
                write(&mut encoder);
                encoder.finish().unwrap()
            }
            Method::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                write(&mut encoder);
                encoder.finish().unwrap()
            }
            Method::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                write(&mut encoder);
                encoder.finish().unwrap()
            }
            Method::Lz4 | Method::Lzma => unreachable!("not supported for archives"),
        }
    }

    fn read(input: &[u8]) -> io::Result<Vec<u8>> {
        std::thread::scope(|scope| {
            let mut output = Vec::new();
            decompress(scope, input)?.read_to_end(&mut output)?;
            Ok(output)
        })
    }

    /// Returns the error for bytes that do not decompress.
    fn refusal(input: &[u8], context: &str) -> String {
        match read(input) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted: {context}"),
        }
    }

    const ALL: [Method; 4] = [Method::Gzip, Method::Zstd, Method::Xz, Method::Bzip2];

    #[test]
    fn each_compression_is_detected_and_several_frames_are_decompressed() {
        for compression in ALL {
            let bytes = compressed(compression, &content());
            assert_eq!(Method::of(&bytes), Some(compression));
            assert!(read(&bytes).unwrap() == content(), "{}", compression.name());
            let twice = [bytes.as_slice(), &bytes].concat();
            assert!(read(&twice).unwrap() == content().repeat(2), "{} twice", compression.name());
        }
    }

    #[test]
    fn uncompressed_input_is_unchanged() {
        for input in [&b"plain text"[..], b"x", b"", b"BZ", b"\x28\xb5\x2f"] {
            assert_eq!(read(input).unwrap(), input);
        }
    }

    #[test]
    fn every_truncation_is_an_error_that_names_the_format() {
        for compression in ALL {
            let bytes = compressed(compression, b"content");
            let name = compression.name();
            for length in MAGIC_BYTES..bytes.len() {
                let error = refusal(&bytes[..length], name);
                assert!(error.starts_with(name) && error.contains("truncated"), "cut at {length}: {error}");
            }
            let mut damaged = compressed(compression, &content());
            let middle = damaged.len() / 2;
            damaged[middle..middle + 8].fill(0x55);
            let error = refusal(&damaged, name);
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn an_xz_dictionary_over_the_memory_limit_is_refused() {
        let packed = |megabytes: u32| {
            let mut options = LzmaOptions::new_preset(0).unwrap();
            options.dict_size(megabytes << 20);
            let mut filters = Filters::new();
            filters.lzma2(&options);
            let stream = Stream::new_stream_encoder(&filters, Check::Crc32).unwrap();
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(b"content").unwrap();
            encoder.finish().unwrap()
        };
        // The dictionary of xz -9, and one over the limit.
        assert_eq!(read(&packed(64)).unwrap(), b"content");
        let error = refusal(&packed(512), "512 MiB");
        assert!(error.starts_with("xz: ") && error.to_lowercase().contains("mem"), "{error}");
    }

    #[test]
    fn a_compression_that_only_an_initramfs_has_is_refused() {
        for magic in [&b"\x02\x21\x4c\x18"[..], b"\x5d\0\0\0"] {
            let error = decoder(magic).map(|(method, _)| method).unwrap_err().to_string();
            assert!(error.contains("not supported for archives"), "{error}");
        }
    }
}
