//! Builds the init twice: as it ships, and once more with its symbols.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of one source.
pub(crate) struct Files {
    /// The release build, stripped.
    pub(crate) shipped: PathBuf,
    /// The same program with its symbol table and its relocations.
    pub(crate) named: PathBuf,
    /// What the linker says it placed where in `named`.
    pub(crate) map: PathBuf,
}

/// Builds the init with some of its features, in a target directory of its own; returns the file.
pub(crate) fn init_with(workspace: &Path, features: &[&str]) -> Result<PathBuf, String> {
    let target = target(workspace)?.join("features");
    build(workspace, &target, &["build", "--no-default-features", "--features", &features.join(",")], &[])?;
    Ok(target.join("init/whit"))
}

/// Builds the init of `workspace`; each build keeps its own target directory, so that neither undoes the other.
pub(crate) fn init(workspace: &Path) -> Result<Files, String> {
    let target = target(workspace)?;
    let with_symbols = target.join("size-report");
    let map = with_symbols.join("whit.map");
    build(workspace, &target, &["build"], &[])?;
    // Stripping is the linker's last act: the code is the same without it, and `Image::agrees_with` checks that. Said to
    // rustc behind the profile's own word: a profile of its own would change the crates' hashes, and with them the order
    // in which the linker meets functions and strings.
    let mut map_argument = OsString::from("link-arg=-Wl,-Map=");
    map_argument.push(&map);
    let rustc = ["--", "-C", "strip=none", "-C", "link-arg=-Wl,--emit-relocs", "-C"].map(OsString::from);
    build(workspace, &with_symbols, &["rustc", "--bin", "whit"], &[&rustc[..], &[map_argument]].concat())?;
    Ok(Files { shipped: target.join("init/whit"), named: with_symbols.join("init/whit"), map })
}

/// `rustc 1.95.0 (59807616e 2026-04-14)`: another compiler makes other sizes of the same source.
pub(crate) fn compiler(workspace: &Path) -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(&rustc)
        .arg("--version")
        .current_dir(workspace)
        .output()
        .map_err(|error| format!("{}: {error}", rustc.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The version that rust-toolchain.toml pins, which the limits are for.
pub(crate) fn pinned(workspace: &Path) -> Result<String, String> {
    let path = workspace.join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    channel.map(str::to_owned).ok_or_else(|| format!("{}: no line `channel = \"VERSION\"`", path.display()))
}

fn target(workspace: &Path) -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    std::path::absolute(&target).map_err(|error| format!("{}: {error}", target.display()))
}

/// The cargo that runs this program, or the one in PATH.
pub(crate) fn cargo(workspace: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace);
    command
}

fn build(workspace: &Path, target: &Path, command: &[&str], rustc: &[OsString]) -> Result<(), String> {
    let status = cargo(workspace)
        .args(command)
        .args(["--quiet", "--profile", "init", "--package", "whit", "--target-dir"])
        .arg(target)
        .args(rustc)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the init does not build: see cargo's message above".into()) }
}
