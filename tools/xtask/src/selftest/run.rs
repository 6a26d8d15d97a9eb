//! Runs a step: starts it, writes its output to a file, and kills it when it takes too long.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xtask::workspace;

use crate::steps::{Step, Tier};

/// Time limit of a step: several times its usual duration.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// Time limit of a step with machines in it.
const MACHINES_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Time limit of a step with machines in the long tier.
const LONG_LIMIT: Duration = Duration::from_secs(180 * 60);
/// Interval of progress reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// An event of a step.
enum Event {
    /// A line of its output.
    Line(Vec<u8>),
    Ended(io::Result<ExitStatus>),
}

/// Runs a step with its output into `log`; prints the progress of its tests once a minute.
pub(crate) fn execute(step: &Step, tier: Tier, log: &Path) -> Result<(), String> {
    let describe = |error: io::Error| format!("{}: {error}", log.display());
    fs::create_dir_all(log.parent().map(PathBuf::from).unwrap_or_default()).map_err(describe)?;
    let mut file = File::create(log).map_err(describe)?;
    // One pipe for both: what cargo prints about a program comes before the program's output.
    let (output, writer) = io::pipe().map_err(describe)?;
    let mut command = workspace::cargo();
    command.args(step.arguments(tier)).envs(step.environment(tier)).stdin(Stdio::null());
    command.stdout(writer.try_clone().map_err(describe)?).stderr(writer);
    command.env_remove("CARGO_TERM_QUIET"); // of .ci/run, for the compilation of this program alone
    let mut cargo = command.spawn().map_err(|error| format!("cargo: {error}"))?;
    drop(command); // closes the pipe's writing end here
    let id = cargo.id();
    let (sender, events) = mpsc::channel();
    let lines = sender.clone();
    thread::spawn(move || {
        let read = BufReader::new(output).split(b'\n').map_while(Result::ok);
        read.map(Event::Line).try_for_each(|line| lines.send(line))
    });
    thread::spawn(move || sender.send(Event::Ended(cargo.wait())));
    let limit = limit(step, tier);
    let start = Instant::now();
    let mut tests = Tests::default();
    let mut reported = Duration::ZERO;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= reported + REPORT_INTERVAL && tests.known > 0 {
            println!("     {:>5} s  {}: {} of {}", elapsed.as_secs(), step.title, tests.ended, tests.known);
            reported = elapsed;
        }
        match events.recv_timeout(limit.saturating_sub(elapsed)) {
            Ok(Event::Line(line)) => {
                file.write_all(&[&line, &b"\n"[..]].concat()).map_err(describe)?;
                tests.count(&line);
            }
            Ok(Event::Ended(status)) => {
                let status = status.map_err(|error| format!("cargo: {error}"))?;
                // The last lines before its end may still be in the channel.
                while let Ok(Event::Line(line)) = events.recv_timeout(Duration::from_millis(100)) {
                    file.write_all(&[&line, &b"\n"[..]].concat()).map_err(describe)?;
                }
                return if status.success() { Ok(()) } else { Err(status.to_string()) };
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                end(id);
                return Err(format!("no end within {} minutes", limit.as_secs() / 60));
            }
        }
    }
}

fn limit(step: &Step, tier: Tier) -> Duration {
    match (step.has_machines, tier) {
        (true, Tier::Long) => LONG_LIMIT,
        (true, _) => MACHINES_LIMIT,
        (false, _) => LIMIT,
    }
}

/// The tests of a step so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tests {
    /// Tests of the programs that have started, filtered ones excluded.
    known: usize,
    ended: usize,
}

impl Tests {
    /// Reads a line of libtest's: `running 12 tests`, `test namespace::boot::it_boots ... ok`.
    fn count(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else { return };
        let running = line.strip_prefix("running ").and_then(|rest| rest.split_once(" test"));
        self.known += running.and_then(|(count, _)| count.parse::<usize>().ok()).unwrap_or(0);
        self.ended += usize::from(line.starts_with("test ") && line.contains(" ... "));
    }
}

/// Kills a process and all of its descendants.
fn end(id: u32) {
    let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return };
    let _ = kill_process(process, Signal::STOP); // It starts no more children.
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let children: Vec<String> = children.collect();
    let _ = kill_process(process, Signal::KILL);
    children.iter().flat_map(|list| list.split_whitespace()).filter_map(|child| child.parse().ok()).for_each(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted() {
        let mut tests = Tests::default();
        for line in
            ["running 3 tests", "test a ... ok", "test b ... ignored, needs root", "test result: ok.", "running late"]
        {
            tests.count(line.as_bytes());
        }
        assert_eq!(tests, Tests { known: 3, ended: 2 });
    }

    #[test]
    fn a_process_is_killed_with_its_descendants() {
        let mut shell = std::process::Command::new("sh");
        // The pipe ends when no process that can write to it is left.
        shell.args(["-c", "sh -c 'echo up; sleep 1000 & sleep 1000' & wait"]).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        end(shell.id());
        assert!(lines.next().is_none() && !shell.wait().unwrap().success());
    }
}
