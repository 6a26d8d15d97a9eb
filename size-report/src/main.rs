//! Builds the init and says where each of its bytes went.
//!
//! `cargo run -p size-report` is the whole use of it. It exits 1 when a size is over its limit in `budget.txt`, or when
//! `core::fmt` or the panic machinery of core is part of the init.
#![forbid(unsafe_code)]

mod baseline;
mod budget;
mod compile;
mod image;
mod machinery;
mod origin;
mod report;
mod v0;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use baseline::Baseline;
use budget::Budget;
use image::Image;

/// Builds the init and says where each of its bytes went
#[derive(Parser)]
#[command(after_help = "Example: cargo run -p size-report -- --compare before.txt")]
struct Arguments {
    /// Limits to hold instead of size-report/budget.txt
    #[arg(long, value_name = "FILE")]
    budget: Option<PathBuf>,
    /// Write all sizes to FILE, for --compare
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show what changed since FILE was saved
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// How many of the largest symbols to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
}

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

/// Prints the report; returns one line for each promise that the init breaks.
fn run(arguments: &Arguments) -> Result<Vec<String>, String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = package.parent().unwrap_or(package);
    let budget_path = arguments.budget.clone().unwrap_or_else(|| package.join("budget.txt"));
    let budget =
        Budget::parse(&read_text(&budget_path)?).map_err(|error| format!("{}:{error}", budget_path.display()))?;
    let before = match &arguments.compare {
        Some(path) => {
            let text = read_text(path)?;
            Some(Baseline::parse(&text).map_err(|error| format!("{}:{error}", path.display()))?)
        }
        None => None,
    };

    let files = compile::init(workspace)?;
    let shipped = Image::read(&files.shipped)?;
    let named = Image::read(&files.named)?;
    named.agrees_with(&shipped)?;

    let totals = shipped.totals();
    let symbols = named.symbols();
    let traces = machinery::find(&symbols, named.rodata());
    print!("{}", report::text(&totals, &budget, &symbols, named.rodata(), &traces, arguments.top));

    let now = Baseline::new(&totals, &symbols);
    if let Some(before) = before {
        print!("{}", now.difference(&before));
    }
    if let Some(path) = &arguments.save {
        std::fs::write(path, now.to_string()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut broken = budget.broken_by(&totals);
    broken.extend(traces.lines());
    Ok(broken)
}

fn read_text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
