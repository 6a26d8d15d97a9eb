//! Files that an option names as input: a folder in a file's place is refused with what to name instead.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens a file.
///
/// # Errors
/// Those of open(2); a directory.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory; name a file"));
    }
    Ok(file)
}

/// Reads a whole file.
///
/// # Errors
/// Those of [`open`] and of reading.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
