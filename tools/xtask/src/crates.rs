//! Programs that are not in Debian: built from crates.io, below the target directory.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::workspace;

/// A program and the crate that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crate {
    /// The file name of the program.
    pub program: &'static str,
    /// Its name on crates.io.
    pub name: &'static str,
    /// The version that is built.
    pub version: &'static str,
    /// The profile of cargo: `release` for measured programs, `dev` for programs that tests only run.
    pub profile: &'static str,
}

/// A program that lists, unpacks and makes an initramfs as mkcpio does, for comparison in tests and benchmarks.
pub const THREECPIO: Crate = Crate { program: "3cpio", name: "threecpio", version: "0.14.0", profile: "release" };

/// Returns the path of a crate's program; builds it if it does not exist yet.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn build(wanted: &Crate, report: fn(&str)) -> Result<PathBuf, String> {
    // One build of this process at a time; cargo locks out other processes.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let Crate { program, name, version, profile } = wanted;
    let folder = workspace::target().join(format!("{name}-{version}"));
    let path = folder.join("bin").join(program);
    if path.is_file() {
        return Ok(path);
    }
    report(&format!("building {name} {version}"));
    let parts = folder.join("build");
    let mut cargo = workspace::cargo();
    cargo.args(["install", "--quiet", "--locked", name, "--version", version, "--bin", program]);
    cargo.args(["--profile", profile]).env("CARGO_PROFILE_DEV_DEBUG", "false");
    cargo.arg("--root").arg(&folder).arg("--target-dir").arg(&parts);
    let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    // Only the program is kept.
    let _ = std::fs::remove_dir_all(parts);
    if status.success() { Ok(path) } else { Err(format!("{name} {version} does not build: see cargo's message above")) }
}
