//! Measures a command: time, processor time, memory.
//!
//! Each command is the only child of a process of its own, so that the kernel's accounting of children (getrusage(2)) is for it.

use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// The cost of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) wall_ms: f64,
    pub(crate) processor_ms: f64,
    pub(crate) peak_kib: f64,
}

/// Runs a command in a measuring process.
pub(crate) fn run(words: &[String]) -> Result<Run, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(own).args(["measure", "--"]).args(words).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(text.lines().last().unwrap_or("failed").to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [wall_ms, processor_ms, peak_kib] => {
            Ok(Run { wall_ms: *wall_ms, processor_ms: *processor_ms, peak_kib: *peak_kib })
        }
        _ => Err(format!("no measurement: {text}")),
    }
}

/// Runs in the measuring process: starts the command, and prints its measurements.
pub(crate) fn measure(words: &[String]) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    let wall = start.elapsed();
    if !status.success() {
        // The status of timeout(1) after its time limit.
        return Err(if status.code() == Some(124) {
            "takes too long".to_owned()
        } else {
            format!("{program}: {status}")
        });
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| error.to_string())?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    let processor = ms(usage.user_time()) + ms(usage.system_time());
    println!("{} {processor} {}", wall.as_secs_f64() * 1e3, usage.max_rss());
    Ok(())
}

/// Returns the median.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
