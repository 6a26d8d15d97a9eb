//! A folder with one file of the host, for a share: a hard link, which has the file's content as a bind mount has it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use whit::contract::SHARED_FILE;

use crate::cli::temporary::{self, Temporary};
use crate::vm::Cache;

/// A folder with a link to a file. Dropping it removes both.
pub struct Link(Temporary);

impl Link {
    /// Makes the folder on the file's file system: among the temporary files, or in the cache.
    ///
    /// # Errors
    /// A message of one line, if neither is there.
    pub fn make(file: &Path) -> Result<Self, String> {
        let describe = |error: io::Error| format!("-v {}: {error}", file.display());
        let source = file.canonicalize().map_err(describe)?;
        let link = |parent: &Path| {
            let folder = Temporary::directory(parent, temporary::RUN)?;
            fs::hard_link(&source, folder.path().join(name()))?;
            Ok(folder)
        };
        let cached = || link(&Cache::open().map_err(io::Error::other)?.folder(""));
        let linked = link(&std::env::temp_dir()).or_else(|first| cached().map_err(|second| (first, second)));
        linked.map(Self).map_err(|(first, second)| explain(file, &first, &second))
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// Explains why there is no link among the temporary files, and none in the cache.
fn explain(file: &Path, temporary: &io::Error, cached: &io::Error) -> String {
    let is_refused = |error: &&io::Error| error.raw_os_error() == Some(Errno::PERM.raw_os_error());
    let file = file.display();
    if [temporary, cached].iter().any(is_refused) {
        // fs/namei.c, may_linkat(); also a file system without hard links.
        format!(
            "-v {file}: the kernel allows no link to this file: to share it alone, own it, or be allowed to read and write it \
             (fs.protected_hardlinks); or share its folder"
        )
    } else if cached.kind() == io::ErrorKind::CrossesDevices {
        format!(
            "-v {file}: a single file needs TMPDIR or WHIT_CACHE on its own file system, unless root shares it by virtiofs; \
             or share its folder"
        )
    } else {
        format!("-v {file}: {cached}")
    }
}

/// Returns the name of the file in its folder.
pub(super) fn name() -> &'static str {
    whit::contract::path(SHARED_FILE).rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_link_is_the_file_itself() {
        let folder = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        let (file, symlink) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, "one ").unwrap();
        std::os::unix::fs::symlink("a", &symlink).unwrap();
        let link = Link::make(&symlink).unwrap();
        let shared = link.folder().join(name());
        fs::OpenOptions::new().append(true).open(&shared).unwrap().write_all(b"two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one two");
        drop(link);
        assert_eq!((shared.exists(), file.exists()), (false, true));
        assert!(Link::make(Path::new("/proc/version")).err().unwrap().contains("or share its folder"));
    }

    #[test]
    fn a_refused_link_is_explained_wherever_it_was_tried() {
        let line = |first: Errno, second: Errno| explain(Path::new("a"), &first.into(), &second.into());
        for (first, second) in [(Errno::PERM, Errno::XDEV), (Errno::XDEV, Errno::PERM), (Errno::ACCESS, Errno::PERM)] {
            assert!(line(first, second).contains("(fs.protected_hardlinks)"), "{first} {second}");
        }
        assert!(line(Errno::ACCESS, Errno::XDEV).contains("needs TMPDIR or WHIT_CACHE"));
        assert_eq!(line(Errno::XDEV, Errno::NOSPC), "-v a: No space left on device (os error 28)");
    }
}
