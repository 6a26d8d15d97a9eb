//! Builds the init and reports where each of its bytes is.
//!
//! Run it by `cargo run -p size-report`. It exits with 1 when a size is over its limit in `budget.txt`, or when `core::fmt` or the
//! panic machinery of core is part of the init.
#![forbid(unsafe_code)]

mod arguments;
mod baseline;
mod budget;
mod compile;
mod constants;
mod features;
mod flags;
mod image;
mod label;
mod linkmap;
mod machinery;
mod origin;
mod pieces;
mod report;
mod search;
mod sections;
mod squarify;
mod strings;
mod svg;
mod target;
mod totals;
mod treemap;
mod v0;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use baseline::Baseline;
use budget::{Budget, OTHER_COMPILER_PERCENT};
use image::Image;
use linkmap::LinkMap;
use machinery::Traces;
use pieces::Piece;
use totals::Totals;
use whit_tools::cli::output;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(broken) => {
            for line in &broken {
                eprintln!("size-report: {line}");
            }
            if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("size-report: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the report and writes the requested files; returns one line for each limit and rule that the init breaks.
fn run(arguments: &Arguments) -> Result<Vec<String>, String> {
    if let Some(filter) = &arguments.search_inlining {
        return search::run(filter.as_deref().unwrap_or_default(), &show).map(|()| Vec::new());
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Some(triple) = &arguments.target {
        return target::run(package, triple, &show);
    }
    let workspace = package.parent().unwrap_or(package);
    let budget_path = arguments.budget.clone().unwrap_or_else(|| package.join("budget.txt"));
    let mut budget = Budget::parse(&read_text(&budget_path)?, budget::NAMES)
        .map_err(|error| format!("{}:{error}", budget_path.display()))?;
    let committed = package.join("baseline.txt");
    let before = read_before(arguments, &committed)?;

    let init = Init::build(workspace)?;
    let pinned = compile::pinned(workspace)?;
    if !init.compiler.starts_with(&format!("rustc {pinned} ")) {
        show(&format!(
            "made with {}; the limits are for {pinned}, and {OTHER_COMPILER_PERCENT} % more is allowed\n",
            init.compiler
        ))?;
        budget = budget.for_other_compiler();
    }
    show(&init.report(&budget, arguments.top))?;
    let now = Baseline::new(&init.compiler, &init.totals, &init.pieces);
    let since = before.as_ref().map_or("there is none; --save writes one".to_owned(), |before| now.summary(before));
    show(&format!("since the baseline: {since}\n"))?;
    if arguments.strings {
        show(&strings::list(&init.pieces))?;
    }
    if let (Some(before), Some(_)) = (&before, &arguments.compare) {
        show(&now.difference(before))?;
    }

    if let Some(path) = &arguments.save {
        write_text(path.as_deref().unwrap_or(&committed), &now.to_string())?;
    }
    if let Some(path) = &arguments.svg {
        write_text(path, &init.picture())?;
    }
    let features = if arguments.features { Some(features::table()?) } else { None };
    if let Some(table) = &features {
        show(&format!("\n{table}"))?;
    }
    let flags = if arguments.flags { Some(flags::table()?) } else { None };
    if let Some(table) = &flags {
        show(&format!("\n{table}"))?;
    }
    if arguments.publish {
        let head = |option| format!("# cargo run -p size-report -- {option}\n# {}\n\n", init.compiler);
        write_text(&workspace.join("bench/size.txt"), &(head("--publish") + &init.report(&budget, PUBLISHED)))?;
        if let Some(table) = &features {
            write_text(&workspace.join("bench/features.txt"), &(head("--features --publish") + table))?;
        }
        if let Some(table) = &flags {
            write_text(&workspace.join("bench/flags.txt"), &(head("--flags --publish") + table))?;
        }
        write_text(&workspace.join("bench/size.svg"), &init.picture())?;
    }
    let mut broken = budget.broken_by(&init.totals);
    broken.extend(init.traces.lines());
    Ok(broken)
}

/// Writes to standard output. A closed pipe is no error: the work goes on.
fn show(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}

/// How many of the largest symbols the committed report shows.
const PUBLISHED: usize = 40;

/// An init, measured.
struct Init {
    compiler: String,
    totals: Totals,
    pieces: Vec<Piece>,
    named: Image,
    traces: Traces,
}

impl Init {
    fn build(workspace: &Path) -> Result<Self, String> {
        let files = compile::init()?;
        let shipped = Image::read(&files.shipped)?;
        let named = Image::read(&files.named)?;
        named.agrees_with(&shipped)?;
        let map = LinkMap::read(&files.map, &named)?;
        let pieces = pieces::pieces(&shipped, &named, &map);
        let constants = named.loaded_sections().filter(|(_, section)| !section.is_code);
        let traces = machinery::find(&pieces, constants.map(|(_, section)| section.data.as_slice()));
        let compiler = compile::compiler(workspace)?;
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let totals = totals::totals(&shipped, &named, [&read(&files.min)?, &read(&files.seed)?, &read(&files.fleet)?]);
        Ok(Self { compiler, totals, pieces, named, traces })
    }

    fn report(&self, budget: &Budget, top: usize) -> String {
        report::text(&self.totals, budget, &self.pieces, &self.named, &self.traces, top)
    }

    fn picture(&self) -> String {
        svg::svg(&self.compiler, &self.totals, &treemap::tree(&self.pieces))
    }
}

/// Returns the baseline to compare with; only the committed one may be missing.
fn read_before(arguments: &Arguments, committed: &Path) -> Result<Option<Baseline>, String> {
    match &arguments.compare {
        Some(path) => read_baseline(path.as_deref().unwrap_or(committed)).map(Some),
        None if !committed.exists() => Ok(None),
        // A file that --save replaces need not be valid: a merge may have broken it.
        None if arguments.save.is_some() => Ok(read_baseline(committed).ok()),
        None => read_baseline(committed).map(Some),
    }
}

fn read_baseline(path: &Path) -> Result<Baseline, String> {
    Baseline::parse(&read_text(path)?).map_err(|error| format!("{}:{error}", path.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file completely or not at all; `-` is standard output.
fn write_text(path: &Path, text: &str) -> Result<(), String> {
    output::write(path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))
}
