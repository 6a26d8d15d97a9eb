//! The tables.

use std::fmt::Write as _;
use std::path::Path;

use whit_tools::cli::size::show;

use crate::inputs::Input;
use crate::measure::{Run, median};
use crate::tools::Tool;

/// Returns the head: the command, the host and the method.
pub(crate) fn header(runs: u16) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(" unknown").to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}\n{processors} processors, {}; Linux {}; load {}\nmedian of {runs} runs that take turns, the \
         output removed and all synced before each\n",
        typed(&std::env::args().skip(1).collect::<Vec<_>>()),
        model.trim_start_matches([' ', '\t', ':']),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or("unknown"),
    )
}

/// Returns the command line, to repeat the measurement; .cargo/config.toml has a name for each benchmark.
fn typed(arguments: &[String]) -> String {
    match arguments.split_first() {
        Some((first, rest)) if first == "initramfs" => format!("cargo bench-mkcpio {}", rest.join(" ")),
        _ => format!("cargo bench-mkraw -- {}", arguments.join(" ")),
    }
    .trim_end()
    .to_owned()
}

/// Returns the table of one input; `cp` is 1.
pub(crate) fn table(input: &Input, path: &Path, tools: &[Tool], results: &[Result<Vec<Run>, String>]) -> String {
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    let mut text = format!("\n{} ({})\n", input.name, show(bytes));
    let wall = |runs: &[Run]| median(runs.iter().map(|run| run.wall_ms));
    let limit = results.first().and_then(|first| first.as_ref().ok()).map_or(f64::NAN, |runs| wall(runs));
    let _ = writeln!(
        text,
        "{:<34}{:>10}{:>10}{:>8}{:>16}{:>10}",
        "", "median ms", "least ms", "x cp", "processor ms", "peak MiB"
    ); // writing to a string cannot fail
    for (tool, result) in tools.iter().zip(results) {
        let line = match result {
            Err(error) => format!("{:<34}{error}\n", tool.name),
            Ok(runs) => format!(
                "{:<34}{:>10.1}{:>10.1}{:>8.2}{:>16.1}{:>10.1}\n",
                tool.name,
                wall(runs),
                runs.iter().map(|run| run.wall_ms).fold(f64::INFINITY, f64::min),
                wall(runs) / limit,
                median(runs.iter().map(|run| run.processor_ms)),
                median(runs.iter().map(|run| run.peak_kib)) / 1024.0,
            ),
        };
        text.push_str(&line);
    }
    if let Some(goal) = input.goal {
        let _ = writeln!(text, "goal of mkraw: at most {goal}");
    }
    text
}
