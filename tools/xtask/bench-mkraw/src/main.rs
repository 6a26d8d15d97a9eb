//! `bench-mkraw`: compares mkraw and mkcpio with their peers, and mkraw with `cp` of the same archive, which is the physical limit.
//!
//! Outputs are removed and all file systems are synced before each run; tools take turns, so that a busy host affects all alike.
#![forbid(unsafe_code)]

mod drivers;
mod initramfs;
mod inputs;
mod measure;
mod report;
mod tools;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use whit_tools::cli::output;
use xtask::workspace;

use inputs::Input;
use measure::Run;
use tools::Tool;

/// Build images of the same archives by mkraw and other programs, and report medians.
#[derive(Parser)]
#[command(after_help = "Example:\n  cargo bench-mkraw -- --runs 5 --only 'small files' --output bench/mkraw.txt")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Runs of each tool for each image
    #[arg(long, global = true, default_value = "7", value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Only inputs, or compressions, whose name contains TEXT
    #[arg(long, global = true, value_name = "TEXT")]
    only: Option<String>,
    /// Only cp, mkraw and tools whose name contains TEXT
    #[arg(long, value_name = "TEXT")]
    peers: Option<String>,
    /// Write the table to FILE too
    #[arg(long, global = true, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Pack Debian's own initramfs by mkcpio and other programs, and report medians
    Initramfs,
    /// Run a command and print its cost (used by the benchmark itself)
    #[command(hide = true)]
    Measure { words: Vec<String> },
    /// Make an image by a library (used by the benchmark itself)
    #[command(hide = true)]
    Drive { library: String, input: PathBuf, image: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Some(Command::Measure { words }) => measure::measure(words),
        Some(Command::Drive { library, input, image }) => drivers::drive(library, input, image),
        Some(Command::Initramfs) => initramfs::compare(arguments.runs, arguments.only.as_deref())
            .and_then(|text| show(&text, arguments.output.as_deref())),
        None => compare(&arguments),
    };
    output::report("bench-mkraw", result)
}

fn compare(arguments: &Arguments) -> Result<(), String> {
    let folder = workspace::target().join("bench-mkraw");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mkraw = tools::build_mkraw()?;
    let mut text = report::header(arguments.runs);
    let wanted = |name: &str, part: &Option<String>| part.as_ref().is_none_or(|part| name.contains(part.as_str()));
    for input in inputs::ALL.iter().filter(|input| wanted(input.name, &arguments.only)) {
        let path = input.make(&folder)?;
        let tools: Vec<Tool> = tools::all(input, &path, &folder, &mkraw)?
            .into_iter()
            .filter(|tool| tool.is_ours || wanted(tool.name, &arguments.peers))
            .collect();
        eprintln!("{}: {} tools, {} runs each", input.name, tools.len(), arguments.runs);
        let runs = take_turns(&tools, arguments.runs)?;
        let _ = write!(text, "{}", report::table(input, &path, &tools, &runs)); // writing to a string cannot fail
    }
    show(&text, arguments.output.as_deref())
}

fn show(text: &str, output: Option<&Path>) -> Result<(), String> {
    print!("{text}");
    match output {
        Some(path) => output::write(path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display())),
        None => Ok(()),
    }
}

/// Runs the tools in rounds, each once in a round; a tool that fails is not run again.
fn take_turns(tools: &[Tool], runs: u16) -> Result<Vec<Result<Vec<Run>, String>>, String> {
    let mut results: Vec<Result<Vec<Run>, String>> = tools.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..runs {
        for (tool, result) in tools.iter().zip(&mut results) {
            let Ok(done) = result else { continue };
            if done.len() >= tool.most_runs {
                continue;
            }
            prepare(&tool.removed)?;
            match measure::run(&tool.words) {
                Ok(run) => done.push(run),
                Err(error) => *result = Err(error),
            }
        }
    }
    for tool in tools {
        prepare(&tool.removed)?;
    }
    Ok(results)
}

fn prepare(removed: &[PathBuf]) -> Result<(), String> {
    for path in removed {
        let result = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", path.display()));
            }
            _ => {}
        }
    }
    rustix::fs::sync();
    Ok(())
}

/// Returns the path as text, for a command line.
fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{}: is not UTF-8", path.display()))
}

impl Input {
    /// Returns the archive; makes it if it does not exist yet.
    fn make(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = folder.join(self.file);
        if path.exists() {
            return Ok(path);
        }
        let unfinished = path.with_extension("new");
        (self.write)(&unfinished, folder).map_err(|error| format!("{}: {error}", self.name))?;
        std::fs::rename(&unfinished, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}
