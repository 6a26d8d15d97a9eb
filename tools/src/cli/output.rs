//! How every tool ends: a finished file under its name, or one line and no file; and what it prints.

use std::fmt::Display;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tempfile::NamedTempFile;

/// A file that appears under its name only when it is finished.
///
/// Until [`Output::commit`] the bytes live in an unnamed neighbour; dropping the value removes them.
pub struct Output {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl Output {
    /// Opens a temporary file beside `path`, so that the final rename stays within one file system.
    ///
    /// # Errors
    /// Those of creating a file in the directory of `path`.
    pub fn create(path: &Path) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::Builder::new()
            .prefix(".whit-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(directory)?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Puts the file under its name.
    ///
    /// # Errors
    /// Those of unlink(2) and rename(2).
    pub fn commit(self) -> io::Result<()> {
        // Renaming over an existing file makes ext4 flush the new one first (auto_da_alloc); after an unlink it does not.
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.temporary.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Turns a tool's result into its exit status, saying an error as `tool: what, where, why` on standard error.
pub fn report<E: Display>(tool: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{tool}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. Whoever reads it may have seen enough.
///
/// # Errors
/// One line: it cannot be written, as to a disk that is full.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot be shown: {error}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_output_replaces_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, "old and longer").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.file().write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old and longer");
        output.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn dropped_output_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut output = Output::create(&directory.path().join("image")).unwrap();
        output.file().write_all(b"half").unwrap();
        drop(output);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
