//! The directory that an initramfs is unpacked into. It changes only if everything succeeds.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use super::place::Place;
use crate::archive::newc::Header;
use crate::cli::temporary::{self, Temporary};

/// The target directory. Without [`Target::finish`] it stays unchanged.
pub(super) struct Target<'a> {
    path: &'a Path,
    inner: Temporary,
    /// The directory itself, if it was created here.
    created: Option<Temporary>,
}

impl<'a> Target<'a> {
    /// Creates the directory, or checks that it is empty.
    pub(super) fn prepare(path: &'a Path) -> Result<Self, String> {
        let created = match Temporary::named(path) {
            Ok(created) => Some(created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            Err(error) => return Err(format!("cannot be created: {error}")),
        };
        if created.is_none() && fs::read_dir(path).map_err(|error| error.to_string())?.next().is_some() {
            return Err("is not empty; name a new directory, or an empty one".to_owned());
        }
        let inner = Temporary::directory(path, ".whit-");
        let inner = inner.map_err(|error| format!("cannot be written: {}", error.kind()))?;
        Ok(Self { path, inner, created })
    }

    /// Returns the directory in which to create the files.
    pub(super) fn inner(&self) -> &Path {
        self.inner.path()
    }

    /// Moves everything to its place, and sets the directories' owners and permissions, which would have prevented that before.
    pub(super) fn finish(self, directories: &BTreeMap<Vec<u8>, Header>) -> io::Result<()> {
        let Self { path, inner, created } = self;
        let mut moved = Vec::new();
        let finished = inner.settle(|inner| {
            for entry in fs::read_dir(inner)? {
                let name = entry?.file_name();
                fs::rename(inner.join(&name), path.join(&name))?;
                moved.push(path.join(name));
            }
            fs::remove_dir(inner)?;
            let place = Place::open(path)?;
            // Subdirectories come first: a directory's own mode may deny access to them.
            directories.iter().rev().try_for_each(|(path, header)| place.finish_directory(path, header))
        });
        match finished {
            Ok(()) => drop(created.map(Temporary::keep)),
            // The first error is reported; an error of the clean-up is ignored.
            Err(_) => moved.iter().for_each(|path| drop(temporary::remove(path))),
        }
        finished
    }
}
