//! Programs that Debian does not have: built from crates.io, below the target directory.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::workspace;

/// A program and the crate that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crate {
    /// What is run.
    pub program: &'static str,
    /// Its name on crates.io.
    pub name: &'static str,
    /// The version that is built.
    pub version: &'static str,
    /// The profile of cargo: `release` for what is measured, `dev` for what tests only need to run.
    pub profile: &'static str,
}

/// What lists, unpacks and makes an initramfs as mkcpio does: its oracle and its peer.
pub const THREECPIO: Crate = Crate { program: "3cpio", name: "threecpio", version: "0.14.0", profile: "release" };

/// Where the program of a crate is, built when it is not there yet.
///
/// # Errors
/// One line; what the compiler said is on standard error.
pub fn build(wanted: &Crate, say: fn(&str)) -> Result<PathBuf, String> {
    // One of this process at a time; cargo has others wait.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let Crate { program, name, version, profile } = wanted;
    let folder = workspace::target().join(format!("{name}-{version}"));
    let path = folder.join("bin").join(program);
    if path.is_file() {
        return Ok(path);
    }
    say(&format!("building {name} {version}"));
    let parts = folder.join("build");
    let mut cargo = workspace::cargo();
    cargo.args(["install", "--quiet", "--locked", name, "--version", version, "--bin", program]);
    cargo.args(["--profile", profile]).env("CARGO_PROFILE_DEV_DEBUG", "false");
    cargo.arg("--root").arg(&folder).arg("--target-dir").arg(&parts);
    let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    // The program alone is kept.
    let _ = std::fs::remove_dir_all(parts);
    if status.success() { Ok(path) } else { Err(format!("{name} {version} does not build: see cargo's message above")) }
}
