//! A kernel's package as a distribution ships it: its modules and firmware, unpacked to a temporary directory without the
//! distribution's tools.
//!
//! Debian's and Ubuntu's .deb is an ar archive (deb(5)) whose member `data.tar` is compressed in one of several ways; Arch's
//! .pkg.tar.zst and Alpine's .apk are tars.

mod deb;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use super::Error;
use crate::image::compression;
use crate::tar::{self, Entry, Kind, Reader};

/// Where in a package such files are.
const WANTED: [&str; 4] = ["lib/modules", "usr/lib/modules", "lib/firmware", "usr/lib/firmware"];

/// A package that was unpacked, for as long as this lives.
pub struct Package(TempDir);

impl Package {
    /// Unpacks modules and firmware out of a package file.
    ///
    /// # Errors
    /// A file that cannot be read, or is no package that has modules.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |what: String| Error::Unreadable { path: path.to_owned(), what };
        let directory = TempDir::with_prefix("mkcpio-").map_err(|error| unreadable(error.to_string()))?;
        match unpack(path, directory.path()) {
            Ok(1..) => Ok(Self(directory)),
            Ok(0) => Err(unreadable("no kernel's modules in this package; name the one that has them".to_owned())),
            Err(error) => Err(unreadable(format!("cannot be read as a .deb, .apk or .pkg.tar ({error})"))),
        }
    }

    /// Where they are: `lib/modules` is below.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// Unpacks what is wanted; returns how many files those were.
fn unpack(package: &Path, directory: &Path) -> io::Result<usize> {
    let mut file = File::open(package)?;
    let mut start = [0; deb::MAGIC.len()];
    let is_deb = file.read_exact(&mut start).is_ok() && start == deb::MAGIC;
    if is_deb {
        let length = deb::find_data(&mut file)?;
        unpack_tar(file.take(length), directory)
    } else {
        file.seek(SeekFrom::Start(0))?;
        unpack_tar(file, directory)
    }
}

fn unpack_tar(input: impl Read + Send, directory: &Path) -> io::Result<usize> {
    let (_, content) = compression::decoder(BufReader::new(input))?;
    // An .apk is several tars, one behind the other, the first two without an end mark.
    let mut reader = Reader::new(content).accept_missing_end(true);
    let (mut entry, mut found) = (Entry::default(), 0);
    while reader.next(&mut entry).map_err(said)? {
        let Some(below) = wanted(&entry.path).filter(|_| entry.kind == Kind::File) else { continue };
        let path = directory.join(&below);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        let (mut file, mut room) = (File::create(&path)?, vec![0; 1 << 16]);
        while let count @ 1.. = reader.read(&mut room).map_err(said)? {
            file.write_all(&room[..count])?;
        }
        found += usize::from(below.components().any(|part| part.as_os_str() == "modules"));
    }
    Ok(found)
}

/// What is wrong with a tar; what to do about one that is none is told by who asked.
fn said(error: tar::Error) -> io::Error {
    match error {
        tar::Error::NotTar => io::Error::other("not a tar archive"),
        error => io::Error::other(error),
    }
}

/// The name of a file below the directory, when it is wanted: without what leads out of it.
fn wanted(name: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(name));
    let plain: PathBuf =
        path.components().filter(|part| !matches!(part, Component::CurDir | Component::RootDir)).collect();
    let is_safe = plain.components().all(|part| matches!(part, Component::Normal(_)));
    (is_safe && WANTED.iter().any(|place| plain.starts_with(place))).then_some(plain)
}

#[cfg(test)]
mod tests;
