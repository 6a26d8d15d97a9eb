//! Builds the init as it ships: with compiler flags for its size, and without the section headers of its file.
//!
//! `cargo build --profile init -p whit` builds the same program without the flags and with the headers, about 6 % larger.

mod cross;
mod cut;
mod flags;

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::Builder;

pub use cross::Toolchain;
pub use flags::{Flag, accepted, of as flags_of};

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
        self.build_with(&Toolchain::host())
    }

    /// Builds the init for the machine of a toolchain; for another machine than the host, its path is `target/TRIPLE/init/whit`.
    ///
    /// # Errors
    /// One line; the compiler's messages are on standard error.
    pub fn build_with(self, toolchain: &Toolchain) -> Result<PathBuf, String> {
        let path = toolchain.folder(&workspace::target()).join(self.file_name());
        let target = workspace::target().join("inits").join(self.name());
        build_features_with(toolchain, self.name(), &target, &path)?;
        Ok(path)
    }
}

/// Builds an init with these features, separated by commas, in the target directory `target`, and writes it to `path`. The file is
/// replaced atomically.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn build_features(features: &str, target: &Path, path: &Path) -> Result<(), String> {
    build_features_with(&Toolchain::host(), features, target, path)
}

/// Builds an init like [`build_features`], with this toolchain.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn build_features_with(toolchain: &Toolchain, features: &str, target: &Path, path: &Path) -> Result<(), String> {
    let flags = flags::accepted_by(toolchain)?;
    let codegen = flags.iter().map(|flag| OsStr::new(flag.argument));
    cut(&compile_by(toolchain, &workspace::root().join("Cargo.toml"), features, target, codegen)?, path)
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
    compile_by(&Toolchain::host(), manifest, features, target, codegen)
}

fn compile_by<'a>(
    toolchain: &Toolchain,
    manifest: &Path,
    features: &str,
    target: &Path,
    codegen: impl Iterator<Item = &'a OsStr>,
) -> Result<PathBuf, String> {
    let (mut cargo, options) = toolchain.cargo();
    cargo.args(["rustc", "--quiet", "--profile", "init", "--package", "whit", "--bin", "whit", "--manifest-path"]);
    cargo.arg(manifest);
    cargo.args(options).args(["--no-default-features", "--features", features, "--target-dir"]).arg(target).arg("--");
    for argument in codegen {
        cargo.arg("-C").arg(argument);
    }
    let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() {
        Ok(toolchain.folder(target).join("whit"))
    } else {
        Err("the init does not build: see cargo's message above".into())
    }
}
