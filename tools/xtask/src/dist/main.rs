//! Makes the packages of a release: a Debian package and an archive that runs without an installation.
//!
//! Both have the tools, `put`, the inits, man pages and completions. The same source, compiler and folder give the same bytes.
#![forbid(unsafe_code)]

mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use whit_tools::cli::{documents, output};
use whit_tools::initramfs;
use whit_tools::programs::{self, Program};
use xtask::workspace;

/// Makes the Debian package and the archive of a release
#[derive(Parser)]
#[command(
    name = "dist",
    after_help = "Examples:\n  cargo dist deb\n  cargo dist archive --key minisign.key\n\
    SOURCE_DATE_EPOCH is the time of all files in the packages [default: 0]"
)]
struct Arguments {
    /// The packages [default: all]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<Package>,
    /// Write them to DIR [default: target/dist]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Sign each package by minisign with this secret key; the signature is PACKAGE.minisig
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Leave out the list of crates in the tools, which cargo-auditable embeds
    #[arg(long)]
    no_sbom: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Package {
    /// A Debian package, by cargo-deb
    Deb,
    /// A tar.gz with a script that boots an image from its folder
    Archive,
}

/// The program that signs.
const MINISIGN: Program = Program { name: "minisign", package: "minisign" };

fn main() -> ExitCode {
    output::report("dist", run(&documents::parse()))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let all = [Package::Deb, Package::Archive];
    let packages = if arguments.packages.is_empty() { &all[..] } else { &arguments.packages };
    // All programs are there before minutes of compiling.
    if packages.contains(&Package::Deb) {
        require_crate("deb", "")?;
    }
    if !arguments.no_sbom {
        require_crate("auditable", "; --no-sbom does without")?;
    }
    if let Some(key) = &arguments.key {
        fs::metadata(key).map_err(|error| format!("{}: {error}", key.display()))?;
        if programs::find(MINISIGN.name).is_none() {
            return Err(format!("minisign is not installed; on Debian, run: apt-get install {}", MINISIGN.package));
        }
    }
    let time = initramfs::mtime(std::env::var_os("SOURCE_DATE_EPOCH").as_deref())?;

    let files = files::build(!arguments.no_sbom)?;
    let folder = arguments.output.clone().unwrap_or_else(|| workspace::target().join("dist"));
    let folder = std::path::absolute(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for package in packages {
        let path = match package {
            Package::Deb => make_deb(&folder, time)?,
            Package::Archive => files.archive(&folder, time)?,
        };
        if let Some(key) = &arguments.key {
            execute(Command::new(MINISIGN.name).arg("-S").arg("-s").arg(key).arg("-m").arg(&path))?;
        }
        let bytes = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
        output::print(|out| writeln!(out, "{}: {bytes} bytes", path.display()))?;
    }
    Ok(())
}

/// Refuses a run without a subcommand of cargo's that is a crate; `remedy` is a second one, after `; `.
fn require_crate(subcommand: &str, remedy: &str) -> Result<(), String> {
    let output = workspace::cargo().arg("--list").output().map_err(|error| format!("cargo: {error}"))?;
    let is_there = |line: &str| line.split_whitespace().next() == Some(subcommand);
    if String::from_utf8_lossy(&output.stdout).lines().any(is_there) {
        return Ok(());
    }
    Err(format!("cargo-{subcommand} is not installed; run: cargo install --locked cargo-{subcommand}{remedy}"))
}

/// Makes the Debian package of the files that are built; tools/Cargo.toml lists them.
fn make_deb(folder: &Path, time: u32) -> Result<PathBuf, String> {
    let path = folder.join(format!("whit-tools_{}_amd64.deb", env!("CARGO_PKG_VERSION")));
    let mut cargo = workspace::cargo();
    cargo.args(["deb", "--quiet", "--package", "whit-tools", "--no-build", "--no-strip", "--output"]).arg(&path);
    // The folder of the compiled tools; cargo-deb asks cargo for the target directory.
    execute(cargo.env("SOURCE_DATE_EPOCH", time.to_string()))?;
    Ok(path)
}

/// Runs a program whose messages are on standard error.
pub(crate) fn execute(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed, {status}: see its message above")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_comes_with_its_command() {
        let error = require_crate("nowhere", "; --no-sbom does without").unwrap_err();
        let command = "run: cargo install --locked cargo-nowhere; --no-sbom does without";
        assert_eq!(error, format!("cargo-nowhere is not installed; {command}"));
        assert_eq!(require_crate("build", ""), Ok(()));
    }
}
