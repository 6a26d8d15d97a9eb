//! A kernel's package as a distribution ships it: its modules and firmware, unpacked to a temporary directory without the
//! distribution's tools.
//!
//! Debian's and Ubuntu's .deb is an ar archive whose member `data.tar` is compressed in one of several ways; Arch's
//! .pkg.tar.zst and Alpine's .apk are tars; the .rpm of Fedora, RHEL, openSUSE and Amazon has a cpio archive. Symbolic links are
//! left out, and signatures are not looked at.

mod deb;
mod folder;
mod rpm;

use std::env;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Error;
use crate::archive::tar::{self, Entry, Kind, Reader};
use crate::cli::progress::{Counted, Progress};
use crate::cli::temporary::Temporary;
use crate::compress;
use folder::Folder;

/// Packages that were unpacked, for as long as this lives.
pub struct Package(Temporary);

impl Package {
    /// Unpacks modules and firmware out of package files, which belong to one kernel; a file of a later one replaces the same
    /// of an earlier one. Tells how far it is: bytes of the packages, and files that were taken.
    ///
    /// # Errors
    /// A file that cannot be read, or no package that has modules.
    pub fn open(paths: &[PathBuf], progress: &Progress) -> Result<Self, Error> {
        let unreadable = |path: &Path, what: String| Error::Unreadable { path: path.to_owned(), what };
        let directory = Temporary::directory(&env::temp_dir(), "mkcpio-");
        let directory = directory.map_err(|error| unreadable(&env::temp_dir(), error.to_string()))?;
        let mut modules = 0;
        for path in paths {
            modules += unpack(path, directory.path(), progress).map_err(|error| {
                unreadable(path, format!("cannot be read as a .deb, .rpm, .apk or .pkg.tar ({error})"))
            })?;
        }
        match paths {
            [path, ..] if modules == 0 => {
                Err(unreadable(path, "no kernel's modules in this package; name the one that has them".to_owned()))
            }
            _ => Ok(Self(directory)),
        }
    }

    /// Where they are: `lib/modules` is below.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// Unpacks what is wanted; returns how many files those were.
fn unpack(package: &Path, directory: &Path, progress: &Progress) -> io::Result<usize> {
    let mut file = File::open(package)?;
    let mut start = Vec::new();
    file.by_ref().take(deb::MAGIC.len() as u64).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let length = if start.starts_with(deb::MAGIC) { deb::find_data(&mut file)? } else { u64::MAX };
    progress.add_bytes(file.stream_position()?);
    let input = Counted { input: file.take(length), progress };
    let mut folder = Folder::new(directory, progress);
    if start.starts_with(rpm::MAGIC) {
        rpm::unpack(input, &mut folder)?;
    } else {
        unpack_tar(input, &mut folder)?;
    }
    Ok(folder.modules)
}

fn unpack_tar(input: impl Read + Send, folder: &mut Folder) -> io::Result<()> {
    let (_, content) = compress::decoder(BufReader::new(input))?;
    // An .apk is several tars, one behind the other, the first two without an end mark.
    let mut reader = Reader::new(content).accept_missing_end(true);
    let mut entry = Entry::default();
    while reader.next(&mut entry).map_err(said)? {
        match entry.kind {
            Kind::File => folder.file(&entry.path, |target| reader.read(target).map_err(said))?,
            Kind::HardLink => folder.link(&entry.path, &entry.link)?,
            _ => {}
        }
    }
    Ok(())
}

/// What is wrong with a tar; what to do about one that is none is told by who asked.
fn said(error: tar::Error) -> io::Error {
    match error {
        tar::Error::NotTar => io::Error::other("not a tar archive"),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
