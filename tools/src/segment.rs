//! The segments of an initramfs: archives one behind the other, each compressed or not, of which the last to name a file
//! wins (init/initramfs.c, unpack_to_rootfs()).
//!
//! A run's own arguments come into an initramfs this way: its record is read, and a small segment with the new one is
//! written behind a copy.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use tempfile::NamedTempFile;
use whit::record::MAX_RECORD;

use crate::initramfs::RECORD;
use crate::newc::{self, Malformed, Meta, Refused, Writer};

/// What all segments together may decompress to.
const CONTENT_MAX_BYTES: u64 = 1 << 30;
/// Where the kernel looks for an uncompressed header: at multiples of this.
const ALIGNMENT: usize = 4;

/// Why a segment cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not an initramfs.
    #[error("{}: {error}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        error: Malformed,
    },
    /// Compressed in a way that is not read here.
    #[error("{}: not an initramfs, or not one compressed by gzip, xz or zstd, at byte {position}", .path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Where the unknown segment begins.
        position: usize,
    },
    /// The record would be longer than the init reads.
    #[error("arguments and environment make a run record of {0} bytes, and the init reads {MAX_RECORD}")]
    LongRecord(usize),
    /// The copy cannot be written.
    #[error("temporary initramfs: {0}")]
    Write(#[from] Refused),
}

/// The run record in the initramfs `path`; empty when there is none.
///
/// # Errors
/// An initramfs that cannot be read.
pub fn record(path: &Path) -> Result<Vec<u8>, Error> {
    Ok(last_file(path, &read(path)?, RECORD.as_bytes())?.unwrap_or_default())
}

/// A copy of the initramfs `path` with another run record.
///
/// # Errors
/// An initramfs that cannot be read, a record that is too long, a copy that cannot be written.
pub fn with_record(path: &Path, record: &[u8]) -> Result<NamedTempFile, Error> {
    if record.len() > MAX_RECORD {
        return Err(Error::LongRecord(record.len()));
    }
    let mut bytes = read(path)?;
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    let mut segment = Writer::new(bytes, 0);
    segment.file(&[RECORD], Meta::root(0o644), record.len() as u64, record)?;
    let write = || -> io::Result<NamedTempFile> {
        let mut copy = tempfile::Builder::new().prefix("whit-").suffix(".cpio").tempfile()?;
        copy.write_all(&segment.finish().map_err(io::Error::other)?.out)?;
        Ok(copy)
    };
    Ok(write().map_err(Refused::Write)?)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })
}

/// The data of the file `name` as the kernel would leave it: those of the last segment that has it.
fn last_file(path: &Path, bytes: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let malformed = |error| Error::Malformed { path: path.to_owned(), error };
    let mut found = None;
    let mut rest = bytes;
    let mut budget = CONTENT_MAX_BYTES;
    while let Some(first) = rest.first() {
        let position = bytes.len() - rest.len();
        if *first == 0 {
            rest = &rest[1..];
        } else if rest.starts_with(b"0707") {
            let mut entries = newc::entries(rest);
            for entry in entries.by_ref() {
                let entry = entry.map_err(malformed)?;
                if entry.name == name && entry.is_file() {
                    found = Some(entry.data.to_owned());
                }
            }
            rest = &rest[entries.position()..];
        } else {
            let content = decompress(&mut rest, budget)
                .map_err(|error| Error::Read { path: path.to_owned(), error })?
                .ok_or_else(|| Error::Unknown { path: path.to_owned(), position })?;
            budget -= content.len() as u64;
            found = last_file(path, &content, name)?.or(found);
        }
    }
    Ok(found)
}

/// Decompresses the segments that `rest` starts with, up to one that is not compressed, and steps over them: an archive may
/// go on from one to the next, as `mkcpio --rootfs` makes it. None when the magic is not known.
fn decompress(rest: &mut &[u8], budget: u64) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    let start = rest.len();
    loop {
        let decoder: Box<dyn Read + '_> = match *rest {
            [0x1f, 0x8b, ..] => Box::new(GzDecoder::new(&mut *rest)),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(XzDecoder::new(&mut *rest)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                Box::new(zstd::stream::read::Decoder::with_buffer(&mut *rest)?.single_frame())
            }
            _ => break,
        };
        decoder.take(budget + 1 - content.len() as u64).read_to_end(&mut content)?;
        if content.len() as u64 > budget {
            return Err(io::Error::other("it decompresses to more than 1 GiB"));
        }
    }
    Ok((rest.len() < start).then_some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 0);
        for (name, data) in files {
            writer.file(&[name], Meta::root(0o644), data.len() as u64, data.as_bytes()).unwrap();
        }
        writer.finish().unwrap().out
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn record_in(bytes: &[u8]) -> Result<Option<String>, String> {
        last_file(Path::new("initrd"), bytes, RECORD.as_bytes())
            .map(|found| found.map(|data| String::from_utf8(data).unwrap()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_segment_that_has_a_file_wins() {
        const ENTRY: usize = 116 + 4;
        let one = archive(&[("init", "x"), (RECORD, "one")]);
        let two = archive(&[(RECORD, "two")]);
        let none = archive(&[("init", "y")]);
        let zstd = zstd::encode_all(two.as_slice(), 1).unwrap();
        for (segments, expected) in [
            (vec![one.clone()], Some("one")),
            (vec![none.clone()], None),
            (vec![one.clone(), two.clone(), none.clone()], Some("two")),
            (vec![gzip(&one), gzip(&two), vec![0; 5], none.clone()], Some("two")),
            (vec![gzip(&two), xz(&one), zstd.clone()], Some("two")),
            (vec![zstd, xz(&one), gzip(&none)], Some("one")),
            // One archive in two pieces: the second begins where an entry ends.
            (vec![gzip(&one[..ENTRY]), gzip(&one[ENTRY..])], Some("one")),
            (vec![], None),
        ] {
            assert_eq!(record_in(&segments.concat()), Ok(expected.map(str::to_owned)));
        }
    }

    #[test]
    fn what_is_no_initramfs_is_said() {
        let whole = gzip(&archive(&[(RECORD, "one")]));
        assert!(record_in(&whole[..whole.len() / 2]).unwrap_err().starts_with("initrd: "));
        let lz4 = [archive(&[]), vec![2, 0x21, 0x4c, 0x18]].concat();
        assert!(record_in(&lz4).unwrap_err().contains("at byte 512"));
        assert!(record_in(b"070701text").unwrap_err().contains("without a trailer"));
    }

    #[test]
    fn a_record_comes_behind_the_one_that_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("initrd");
        let odd = [gzip(&archive(&[(RECORD, "user u")])), vec![0]].concat();
        std::fs::write(&path, &odd).unwrap();
        assert_eq!(record(&path).unwrap(), b"user u");
        let copy = with_record(&path, b"user v\n").unwrap();
        let bytes = std::fs::read(copy.path()).unwrap();
        assert_eq!(record(copy.path()).unwrap(), b"user v\n");
        assert!(bytes.starts_with(&odd));
        assert!(bytes[odd.len().next_multiple_of(4)..].starts_with(b"070701"));
        std::fs::write(&path, archive(&[])).unwrap();
        assert_eq!(record(&path).unwrap(), b"");
        let error = with_record(&path, &[b'x'; MAX_RECORD + 1]).unwrap_err();
        assert!(matches!(error, Error::LongRecord(length) if length == MAX_RECORD + 1));
    }
}
