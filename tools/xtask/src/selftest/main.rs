//! The README's second command: everything that can be checked about whit.
//!
//! Each step is a command that a person can type. Test programs of different layers run at the same time: many tests wait for a
//! lease or a deadline, and an emulated machine takes one processor. The first step that fails, or that does not end, ends the run
//! with a summary and the command; without a terminal the output of the failed programs follows.
#![forbid(unsafe_code)]

mod failures;
mod programs;
mod run;
mod steps;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use whit_tools::cli::documents;
use xtask::workspace;

use crate::steps::{Step, Tier};

/// Checks everything: format, lints, tests on the host, in namespaces and in QEMU, and the init's size
#[derive(Parser)]
#[command(
    name = "selftest",
    after_help = "Example: cargo selftest -- --quick\nThe tests that only --long runs: docs/testing.md"
)]
struct Arguments {
    /// Leave out the tests that need root, QEMU or Debian's archive
    #[arg(long)]
    quick: bool,
    /// Run the long tests too: every kernel, files of 4 GiB, many power cuts
    #[arg(long, conflicts_with = "quick")]
    long: bool,
    /// Run the tests on all boards of aarch64 too
    #[arg(long, conflicts_with_all = ["quick", "long"])]
    arm: bool,
    /// Show the steps and do nothing
    #[arg(long)]
    list: bool,
}

/// The prefix of a test's report that it could not do all of its work: `skipped: apt offers no 6.12 kernel`.
const SKIPPED: &str = "skipped: ";

fn main() -> ExitCode {
    let arguments = documents::parse::<Arguments>();
    let tier = match (arguments.quick, arguments.arm, arguments.long) {
        (true, ..) => Tier::Quick,
        (_, true, _) => Tier::Arm,
        (.., true) => Tier::Long,
        _ => Tier::Default,
    };
    let steps = steps::of(tier);
    if arguments.list {
        for (index, step) in steps.iter().enumerate() {
            println!("{:>2}  {:<28} {}", index + 1, step.title, step.typed(tier));
        }
        return ExitCode::SUCCESS;
    }
    if let Err(message) = programs::prepare(tier) {
        eprintln!("selftest: {message}");
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for steps in groups(&steps) {
        for (index, step) in &steps {
            println!("{}/{}  {}: {}", index + 1, steps::of(tier).len(), step.title, step.typed(tier));
        }
        let results = thread::scope(|scope| {
            let steps: Vec<_> =
                steps.iter().map(|(index, step)| scope.spawn(move || Done::of(*index, step, tier))).collect();
            steps.into_iter().map(|step| step.join().expect("a step does not panic")).collect::<Vec<_>>()
        });
        for (done, (index, step)) in results.iter().zip(&steps) {
            let number = if steps.len() > 1 { format!("{}: ", index + 1) } else { String::new() };
            done.print(&number, &step.typed(tier));
        }
        let successes = results.iter().filter(|done| done.result.is_ok()).count();
        passed += successes;
        failed += results.len() - successes;
        if failed > 0 {
            break;
        }
    }
    println!("{passed} passed, {failed} failed, {:.1} s", start.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Groups the steps that run at the same time, with their indices.
fn groups<'s>(steps: &[&'s Step]) -> Vec<Vec<(usize, &'s Step)>> {
    let mut groups: Vec<Vec<_>> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        match groups.last_mut().filter(|_| step.is_beside) {
            Some(group) => group.push((index, *step)),
            None => groups.push(vec![(index, *step)]),
        }
    }
    groups
}

/// A step that has ended.
struct Done {
    result: Result<(), String>,
    log: PathBuf,
    output: String,
    took: Duration,
}

impl Done {
    /// Runs a step.
    fn of(index: usize, step: &Step, tier: Tier) -> Self {
        let start = Instant::now();
        let log = workspace::target().join(format!("selftest-{}.log", index + 1));
        let result = run::execute(step, tier, &log);
        let output = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Self { result, log, output, took: start.elapsed() }
    }

    fn print(&self, number: &str, typed: &str) {
        let seconds = self.took.as_secs_f64();
        match &self.result {
            Ok(()) => {
                for line in self.output.lines().filter(|line| line.starts_with(SKIPPED)) {
                    println!("     {line}");
                }
                let tests = count_tests(&self.output).map_or_else(String::new, |count| format!(", {count} tests"));
                println!("     {number}ok{tests}, {seconds:.1} s");
            }
            Err(message) => {
                println!("     {number}FAILED after {seconds:.1} s: {message}");
                for line in failures::summary(&self.output) {
                    println!("     {line}");
                }
                println!("     all of its output: {}\n     repeat it with: {typed}", self.log.display());
                // For hosts that keep only this output; after the summary, in case it is cut.
                if !std::io::stdout().is_terminal() {
                    println!("\n{}", failures::of_failed_programs(&self.output));
                }
            }
        }
    }
}

/// Sums the passed tests of all lines `test result: ok. 12 passed; …`; `None` without test programs.
fn count_tests(output: &str) -> Option<usize> {
    let results = output.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    results.filter_map(|line| line.split(' ').next()?.parse::<usize>().ok()).reduce(|sum, count| sum + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_added_up() {
        let output = "running 2 tests\ntest result: ok. 24 passed; 0 failed; 1 ignored; 0 measured\n\n\
                      test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(count_tests(output), Some(34));
        assert_eq!(count_tests("    Finished `dev` profile\n"), None);
    }

    #[test]
    fn all_test_programs_run_at_the_same_time() {
        let steps = steps::of(Tier::Default);
        let groups = groups(&steps);
        let sizes: Vec<usize> = groups.iter().map(Vec::len).filter(|size| *size > 1).collect();
        assert_eq!(sizes, [4]);
        assert_eq!(groups.concat().len(), steps.len());
    }
}
