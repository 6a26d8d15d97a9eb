//! Builds the init as it ships: with compiler flags for its size, and without the section headers of its file.
//!
//! `cargo build --profile init -p whit` builds the same program without the flags and with the headers, about 6 % larger.

mod cut;
mod flags;

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::Builder;

pub use flags::{FLAGS, Flag, accepted};

use crate::workspace;

/// A named init: a feature of Cargo.toml that is a list of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Init {
    /// A root on a disk, its entrypoint, a shell, an orderly end
    Min,
    /// DHCP, drivers by hardware, a root in the initramfs, the power button
    Seed,
    /// Everything that a container as a machine needs
    Whole,
    /// Everything
    Fleet,
}

impl Init {
    /// All named inits, smallest first.
    pub const ALL: [Self; 4] = [Self::Min, Self::Seed, Self::Whole, Self::Fleet];

    /// Returns the name of the Cargo feature, and of the directory that the init is built in.
    pub fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Seed => "seed",
            Self::Whole => "whole",
            Self::Fleet => "fleet",
        }
    }

    /// Returns the file name in `target/init`. The tools use `whit` by default.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Min => "whit-min",
            Self::Seed => "whit-seed",
            Self::Whole => "whit",
            Self::Fleet => "whit-fleet",
        }
    }

    /// Builds the init and returns its path, `target/init/whit` or `target/init/whit-NAME`.
    ///
    /// # Errors
    /// One line; the compiler's messages are on standard error.
    pub fn build(self) -> Result<PathBuf, String> {
        let path = workspace::target().join("init").join(self.file_name());
        build_features(self.name(), &workspace::target().join("inits").join(self.name()), &path)?;
        Ok(path)
    }
}

/// Builds an init with these features, separated by commas, in the target directory `target`, and writes it to `path`. The file is
/// replaced atomically.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn build_features(features: &str, target: &Path, path: &Path) -> Result<(), String> {
    cut(&compile(features, target, &[])?, path)
}

/// Writes the program `built` to `path` without its section headers, unless the file has this content already.
///
/// # Errors
/// One line.
pub fn cut(built: &Path, path: &Path) -> Result<(), String> {
    let at = |error: io::Error| format!("{}: {error}", path.display());
    let bytes = fs::read(built).map_err(|error| format!("{}: {error}", built.display()))?;
    let cut = cut::without_section_headers(&bytes).map_err(|what| format!("{}: {what}", built.display()))?;
    if fs::read(path).is_ok_and(|old| old == cut) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(at)?;
    let mut file =
        Builder::new().prefix(".whit").permissions(Permissions::from_mode(0o755)).tempfile_in(folder).map_err(at)?;
    file.write_all(&cut).map_err(at)?;
    file.persist(path).map_err(|error| at(error.error))?;
    Ok(())
}

/// Compiles an init with the flags and returns cargo's file, which has its section headers. `extra` are further arguments of rustc.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn compile(features: &str, target: &Path, extra: &[OsString]) -> Result<PathBuf, String> {
    let flags = flags::accepted()?;
    compile_with(
        &workspace::root().join("Cargo.toml"),
        features,
        target,
        flags.iter().map(|flag| flag.argument).map(OsStr::new).chain(extra.iter().map(OsString::as_os_str)),
    )
}

/// Compiles the init of a manifest with exactly these arguments of rustc's `-C`.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn compile_with<'a>(
    manifest: &Path,
    features: &str,
    target: &Path,
    codegen: impl Iterator<Item = &'a OsStr>,
) -> Result<PathBuf, String> {
    let mut cargo = workspace::cargo();
    cargo.args(["rustc", "--quiet", "--profile", "init", "--package", "whit", "--bin", "whit", "--manifest-path"]);
    cargo.arg(manifest);
    cargo.args(["--no-default-features", "--features", features, "--target-dir"]).arg(target).arg("--");
    for argument in codegen {
        cargo.arg("-C").arg(argument);
    }
    let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() {
        Ok(target.join("init/whit"))
    } else {
        Err("the init does not build: see cargo's message above".into())
    }
}
