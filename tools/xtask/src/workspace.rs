//! The workspace of this package: its folders, its cargo, and the programs that are built from it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::init::Toolchain;

/// Returns the folder with the workspace's Cargo.toml.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")); // tools/xtask
    package.ancestors().nth(2).unwrap_or(package)
}

/// Returns the folder that cargo builds into; all fetched and generated files are below it too.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Returns a command for the cargo that runs this program, or the one in PATH.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    command
}

/// Builds the workload of measured boots for the machine of a toolchain, and returns its path.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn build_probe(toolchain: &Toolchain) -> Result<PathBuf, String> {
    let (mut cargo, options) = toolchain.cargo();
    let status = cargo
        .args(["build", "--quiet", "--profile", "init", "--package", "whit-guest", "--bin", "probe"])
        .args(options)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("the probe does not build: see cargo's message above".into());
    }
    Ok(toolchain.folder(&target()).join("probe"))
}
