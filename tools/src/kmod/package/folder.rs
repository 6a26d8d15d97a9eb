//! Where modules and firmware of a package go: a directory, and nothing of them outside of it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Where in a package such files are.
const WANTED: [&str; 4] = ["lib/modules", "usr/lib/modules", "lib/firmware", "usr/lib/firmware"];
const COPY_BYTES: usize = 1 << 16;

/// A directory that is being filled.
pub(super) struct Folder<'d> {
    directory: &'d Path,
    /// Files below some `modules`.
    pub(super) modules: usize,
}

impl<'d> Folder<'d> {
    pub(super) fn new(directory: &'d Path) -> Self {
        Self { directory, modules: 0 }
    }

    /// Takes over a file when it is wanted; `read` gives its content, and 0 bytes at the end.
    pub(super) fn file(&mut self, name: &[u8], read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        let Some(below) = wanted(name) else { return Ok(()) };
        let path = self.make_room(&below)?;
        write(&path, read)
    }

    /// The path of a file that is not there, in a directory that is.
    fn make_room(&mut self, below: &Path) -> io::Result<PathBuf> {
        let path = self.directory.join(below);
        fs::create_dir_all(path.parent().unwrap_or(self.directory))?;
        // A package may name a file twice; written over, all its names would change.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.modules += usize::from(below.components().any(|part| part.as_os_str() == "modules"));
        Ok(path)
    }
}

fn write(path: &Path, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
    let (mut file, mut room) = (File::create(path)?, vec![0; COPY_BYTES]);
    while let count @ 1.. = read(&mut room)? {
        file.write_all(&room[..count])?;
    }
    Ok(())
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
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_directory() {
        for (name, expected) in [
            ("./lib/modules/6.1/a.ko", Some("lib/modules/6.1/a.ko")),
            ("/lib/modules/a.ko", Some("lib/modules/a.ko")),
            ("lib/modules/../../etc/passwd", None),
            ("../lib/modules/a.ko", None),
            ("etc/passwd", None),
            ("lib/modulesque/a.ko", None),
        ] {
            assert_eq!(wanted(name.as_bytes()), expected.map(PathBuf::from), "{name}");
        }
    }
}
