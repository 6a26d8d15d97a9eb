//! A folder with one file of the host, for a share: a hard link, which has the file's content as a bind mount has it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
        link(&std::env::temp_dir()).or_else(|_: io::Error| cached()).map(Self).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => format!(
                "-v {}: a single file needs TMPDIR or WHIT_CACHE on its own file system, unless root shares it by virtiofs; \
                 or share its folder",
                file.display()
            ),
            _ => describe(error),
        })
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
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
}
