//! The directory that an initramfs is unpacked into, which is as it was unless all is done.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use tempfile::TempDir;

use super::place::Place;
use crate::archive::newc::Header;

/// The directory that is unpacked into, as it was before unless all is done.
pub(super) struct Target<'a> {
    path: &'a Path,
    /// Whether it was made here.
    is_new: bool,
    inner: TempDir,
    moved: Vec<OsString>,
    is_finished: bool,
}

impl<'a> Target<'a> {
    /// Makes the directory, or sees that it is empty.
    pub(super) fn prepare(path: &'a Path) -> Result<Self, String> {
        let is_new = match fs::create_dir(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(format!("cannot be made: {error}")),
        };
        if !is_new && fs::read_dir(path).map_err(|error| error.to_string())?.next().is_some() {
            return Err("is not empty; name a new directory, or an empty one".to_owned());
        }
        let inner = tempfile::Builder::new().prefix(".whit-").tempdir_in(path);
        let inner = inner.map_err(|error| {
            if is_new {
                let _ = fs::remove_dir(path); // what went wrong is said
            }
            format!("cannot be written: {}", error.kind())
        })?;
        Ok(Self { path, is_new, inner, moved: Vec::new(), is_finished: false })
    }

    /// Where to make the files.
    pub(super) fn inner(&self) -> &Path {
        self.inner.path()
    }

    /// Moves everything to its place, and gives the directories what would have been in the way.
    pub(super) fn finish(mut self, directories: &BTreeMap<Vec<u8>, Header>) -> io::Result<()> {
        for entry in fs::read_dir(self.inner.path())? {
            let name = entry?.file_name();
            fs::rename(self.inner.path().join(&name), self.path.join(&name))?;
            self.moved.push(name);
        }
        fs::remove_dir(self.inner.path())?;
        let place = Place::open(self.path)?;
        // What is inside comes before: a directory may close itself.
        for (path, header) in directories.iter().rev() {
            place.finish_directory(path, header)?;
        }
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // The error that leads here is said; there is no more to do about another.
        for name in &self.moved {
            let path = self.path.join(name);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        let _ = fs::remove_dir_all(self.inner.path());
        if self.is_new {
            let _ = fs::remove_dir(self.path);
        }
    }
}
