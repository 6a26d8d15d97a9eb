//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Builds the init and reports where each of its bytes is
#[derive(Parser)]
#[command(after_help = "Example: cargo run -p size-report -- --compare")]
pub(crate) struct Arguments {
    /// Build the four inits for another machine, as aarch64-unknown-linux-gnu, and compare their sizes with the limits of
    /// size-report/budget-MACHINE.txt
    #[arg(long, value_name = "TRIPLE", exclusive = true)]
    pub(crate) target: Option<String>,
    /// Limits to use instead of size-report/budget.txt
    #[arg(long, value_name = "FILE")]
    pub(crate) budget: Option<PathBuf>,
    /// Write all sizes to FILE, for --compare; without FILE the committed baseline, size-report/baseline.txt
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<Option<PathBuf>>,
    /// Show what changed since FILE was saved; without FILE since the committed baseline
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<Option<PathBuf>>,
    /// List every string, longest first, with its address and its holder
    #[arg(long)]
    pub(crate) strings: bool,
    /// Draw a treemap: crate, module, symbol, by their bytes in the file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Show the bytes of each feature that an init can be built without; needs one more build for each
    #[arg(long)]
    pub(crate) features: bool,
    /// Show the bytes that each compiler flag of the init saves; needs one more build for each
    #[arg(long)]
    pub(crate) flags: bool,
    /// Try each function of the init with and without #[inline(never)], and list what saves bytes of whole and min: hours; with PLACE
    /// only those whose path:line contains it
    #[arg(long, value_name = "PLACE", exclusive = true)]
    pub(crate) search_inlining: Option<Option<String>>,
    /// Write the committed report and picture, bench/size.txt and bench/size.svg; with --features or --flags their tables too
    #[arg(long)]
    pub(crate) publish: bool,
    /// How many of the largest symbols and constants to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) top: usize,
}
