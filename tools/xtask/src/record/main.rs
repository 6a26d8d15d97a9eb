//! Records the demo: `docs/demo.cast` has its lines with their times, `docs/demo.svg` is the picture of them.
#![forbid(unsafe_code)]

mod cast;
mod svg;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use whit_tools::cli::{documents, output};
use xtask::workspace;

use cast::{Cast, Line};

/// Runs `cargo demo`, and writes its recording to docs/demo.cast and docs/demo.svg
#[derive(Parser)]
#[command(name = "record", after_help = "Examples:\n  cargo record\n  cargo record -- --draw")]
struct Arguments {
    /// Draw docs/demo.svg of the recording that is there
    #[arg(long)]
    draw: bool,
}

/// What the recording shows as typed.
const COMMAND: &str = "cargo demo";

fn main() -> ExitCode {
    output::report("record", run(&documents::parse()))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let [cast_path, svg_path] = ["docs/demo.cast", "docs/demo.svg"].map(|name| workspace::root().join(name));
    let cast = if arguments.draw {
        let text = std::fs::read_to_string(&cast_path).map_err(|error| format!("{}: {error}", cast_path.display()))?;
        Cast::parse(&text).map_err(|what| format!("{}: {what}", cast_path.display()))?
    } else {
        let cast = record()?;
        write(&cast_path, &cast.encode())?;
        cast
    };
    write(&svg_path, &svg::draw(&cast))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    output::write(path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs the demo and records each line of its standard output, which is shown too.
fn record() -> Result<Cast, String> {
    // The time of the compiler is not part of the recording.
    let mut build = workspace::cargo();
    let built = build.args(["build", "--quiet", "--release", "--package", "xtask", "--bin", "demo"]).status();
    if !built.map_err(|error| format!("cargo: {error}"))?.success() {
        return Err("the demo does not build: see cargo's message above".into());
    }
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "xtask", "--bin", "demo"]);
    let start = Instant::now();
    let mut demo = cargo.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo: {error}"))?;
    let mut lines = vec![Line { seconds: 0.0, text: format!("$ {COMMAND}") }];
    for text in BufReader::new(demo.stdout.take().expect("a pipe")).lines() {
        let text = text.map_err(|error| format!("the demo's output: {error}"))?;
        output::print(|out| writeln!(out, "{text}"))?;
        lines.push(Line { seconds: start.elapsed().as_secs_f64(), text });
    }
    let status = demo.wait().map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(Cast { lines }) } else { Err(format!("the demo failed, {status}: nothing is recorded")) }
}
