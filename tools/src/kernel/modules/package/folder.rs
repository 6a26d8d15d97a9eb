//! Writes modules and firmware of a package to a directory; no file is written outside of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::cli::progress::Progress;

/// The directories of modules and firmware in a package.
const WANTED: [&str; 4] = ["lib/modules", "usr/lib/modules", "lib/firmware", "usr/lib/firmware"];
/// The most files with several names whose content has not been read yet. rpm writes the names of one file in sequence, so there
/// is one such file at a time, and each empty file.
const MAX_LINKED: usize = 4096;
const COPY_BYTES: usize = 1 << 16;

/// The identity of a file with several names: device and inode number.
pub(super) type Identity = (u64, u64);

/// A target directory.
pub(super) struct Folder<'d> {
    directory: &'d Path,
    /// The number of files below a directory `modules`.
    pub(super) modules: usize,
    /// The first name of each file that may have further names.
    linked: HashMap<Identity, PathBuf>,
    /// The progress counters.
    progress: &'d Progress,
}

impl<'d> Folder<'d> {
    pub(super) fn new(directory: &'d Path, progress: &'d Progress) -> Self {
        Self { directory, modules: 0, linked: HashMap::new(), progress }
    }

    /// Writes a file if it is a module or firmware; `read` returns its content, and 0 bytes at the end.
    pub(super) fn file(&mut self, name: &[u8], read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        let Some(below) = wanted(name) else { return Ok(()) };
        let path = self.make_room(&below)?;
        write(&path, read)
    }

    /// Writes one name of a file that has several. The content follows the last name, even if that one is not wanted.
    pub(super) fn linked_file(
        &mut self,
        name: &[u8],
        identity: Identity,
        is_last: bool,
        read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        if let Some(below) = wanted(name) {
            let path = self.make_room(&below)?;
            match self.linked.get(&identity) {
                Some(first) => fs::hard_link(first, path)?,
                None if self.linked.len() == MAX_LINKED => {
                    return Err(io::Error::other(format!("more than {MAX_LINKED} files with several names at once")));
                }
                None => {
                    File::create(&path)?;
                    self.linked.insert(identity, path);
                }
            }
        }
        if is_last && let Some(first) = self.linked.remove(&identity) {
            write(&first, read)?;
        }
        Ok(())
    }

    /// Adds a hard link to an earlier file, as in a tar.
    pub(super) fn link(&mut self, name: &[u8], first: &[u8]) -> io::Result<()> {
        let Some(below) = wanted(name) else { return Ok(()) };
        let first_below = wanted(first).filter(|first| self.directory.join(first).is_file());
        let Some(first_below) = first_below else {
            let (name, first) = (String::from_utf8_lossy(name), String::from_utf8_lossy(first));
            return Err(io::Error::other(format!("{name} is a link to {first}, which is missing or not a module")));
        };
        if first_below == below {
            return Ok(());
        }
        let path = self.make_room(&below)?;
        fs::hard_link(self.directory.join(first_below), path)
    }

    /// Returns the path for a new file: removes an old one, and creates its directory.
    fn make_room(&mut self, below: &Path) -> io::Result<PathBuf> {
        let path = self.directory.join(below);
        fs::create_dir_all(path.parent().unwrap_or(self.directory))?;
        // A package may contain a file twice. Overwriting it would change its hard links.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.progress.add_file();
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

/// Returns the path of a module or firmware file below the directory; `None` for other files, and paths that lead outside.
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
    fn no_path_leads_out_of_the_directory() {
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

    /// Returns a function that reads `text` once.
    fn content(mut text: &[u8]) -> impl FnMut(&mut [u8]) -> io::Result<usize> {
        move |target| io::Read::read(&mut text, target)
    }

    #[test]
    fn all_names_of_a_file_have_the_content_after_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let progress = Progress::default();
        let mut folder = Folder::new(directory.path(), &progress);
        let names = ["lib/firmware/a", "lib/firmware/b", "usr/share/c"];
        for (name, is_last) in names.iter().zip([false, false, true]) {
            let text = if is_last { "text" } else { "" };
            folder.linked_file(name.as_bytes(), (1, 2), is_last, content(text.as_bytes())).unwrap();
        }
        // Another file with the identity of the first, which is complete.
        folder.linked_file(b"lib/firmware/d", (1, 2), true, content(b"other")).unwrap();
        // A file that replaces one of the names.
        folder.file(b"lib/firmware/b", content(b"new")).unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let found = ["lib/firmware/a", "lib/firmware/b", "lib/firmware/d"].map(read);
        assert_eq!(found, ["text", "new", "other"]);
        assert!(!directory.path().join("usr").exists());
        assert_eq!(folder.modules, 0);
    }

    #[test]
    fn links_refer_to_earlier_files() {
        let directory = tempfile::tempdir().unwrap();
        let progress = Progress::default();
        let mut folder = Folder::new(directory.path(), &progress);
        let module = b"./lib/modules/6.1/a.ko";
        folder.file(module, content(b"text")).unwrap();
        folder.link(b"lib/modules/6.1/b.ko", module).unwrap();
        folder.link(b"/lib/modules/6.1/a.ko", module).unwrap();
        folder.link(b"usr/share/c", b"usr/share/d").unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join("lib/modules/6.1").join(name)).unwrap();
        assert_eq!(["a.ko", "b.ko"].map(read), ["text", "text"]);
        assert_eq!(folder.modules, 2);
        for first in ["lib/modules/6.1/c.ko", "../lib/modules/6.1/a.ko", "etc/passwd", "lib/modules/6.1"] {
            let error = folder.link(b"lib/modules/6.1/d.ko", first.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("lib/modules/6.1/d.ko is a link to {first}, which is missing or not a module"));
        }
    }

    #[test]
    fn files_with_several_names_are_limited() {
        let directory = tempfile::tempdir().unwrap();
        let progress = Progress::default();
        let mut folder = Folder::new(directory.path(), &progress);
        let mut take = |number: usize| {
            folder.linked_file(format!("lib/modules/{number}").as_bytes(), (0, number as u64), false, content(b""))
        };
        for number in 0..MAX_LINKED {
            take(number).unwrap();
        }
        assert!(take(MAX_LINKED).unwrap_err().to_string().contains("more than 4096"));
    }
}
