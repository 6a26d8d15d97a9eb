//! How the files become an archive, and the archive a file.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

use flate2::GzBuilder;

use super::Error;
use crate::newc::{Finished, Refused, Writer};
use crate::output::Output;
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

/// Writes `tree` into a file.
///
/// # Errors
/// Those of the inputs and of the file.
pub fn write_into(tree: &Tree, output: &mut Output, compression: Compression, mtime: u32) -> Result<Summary, Error> {
    let failure = |error: io::Error| Error::Tree(tree::Error::Archive(Refused::Write(error)));
    let out = BufWriter::with_capacity(1 << 20, output.file());
    let Finished { mut out, bytes: archive_bytes, entries, .. } = match compression {
        Compression::None => archive(tree, out, mtime),
        Compression::Gzip(level) => {
            // No name and no time in the header: the same inputs give the same bytes.
            let encoder = GzBuilder::new().write(out, flate2::Compression::new(level));
            archive(tree, encoder, mtime).and_then(|Finished { out, bytes, entries, unpacked }| {
                let out = out.finish().map_err(Refused::Write)?;
                Ok(Finished { out, bytes, entries, unpacked })
            })
        }
    }?;
    out.flush().map_err(failure)?;
    drop(out);
    let file_bytes = output.file().metadata().map_err(failure)?.len();
    Ok(Summary { entries, archive_bytes, file_bytes })
}

fn archive<W: Write>(tree: &Tree, out: W, mtime: u32) -> Result<Finished<W>, tree::Error> {
    let mut writer = Writer::new(out, mtime);
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
