//! Unpacks the modules and firmware of a distribution's kernel package to a temporary directory, without the distribution's
//! tools.
//!
//! The .deb of Debian and Ubuntu is an ar archive with a member `data.tar`, which may be compressed; Arch's .pkg.tar.zst and
//! Alpine's .apk are tars; the .rpm of Fedora, RHEL, openSUSE and Amazon has a cpio archive. Symbolic links are left out, and
//! signatures are not verified.

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

/// Unpacked packages. Dropping it removes the files.
pub struct Package(Temporary);

impl Package {
    /// Unpacks modules and firmware from the packages of one kernel; a file of a later package replaces that of an earlier one.
    /// Reports progress: bytes of the packages, and unpacked files.
    ///
    /// # Errors
    /// A file that cannot be read; packages without modules.
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
                Err(unreadable(path, "contains no kernel modules; give the package that does".to_owned()))
            }
            _ => Ok(Self(directory)),
        }
    }

    /// Returns the directory, which contains `lib/modules`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// Unpacks modules and firmware of a package. Returns the number of files below `modules`.
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
    // An .apk is a sequence of tars, the first two without an end mark.
    let mut reader = Reader::new(content).accept_missing_end(true);
    let mut entry = Entry::default();
    while reader.next(&mut entry).map_err(io_error)? {
        match entry.kind {
            Kind::File => folder.file(&entry.path, |target| reader.read(target).map_err(io_error))?,
            Kind::HardLink => folder.link(&entry.path, &entry.link)?,
            _ => {}
        }
    }
    Ok(())
}

/// Converts an error of a tar. The caller adds the advice for a file that is not a tar.
fn io_error(error: tar::Error) -> io::Error {
    match error {
        tar::Error::NotTar => io::Error::other("not a tar archive"),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
