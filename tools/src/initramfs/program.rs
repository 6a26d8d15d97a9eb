//! The programs of an initramfs: the init above all.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use whit::embedded;

use super::Error;
use crate::elf;

/// What every whit reads.
const OF_EVERY_INIT: &CStr = c"/whit.conf";

/// A part of the init that something in the initramfs needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The feature of the package, as in src/parts.rs.
    name: &'static str,
    /// The file that it reads: its path as the init opens it, and so as it stands in the init.
    reads: &'static CStr,
}

impl Part {
    pub(super) const EMBEDDED: Self = Self { name: "embedded", reads: embedded::NEEDS };
    pub(super) const ENTROPY: Self = Self { name: "entropy", reads: c"/seed" };
    pub(super) const HARDWARE: Self = Self { name: "hardware", reads: c"/lib/modules/alias" };
}

/// Refuses a program that the kernel would not run without libraries.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let bytes = fs::read(path).map_err(|error| Error::File { path: path.to_owned(), what: error.to_string() })?;
    elf::check_static_program(&bytes).map_err(|error| Error::Unfit { path: path.to_owned(), error })
}

/// Refuses an init without a part that is needed. Another init than whit may do as it likes.
pub(super) fn check_parts(init: &Path, needed: &[Part]) -> Result<(), Error> {
    let failure = |what: String| Error::File { path: init.to_owned(), what };
    let bytes = fs::read(init).map_err(|error| failure(error.to_string()))?;
    let has = |path: &CStr| {
        let path = path.to_bytes_with_nul();
        bytes.windows(path.len()).any(|window| window == path)
    };
    match needed.iter().find(|part| !has(part.reads)).filter(|_| has(OF_EVERY_INIT)) {
        None => Ok(()),
        Some(Part { name, reads }) => {
            let path = reads.to_string_lossy();
            let what =
                format!("does not read {path}, as its part \"{name}\" was left out; build it with --features {name}");
            Err(failure(what))
        }
    }
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
