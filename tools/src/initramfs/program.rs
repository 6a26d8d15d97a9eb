//! The programs of an initramfs, the init above all.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use whit::contract::{
    self, DEVICE_MAPPER, DRIVER_INDEX, FULL_DRIVER_INDEX, LOOP_CONTROL, NOT_BESIDE, NVME_FABRICS, RECORD, ROOTFS_NEEDS,
    SEED, STREAMS_PORT,
};

use super::Error;
use crate::kernel::elf::{self, Unfit};
use crate::machine::Machine;

/// A feature of the init that something in the initramfs needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    Rootfs,
    Entropy,
    Hardware,
    Modules,
    Http,
    NvmeTcp,
    Verity,
}

impl Feature {
    /// The name of the Cargo feature.
    fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Entropy => "entropy",
            Self::Hardware => "hardware",
            Self::Modules => "modules",
            Self::Http => "http",
            Self::NvmeTcp => "nvme-tcp",
            Self::Verity => "verity",
        }
    }

    /// The smallest init by name that has it.
    fn smallest_init(self) -> &'static str {
        match self {
            Self::Rootfs | Self::Hardware => "seed",
            Self::Entropy | Self::Modules => "whole",
            Self::Http | Self::NvmeTcp | Self::Verity => "fleet",
        }
    }

    /// The file that it reads.
    fn reads(self) -> &'static CStr {
        match self {
            Self::Rootfs => ROOTFS_NEEDS,
            Self::Entropy => SEED,
            Self::Hardware => DRIVER_INDEX,
            Self::Modules => FULL_DRIVER_INDEX,
            Self::Http => LOOP_CONTROL,
            Self::NvmeTcp => NVME_FABRICS,
            Self::Verity => DEVICE_MAPPER,
        }
    }
}

/// Reads a program; refuses one that does not run without libraries. Returns its machine too.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Machine), Error> {
    let bytes = crate::cli::input::read(path)
        .map_err(|error| Error::File { path: path.to_owned(), what: error.to_string() })?;
    let machine = elf::check_static_program(&bytes).map_err(|error| Error::Unfit { path: path.to_owned(), error })?;
    Ok((bytes, machine))
}

/// Refuses a file for another machine than the init's.
pub(super) fn check_machine(path: &Path, found: Machine, wanted: Machine) -> Result<(), Error> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::Unfit { path: path.to_owned(), error: Unfit::OtherMachine { found, wanted } })
}

/// Refuses an init without a feature that the initramfs needs. An init other than whit is not checked.
pub(super) fn check_features(path: &Path, init: &[u8], features: &[(Feature, bool)]) -> Result<(), Error> {
    let missing = features.iter().find(|(feature, is_needed)| *is_needed && !reads(init, feature.reads()));
    let Some((feature, _)) = missing.filter(|_| reads(init, RECORD)) else { return Ok(()) };
    let (name, file, smallest) = (feature.name(), contract::path(feature.reads()), feature.smallest_init());
    let what = format!("does not read {file}: it lacks the feature \"{name}\", which --init {smallest} has");
    Err(Error::File { path: path.to_owned(), what })
}

/// Returns whether an init contains a path that it opens, with its NUL.
pub(super) fn reads(init: &[u8], path: &CStr) -> bool {
    let path = path.to_bytes_with_nul();
    init.windows(path.len()).any(|window| window == path)
}

/// Returns whether an init is whit with the feature `streams`.
#[must_use]
pub fn has_streams(init: &[u8]) -> bool {
    [RECORD.to_bytes_with_nul(), STREAMS_PORT.as_bytes()]
        .iter()
        .all(|marker| init.windows(marker.len()).any(|window| window == *marker))
}

/// Returns whether an init has the feature `exec`.
#[must_use]
pub fn has_exec(init: &[u8]) -> bool {
    let text = NOT_BESIDE.to_bytes();
    init.windows(text.len()).any(|window| window == text)
}

/// Places of an init, relative to the directory of this program: where `cargo build-init` leaves it (`target/init/whit` beside
/// `target/release/mkcpio`), where `cargo install` leaves it, and where a package does (`/usr/lib/whit/init` for
/// `/usr/bin/mkcpio`).
const PLACES: [&str; 3] = ["../init/whit", "whit", "../lib/whit/init"];

/// Returns the places of an init for a machine. Those of another machine than the host are in folders of its target.
fn places(machine: Machine) -> Vec<String> {
    if machine == Machine::HOST {
        return PLACES.map(str::to_owned).to_vec();
    }
    let triple = machine.triple();
    vec![format!("../{triple}/init/whit"), format!("../lib/whit/{triple}/init")]
}

/// The inits with a name: the place of each has the suffix, `../init/whit-min`.
const INITS: [(&str, &str); 4] = [("min", "-min"), ("seed", "-seed"), ("whole", ""), ("fleet", "-fleet")];

/// The help of `--init`.
pub const INIT_HELP: &str = "The init: whole, seed or min, smaller ones that lack features, fleet, which has all, or the path of a static program \
    [default: whole; each is, seen from this tool, the first of ../init/whit (as cargo build-init leaves it), whit (as cargo install \
    does) and ../lib/whit/init (as packages do), followed by -seed, -min or -fleet; for another machine than the host, as the kernel or the modules are, ../TRIPLE/init/whit]";

/// Returns whether this is the name of an init, as `seed`.
#[must_use]
pub fn is_init_name(name: &str) -> bool {
    INITS.iter().any(|(known, _)| *known == name)
}

/// Returns the path of the init for a machine that is wanted: by its name, by its path, or `whole`.
///
/// # Errors
/// One line that names each place, and how to build one.
pub fn find_init(wanted: Option<&Path>, machine: Machine) -> Result<PathBuf, String> {
    let wanted = wanted.unwrap_or(Path::new("whole"));
    let Some((name, suffix)) = INITS.iter().find(|(name, _)| wanted == Path::new(name)) else {
        return Ok(wanted.to_owned());
    };
    let program = std::env::current_exe().map_err(|error| format!("cannot find its own directory: {error}"))?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let places: Vec<String> = places(machine).iter().map(|place| format!("{place}{suffix}")).collect();
    let found = places.iter().map(|place| directory.join(place)).find(|place| place.is_file());
    let target = if machine == Machine::HOST { String::new() } else { format!(" --target {}", machine.triple()) };
    found.and_then(|place| place.canonicalize().ok()).ok_or_else(|| {
        format!(
            "no init \"{name}\" for {machine}: none of {} is in {}; name a file with --init, or build it in whit's source tree by \
             cargo build-init {name}{target}",
            places.join(", "),
            directory.display()
        )
    })
}
