//! How the files become an archive, and the archive a file.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use flate2::GzBuilder;
use whit::embedded::{MAX_NEEDS, NEEDS};

use super::{Error, Memory};
use crate::newc::{Finished, Refused, Writer};
use crate::output::Output;
use crate::rootfs::name_of;
use crate::tree::{self, Tree};

/// How an initramfs is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip at a level from 1 to 9.
    Gzip(u32),
}

impl Compression {
    /// The one that a file's name asks for: gzip for `.gz`.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        if path.extension() == Some(OsStr::new("gz")) { Self::Gzip(9) } else { Self::None }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = match text.split_once(':') {
            None if text == "none" => return Ok(Self::None),
            None if text == "gzip" => Some(9),
            Some(("gzip", level)) => level.parse().ok().filter(|level| (1..=9).contains(level)),
            _ => None,
        };
        level.map(Self::Gzip).ok_or_else(|| "not none, gzip, or gzip:1 to gzip:9".to_owned())
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Names in the archive.
    pub entries: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// What a machine needs that boots it, when its root is in it.
    pub memory: Memory,
}

/// Writes `tree` to the file `path`, which appears when it is complete.
///
/// # Errors
/// Those of the inputs and of the file.
pub fn write(tree: &Tree, path: &Path, compression: Compression, mtime: u32) -> Result<Summary, Error> {
    let failure = |error: io::Error| Error::File { path: path.to_owned(), what: error.to_string() };
    let mut output = Output::create(path).map_err(|error| Error::File {
        path: path.to_owned(),
        // The error's own text names the temporary file, which says nothing to the user.
        what: match error.kind() {
            io::ErrorKind::NotFound => "cannot be written: its directory does not exist".to_owned(),
            kind => format!("cannot be written: {kind}"),
        },
    })?;
    let summary = write_into(tree, &mut output, compression, mtime).map_err(|error| match error {
        Error::Tree(tree::Error::Archive(Refused::Write(error))) => failure(error),
        error => error,
    })?;
    output.commit().map_err(failure)?;
    Ok(summary)
}

/// Writes `tree` into a file, which is empty.
///
/// When an image's files are in it, the first entry tells how much memory they need: that is known when the rest is
/// written, so it is written twice.
///
/// # Errors
/// Those of the inputs and of the file.
pub fn write_into(tree: &Tree, output: &mut Output, compression: Compression, mtime: u32) -> Result<Summary, Error> {
    let failure = |error: io::Error| Error::Tree(tree::Error::Archive(Refused::Write(error)));
    let file = output.file();
    let (writer, first) = begin(tree, compression, Memory::default(), mtime)?;
    let mut out = BufWriter::with_capacity(1 << 20, &*file);
    out.write_all(&first).map_err(failure)?;
    let Finished { mut out, bytes: archive_bytes, entries, unpacked } = match compression {
        Compression::None => archive(tree, writer.continue_in(|_| out)),
        Compression::Gzip(level) => {
            // No name and no time in the header: the same inputs give the same bytes.
            let encoder = |_| GzBuilder::new().write(out, flate2::Compression::new(level));
            archive(tree, writer.continue_in(encoder)).and_then(|Finished { out, bytes, entries, unpacked }| {
                let out = out.finish().map_err(Refused::Write)?;
                Ok(Finished { out, bytes, entries, unpacked })
            })
        }
    }?;
    out.flush().map_err(failure)?;
    drop(out);
    let file_bytes = file.metadata().map_err(failure)?.len();
    let memory = Memory::of(file_bytes, unpacked);
    file.write_all_at(&begin(tree, compression, memory, mtime)?.1, 0).map_err(failure)?;
    Ok(Summary { entries, archive_bytes, file_bytes, memory })
}

/// Begins an archive. The bytes are as many whatever the memory: in a compressed file a member of their own, stored. The
/// kernel goes from one to the next at the end of an entry (init/initramfs.c, unpack_to_rootfs()), and gunzip does.
fn begin(
    tree: &Tree,
    compression: Compression,
    memory: Memory,
    mtime: u32,
) -> Result<(Writer<Vec<u8>>, Vec<u8>), Error> {
    let failure = |error| Error::Tree(tree::Error::Archive(error));
    let mut writer = Writer::new(Vec::new(), mtime);
    if tree.rootfs().is_none() {
        return Ok((writer, Vec::new()));
    }
    writer.padded(name_of(NEEDS), memory.needs().as_bytes(), MAX_NEEDS).map_err(failure)?;
    let entry = writer.out().clone();
    let bytes = match compression {
        Compression::None => entry,
        Compression::Gzip(_) => {
            let mut encoder = GzBuilder::new().write(Vec::new(), flate2::Compression::none());
            let stored = encoder.write_all(&entry).and_then(|()| encoder.finish());
            stored.map_err(|error| failure(Refused::Write(error)))?
        }
    };
    Ok((writer, bytes))
}

fn archive<W: Write>(tree: &Tree, mut writer: Writer<W>) -> Result<Finished<W>, tree::Error> {
    tree.write(&mut writer)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_have_a_level() {
        for (text, expected) in
            [("none", Compression::None), ("gzip", Compression::Gzip(9)), ("gzip:1", Compression::Gzip(1))]
        {
            assert_eq!(text.parse(), Ok(expected));
        }
        for text in ["", "zip", "gzip:", "gzip:0", "gzip:10", "gzip:x", "none:1"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
        assert_eq!(Compression::of_name(Path::new("a.cpio.gz")), Compression::Gzip(9));
        assert_eq!(Compression::of_name(Path::new("a.cpio")), Compression::None);
    }
}
