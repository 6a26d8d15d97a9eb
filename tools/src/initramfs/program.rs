//! The programs of an initramfs: the init above all.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use whit::contract::{self, DRIVER_INDEX, RECORD, ROOTFS_NEEDS, SEED};

use super::Error;
use crate::kernel::elf;

/// A feature of the init that something in the initramfs needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    Rootfs,
    Entropy,
    Hardware,
}

impl Feature {
    /// The name of the Cargo feature.
    fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Entropy => "entropy",
            Self::Hardware => "hardware",
        }
    }

    /// The file that it reads.
    fn reads(self) -> &'static CStr {
        match self {
            Self::Rootfs => ROOTFS_NEEDS,
            Self::Entropy => SEED,
            Self::Hardware => DRIVER_INDEX,
        }
    }
}

/// Reads a program; refuses one that does not run without libraries.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(|error| Error::File { path: path.to_owned(), what: error.to_string() })?;
    elf::check_static_program(&bytes).map_err(|error| Error::Unfit { path: path.to_owned(), error })?;
    Ok(bytes)
}

/// Refuses an init without a feature that the initramfs needs. An init other than whit is not checked.
pub(super) fn check_features(path: &Path, init: &[u8], features: &[(Feature, bool)]) -> Result<(), Error> {
    // A path stands in the init as it opens it.
    let reads = |path: &CStr| {
        let path = path.to_bytes_with_nul();
        init.windows(path.len()).any(|window| window == path)
    };
    let missing = features.iter().find(|(feature, is_needed)| *is_needed && !reads(feature.reads()));
    let Some((feature, _)) = missing.filter(|_| reads(RECORD)) else { return Ok(()) };
    let (name, file) = (feature.name(), contract::path(feature.reads()));
    let what = format!("does not read {file}, as its feature \"{name}\" was left out; build it with --features {name}");
    Err(Error::File { path: path.to_owned(), what })
}

/// Where an init is looked for, as a name in the directory of this program: where cargo leaves it (`target/init/whit` beside
/// `target/release/mkcpio`), where `cargo install` leaves it, and where a package does (`/usr/lib/whit/init` for
/// `/usr/bin/mkcpio`).
const PLACES: [&str; 3] = ["../init/whit", "whit", "../lib/whit/init"];

/// What `--help` says of the init that is used.
pub const INIT_HELP: &str = "The init, a static program [default: seen from this tool, the first of ../init/whit (as cargo builds \
    it), whit (as cargo install leaves it) and ../lib/whit/init (as packages do)]";

/// The init that is used when none is named: the first that exists beside this program.
///
/// # Errors
/// One line that names each place, and the ways to get an init.
pub fn default_init() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find its own directory: {error}"))?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let found = PLACES.iter().map(|place| directory.join(place)).find(|place| place.is_file());
    found.and_then(|place| place.canonicalize().ok()).ok_or_else(|| {
        format!(
            "no init: none of {} is in {}; name one with --init, or build it in whit's source tree by \
             cargo build --profile init -p whit, or cargo install --profile init --path .",
            PLACES.join(", "),
            directory.display()
        )
    })
}
