//! The directory that an initramfs is unpacked into, which is as it was unless all is done.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use super::place::Place;
use crate::archive::newc::Header;
use crate::cli::temporary::{self, Temporary};

/// The directory that is unpacked into, as it was before unless all is done.
pub(super) struct Target<'a> {
    path: &'a Path,
    inner: Temporary,
    /// The directory itself, if it was made here.
    made: Option<Temporary>,
}

impl<'a> Target<'a> {
    /// Makes the directory, or sees that it is empty.
    pub(super) fn prepare(path: &'a Path) -> Result<Self, String> {
        let made = match Temporary::named(path) {
            Ok(made) => Some(made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            Err(error) => return Err(format!("cannot be made: {error}")),
        };
        if made.is_none() && fs::read_dir(path).map_err(|error| error.to_string())?.next().is_some() {
            return Err("is not empty; name a new directory, or an empty one".to_owned());
        }
        let inner = Temporary::directory(path, ".whit-");
        let inner = inner.map_err(|error| format!("cannot be written: {}", error.kind()))?;
        Ok(Self { path, inner, made })
    }

    /// Where to make the files.
    pub(super) fn inner(&self) -> &Path {
        self.inner.path()
    }

    /// Moves everything to its place, and gives the directories what would have been in the way.
    pub(super) fn finish(self, directories: &BTreeMap<Vec<u8>, Header>) -> io::Result<()> {
        let Self { path, inner, made } = self;
        let mut moved = Vec::new();
        let finished = inner.settle(|inner| {
            for entry in fs::read_dir(inner)? {
                let name = entry?.file_name();
                fs::rename(inner.join(&name), path.join(&name))?;
                moved.push(path.join(name));
            }
            fs::remove_dir(inner)?;
            let place = Place::open(path)?;
            // What is inside comes before: a directory may close itself.
            directories.iter().rev().try_for_each(|(path, header)| place.finish_directory(path, header))
        });
        match finished {
            Ok(()) => drop(made.map(Temporary::keep)),
            // The error is reported; there is no more to do about another.
            Err(_) => moved.iter().for_each(|path| drop(temporary::remove(path))),
        }
        finished
    }
}
