//! Builds the init twice: as it ships, and once more with its symbols.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The two files of one source.
pub(crate) struct Files {
    /// The release build, stripped.
    pub(crate) shipped: PathBuf,
    /// The same program with its symbol table.
    pub(crate) named: PathBuf,
}

/// Builds the init of `workspace`; each build keeps its own target directory, so that neither undoes the other.
pub(crate) fn init(workspace: &Path) -> Result<Files, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let with_symbols = target.join("size-report");
    build(workspace, &target, &["build"], &[])?;
    // Stripping is the linker's last act: the code is the same without it, and `Image::agrees_with` checks that. Said to
    // rustc behind the profile's own word: a profile of its own would change the crates' hashes, and with them the order
    // in which the linker meets functions and strings.
    build(workspace, &with_symbols, &["rustc", "--bin", "whit"], &["--", "-C", "strip=none"])?;
    Ok(Files { shipped: target.join("release/whit"), named: with_symbols.join("release/whit") })
}

fn build(workspace: &Path, target: &Path, command: &[&str], rustc: &[&str]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(&cargo)
        .args(command)
        .args(["--quiet", "--release", "--package", "whit", "--target-dir"])
        .arg(target)
        .args(rustc)
        .current_dir(workspace)
        .status()
        .map_err(|error| format!("{}: {error}", cargo.display()))?;
    if status.success() { Ok(()) } else { Err("the init does not build: see cargo's message above".into()) }
}
