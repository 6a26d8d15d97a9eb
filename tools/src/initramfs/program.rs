//! The programs of an initramfs: the init above all.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;
use crate::elf;

/// Refuses a program that the kernel would not run without libraries.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let bytes = fs::read(path).map_err(|error| Error::File { path: path.to_owned(), what: error.to_string() })?;
    elf::check_static_program(&bytes).map_err(|error| Error::Unfit { path: path.to_owned(), error })
}

/// `whit` beside this program, as installed; else where cargo leaves it: target/PROFILE/mkcpio, target/release/whit.
///
/// # Errors
/// One line that says where it was looked for.
pub fn default_init() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find its own directory: {error}"))?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let places = [directory.join("whit"), directory.join("../release/whit")];
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        format!(
            "{}: no init there; name one with --init, or build it: cargo build --release -p whit",
            places[0].display()
        )
    })
}
