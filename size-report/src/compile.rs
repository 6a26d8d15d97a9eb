//! Builds the init twice: as it ships, and once more with its symbols.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::init::{self, Init};
use xtask::workspace;

/// The files that are built of one source.
pub(crate) struct Files {
    /// The release build, stripped.
    pub(crate) shipped: PathBuf,
    /// The same program with its symbol table and its relocations.
    pub(crate) named: PathBuf,
    /// The linker's map of `named`.
    pub(crate) map: PathBuf,
    /// The smaller inits.
    pub(crate) min: PathBuf,
    pub(crate) seed: PathBuf,
    pub(crate) fleet: PathBuf,
}

/// Builds the init with some of its features, in a target directory of its own; returns the file.
pub(crate) fn init_with(features: &[&str]) -> Result<PathBuf, String> {
    let target = directory().join("features");
    let file = target.join("init-of-features");
    init::build_features(&features.join(","), &target, &file)?;
    Ok(file)
}

/// Builds the init. Each build has its own target directory, so that neither invalidates the other.
pub(crate) fn init() -> Result<Files, String> {
    let target = directory();
    let map = target.join("whit.map");
    // Stripping is the linker's last step: the code is the same without it, and `Image::agrees_with` checks that. The option
    // follows the profile's and overrides it: another profile would change the crates' hashes, and with them the order in
    // which the linker reads functions and strings.
    let mut map_argument = OsString::from("link-arg=-Wl,-Map=");
    map_argument.push(&map);
    let extra = [OsString::from("strip=none"), OsString::from("link-arg=-Wl,--emit-relocs"), map_argument];
    let named = init::compile(Init::Whole.name(), &target, &extra)?;
    let [min, seed, fleet] = [Init::Min.build()?, Init::Seed.build()?, Init::Fleet.build()?];
    Ok(Files { shipped: Init::Whole.build()?, named, map, min, seed, fleet })
}

/// Returns the directory of this program's own builds.
pub(crate) fn directory() -> PathBuf {
    let target = workspace::target().join("size-report");
    std::path::absolute(&target).unwrap_or(target)
}

/// Returns `rustc 1.95.0 (59807616e 2026-04-14)`: another compiler makes other sizes of the same source.
pub(crate) fn compiler(workspace: &Path) -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(&rustc)
        .arg("--version")
        .current_dir(workspace)
        .output()
        .map_err(|error| format!("{}: {error}", rustc.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the version that rust-toolchain.toml pins, which the limits are for.
pub(crate) fn pinned(workspace: &Path) -> Result<String, String> {
    let path = workspace.join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    channel.map(str::to_owned).ok_or_else(|| format!("{}: no line `channel = \"VERSION\"`", path.display()))
}
