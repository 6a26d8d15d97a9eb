//! The segments of an initramfs: concatenated archives, each compressed or not. If several contain a file, the last one wins
//! (init/initramfs.c, unpack_to_rootfs()).
//!
//! runvm changes the run record of an initramfs this way: it reads the record, and appends a small segment with the new one to
//! a copy.

mod entry;
mod extract;
mod input;
mod place;
mod read;
mod target;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use whit::contract;
use whit::record::MAX_RECORD;

use crate::archive::newc::{Meta, Refused, Writer};
use crate::cli::input::open as open_file;
use crate::cli::temporary::{self, Temporary};

pub use entry::{Error as ReadError, Member, Segment};
pub use extract::{Error as ExtractError, Extracted, extract};
pub use read::Reader;

/// The name of the run record in the archive.
const RECORD: &str = contract::relative(contract::RECORD);
/// The alignment of an appended segment: the kernel needs a multiple of 4. After an LZ4 frame, which has no end mark, it also
/// needs four zeros (lib/decompress_unlz4.c).
const ALIGNMENT: u64 = 4;
const GAP: u64 = 4;

/// The most bytes that are read of an init: several times those of whit.
const MAX_INIT: usize = 1 << 20;

/// Why a segment cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The initramfs cannot be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: ReadError,
    },
    /// The record would be longer than the init reads.
    #[error("arguments and environment make a run record of {0} bytes; the init reads at most {MAX_RECORD}")]
    LongRecord(usize),
    /// The copy cannot be written.
    #[error("temporary initramfs: {0}")]
    Write(#[from] Refused),
}

/// Returns the number of zeros between `length` bytes and the next segment. `is_after_lz4` if the bytes end in an LZ4 frame, or
/// may do so.
pub(crate) const fn gap(length: u64, is_after_lz4: bool) -> u64 {
    let padding = crate::archive::newc::padding(length, ALIGNMENT);
    if is_after_lz4 { padding + GAP } else { padding }
}

/// Reads the run record of the initramfs `path`; empty if it has none.
///
/// # Errors
/// An initramfs that cannot be read.
pub fn record(path: &Path) -> Result<Vec<u8>, Error> {
    let failure = |error| Error::Read { path: path.to_owned(), error };
    let file = open_file(path).map_err(|error| failure(ReadError::Read(error)))?;
    Ok(last_file(file, RECORD.as_bytes(), MAX_RECORD + 1).map_err(failure)?.unwrap_or_default())
}

/// Reads the init of the initramfs `path`, at most `MAX_INIT` bytes; empty if it has none.
///
/// # Errors
/// An initramfs that cannot be read.
pub fn init(path: &Path) -> Result<Vec<u8>, Error> {
    let failure = |error| Error::Read { path: path.to_owned(), error };
    let file = open_file(path).map_err(|error| failure(ReadError::Read(error)))?;
    Ok(last_file(file, b"init", MAX_INIT).map_err(failure)?.unwrap_or_default())
}

/// Copies the initramfs `path` and appends another run record.
///
/// # Errors
/// An initramfs that cannot be read; a record that is too long; a copy that cannot be written.
pub fn with_record(path: &Path, record: &[u8]) -> Result<Temporary, Error> {
    if record.len() > MAX_RECORD {
        return Err(Error::LongRecord(record.len()));
    }
    let mut file =
        open_file(path).map_err(|error| Error::Read { path: path.to_owned(), error: ReadError::Read(error) })?;
    let mut segment = Writer::new(Vec::new(), 0);
    segment.file(&[RECORD], Meta::root(0o644), record.len() as u64, record)?;
    let write = || -> io::Result<Temporary> {
        let (mut copy, temporary) = Temporary::file(&std::env::temp_dir(), temporary::RUN, 0o600)?;
        let length = io::copy(&mut file, &mut copy)?;
        io::copy(&mut io::repeat(0).take(gap(length, true)), &mut copy)?;
        copy.write_all(&segment.finish().map_err(io::Error::other)?.out)?;
        Ok(temporary)
    };
    Ok(write().map_err(Refused::Write)?)
}

/// Returns the data of the last entry `name`, which is the one that the kernel keeps. Reads at most `limit` bytes of it.
fn last_file(input: impl Read, name: &[u8], limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
    let mut found = None;
    let mut reader = Reader::new(input);
    while let Some(member) = reader.next_entry()? {
        if member.name == name && member.is_file() {
            let mut data = vec![0; limit.min(member.header.filesize as usize)];
            let mut filled = 0;
            while filled < data.len() {
                filled += reader.read_data(&mut data[filled..])?;
            }
            found = Some(data);
        }
    }
    Ok(found)
}

/// Reads all entries of a small initramfs, each with its data or its target.
///
/// # Errors
/// See [`Reader::next_entry`].
pub fn entries(initramfs: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, ReadError> {
    let (mut reader, mut entries) = (Reader::new(initramfs), Vec::new());
    while let Some(member) = reader.next_entry()? {
        let mut data = member.target.clone().unwrap_or_default();
        let mut buffer = [0; 4096];
        while let count @ 1.. = reader.read_data(&mut buffer)? {
            data.extend_from_slice(&buffer[..count]);
        }
        entries.push((member, data));
    }
    Ok(entries)
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
        last_file(bytes, RECORD.as_bytes(), MAX_RECORD + 1)
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
    fn an_invalid_initramfs_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("initrd");
        assert!(
            record(&path)
                .unwrap_err()
                .to_string()
                .ends_with("initrd: cannot be read: No such file or directory (os error 2)")
        );
        std::fs::write(&path, b"070701text").unwrap();
        assert!(
            record(&path)
                .unwrap_err()
                .to_string()
                .ends_with("initrd: the cpio archive ends at byte 10 without a trailer")
        );
    }

    #[test]
    fn a_record_after_lz4_is_found_by_the_kernel() {
        let lz4 = crate::compress::lz4::stored(&archive(&[("init", "x")]));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("initrd");
        std::fs::write(&path, &lz4).unwrap();
        let copy = with_record(&path, b"user v\n").unwrap();
        assert_eq!(record(copy.path()).unwrap(), b"user v\n");
        // The four zeros stand in place of a block's length and end the frame.
        let bytes = std::fs::read(copy.path()).unwrap();
        assert_eq!(bytes[lz4.len()..lz4.len() + 4], [0; 4]);
    }

    #[test]
    fn a_new_record_is_appended_after_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("initrd");
        let odd = [gzip(&archive(&[(RECORD, "user u")])), vec![0]].concat();
        std::fs::write(&path, &odd).unwrap();
        assert_eq!(record(&path).unwrap(), b"user u");
        let copy = with_record(&path, b"user v\n").unwrap();
        let bytes = std::fs::read(copy.path()).unwrap();
        assert_eq!(record(copy.path()).unwrap(), b"user v\n");
        assert!(bytes.starts_with(&odd));
        assert!(bytes[odd.len().next_multiple_of(4) + 4..].starts_with(b"070701"));
        std::fs::write(&path, archive(&[])).unwrap();
        assert_eq!(record(&path).unwrap(), b"");
        let error = with_record(&path, &[b'x'; MAX_RECORD + 1]).unwrap_err();
        assert!(matches!(error, Error::LongRecord(length) if length == MAX_RECORD + 1));
    }
}
