//! Builds inits as they ship.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use whit_tools::cli::{documents, output};
use xtask::init::{self, Init, Toolchain};
use xtask::workspace;

/// Builds the init with the compiler flags that make it small, and without section headers
#[derive(Parser)]
#[command(
    name = "build-init",
    after_help = "Example: cargo build-init min seed\n\
    Example: cargo build-init --target aarch64-unknown-linux-gnu\n\
    Example: cargo build-init --features dhcp,hardware -o /tmp/init"
)]
struct Arguments {
    /// The inits: `whole` is target/init/whit, another one target/init/whit-NAME [default: whole]
    #[arg(value_name = "INIT")]
    inits: Vec<Init>,
    /// Build an init with these features of Cargo.toml instead, separated by commas
    #[arg(long, value_name = "LIST", conflicts_with = "inits", requires = "output")]
    features: Option<String>,
    /// Write the init to FILE
    #[arg(short, long, value_name = "FILE", requires = "features")]
    output: Option<PathBuf>,
    /// Build for another machine, into target/TRIPLE/init: aarch64-unknown-linux-gnu
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
}

fn main() -> ExitCode {
    match run(&documents::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("build-init: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let toolchain = arguments.target.as_deref().map_or_else(|| Ok(Toolchain::host()), Toolchain::of)?;
    if let (Some(features), Some(output)) = (&arguments.features, &arguments.output) {
        init::build_features_with(&toolchain, features, &workspace::target().join("inits/features"), output)?;
        return print(output);
    }
    let inits = if arguments.inits.is_empty() { &[Init::Whole] } else { arguments.inits.as_slice() };
    inits.iter().try_for_each(|init| print(&init.build_with(&toolchain)?))
}

fn print(path: &Path) -> Result<(), String> {
    let bytes = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    output::print(|out| writeln!(out, "{}: {bytes} bytes", path.display()))
}
