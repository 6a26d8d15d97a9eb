//! The README's second command: everything that can be checked about whit, in one go.
//!
//! Each step is a command that a person can type. The first that fails, or that does not end, ends the run, with a summary of
//! why and the command; who does not sit at a terminal has the output as well.
#![forbid(unsafe_code)]

mod failures;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use whit_tools::cli::documents;
use whit_tools::programs::{self, Program, QEMU};
use xtask::workspace;

/// Checks everything: format, lints, tests on the host, in namespaces and in QEMU, and the init's size
#[derive(Parser)]
#[command(name = "selftest", after_help = "Example: cargo selftest -- --quick")]
struct Arguments {
    /// Leave out the tests that need root, QEMU or Debian's archive
    #[arg(long)]
    quick: bool,
    /// Show the steps and do nothing
    #[arg(long)]
    list: bool,
}

/// A command of cargo and what it is for.
struct Step {
    title: &'static str,
    arguments: &'static [&'static str],
    /// Whether it needs root, QEMU or Debian's archive.
    is_long: bool,
}

/// The words of clippy for another workspace.
macro_rules! lints_of {
    ($manifest:literal, $package:literal) => {
        [
            "clippy",
            "--locked",
            "--target-dir",
            "target",
            "--manifest-path",
            $manifest,
            "-p",
            $package,
            "--",
            "-D",
            "warnings",
        ]
    };
}

const STEPS: [Step; 11] = [
    Step { title: "format", arguments: &["fmt", "--check"], is_long: false },
    Step { title: "lints of the init", arguments: &["clippy", "-p", "whit", "--", "-D", "warnings"], is_long: false },
    Step {
        title: "lints of the rest",
        arguments: &["clippy", "--workspace", "--exclude", "whit", "--all-targets", "--", "-D", "warnings"],
        is_long: false,
    },
    // Workspaces of their own, with crates that nothing else needs.
    Step {
        title: "lints of mkraw's benchmark",
        arguments: &lints_of!("tools/xtask/bench-mkraw/Cargo.toml", "bench-mkraw"),
        is_long: false,
    },
    Step {
        title: "lints of DHCP's benchmark",
        arguments: &lints_of!("tools/xtask/bench-dhcp/Cargo.toml", "bench-dhcp"),
        is_long: false,
    },
    Step {
        title: "lints of its floor",
        arguments: &lints_of!("tools/xtask/bench-dhcp/Cargo.toml", "floor"),
        is_long: false,
    },
    Step { title: "tests on the host", arguments: &["test", "--workspace", "--no-fail-fast"], is_long: false },
    Step { title: "the init", arguments: &["build", "--profile", "init", "-p", "whit"], is_long: false },
    Step { title: "the tools", arguments: &["build", "--release", "-p", "whit-tools"], is_long: false },
    Step {
        title: "tests in namespaces and machines",
        // Two at a time: an emulated machine takes a processor, and its deadlines are made for having one.
        arguments: &[
            "test",
            "-p",
            "whit-tests",
            "--no-fail-fast",
            "--",
            "--include-ignored",
            "--show-output",
            "--test-threads=2",
        ],
        is_long: true,
    },
    Step { title: "the init's size", arguments: &["run", "-p", "size-report"], is_long: false },
];

/// What the tests run beside the tools of whit.
const PROGRAMS: [Program; 23] = [
    QEMU,
    Program { name: "bsdtar", package: "libarchive-tools" },
    Program { name: "busybox", package: "busybox-static" },
    Program { name: "bzip2", package: "bzip2" },
    Program { name: "cpio", package: "cpio" },
    Program { name: "dnsmasq", package: "dnsmasq-base" },
    Program { name: "e2fsck", package: "e2fsprogs" },
    Program { name: "gdisk", package: "gdisk" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "lz4", package: "lz4" },
    Program { name: "mkfs.btrfs", package: "btrfs-progs" },
    Program { name: "mkfs.erofs", package: "erofs-utils" },
    Program { name: "mkfs.f2fs", package: "f2fs-tools" },
    Program { name: "mkfs.vfat", package: "dosfstools" },
    Program { name: "mkfs.xfs", package: "xfsprogs" },
    Program { name: "mksquashfs", package: "squashfs-tools" },
    Program { name: "modinfo", package: "kmod" },
    Program { name: "mount", package: "mount" },
    Program { name: "rpmbuild", package: "rpm" },
    Program { name: "sfdisk", package: "fdisk" },
    Program { name: "unshare", package: "util-linux" },
    Program { name: "xz", package: "xz-utils" },
    Program { name: "zstd", package: "zstd" },
];

/// How long a step may take: far more than it does, and less than who waits for all of them has patience.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long one with machines in it may take.
const LONG_LIMIT: Duration = Duration::from_secs(60 * 60);

/// How a test says that it could not do all of its work: `skipped: apt offers no 6.12 kernel`.
const SKIPPED: &str = "skipped: ";

fn main() -> ExitCode {
    let arguments = documents::parse::<Arguments>();
    let steps: Vec<&Step> = STEPS.iter().filter(|step| !arguments.quick || !step.is_long).collect();
    if arguments.list {
        for (index, step) in steps.iter().enumerate() {
            println!("{}  {:<33} {}", index + 1, step.title, typed(step));
        }
        return ExitCode::SUCCESS;
    }
    if let Err(message) = prepare(arguments.quick) {
        eprintln!("selftest: {message}");
        return ExitCode::FAILURE;
    }
    run(&steps)
}

/// Sees to it that a missing program does not fail a test.
fn prepare(quick: bool) -> Result<(), String> {
    for tool in ["fmt", "clippy"] {
        let installed =
            workspace::cargo().args([tool, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !installed.is_ok_and(|status| status.success()) {
            return Err(format!("cargo {tool} is not installed: rustup component add rustfmt clippy"));
        }
    }
    if quick {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("the tests in namespaces and machines need root; --quick leaves them out".into());
    }
    programs::install(&PROGRAMS, |line| println!("{line}"))
}

/// Runs the steps up to the first that fails; the closing line counts them.
fn run(steps: &[&Step]) -> ExitCode {
    let mut failed = 0;
    let mut passed = 0;
    for (index, step) in steps.iter().enumerate() {
        println!("{}/{}  {}: {}", index + 1, steps.len(), step.title, typed(step));
        let start = Instant::now();
        let log = workspace::target().join(format!("selftest-{}.log", index + 1));
        let result = execute(step, &log);
        let output = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let seconds = start.elapsed().as_secs_f64();
        if let Err(message) = result {
            failed = 1;
            println!("     FAILED after {seconds:.1} s: {message}");
            for line in failures::summary(&output) {
                println!("     {line}");
            }
            println!("     all of its output: {}\n     repeat it with: {}", log.display(), typed(step));
            // Where it is kept away from the log's machine; behind what tells most, in case it is kept in part.
            if !std::io::stdout().is_terminal() {
                println!("\n{}", failures::of_failed_programs(&output));
            }
            break;
        }
        passed += 1;
        for line in output.lines().filter(|line| line.starts_with(SKIPPED)) {
            println!("     {line}");
        }
        let tests = count_tests(&output).map_or_else(String::new, |count| format!(", {count} tests"));
        println!("     ok{tests}, {seconds:.1} s");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is heard of a step.
enum Event {
    /// Of what it prints.
    Line(Vec<u8>),
    Ended(std::io::Result<std::process::ExitStatus>),
}

/// Runs a step with its output into `log`; says which test program is at work when that takes long.
fn execute(step: &Step, log: &Path) -> Result<(), String> {
    let describe = |error: std::io::Error| format!("{}: {error}", log.display());
    fs::create_dir_all(log.parent().map(PathBuf::from).unwrap_or_default()).map_err(describe)?;
    let mut file = File::create(log).map_err(describe)?;
    // One pipe for both: what cargo says of a program stands before what the program says.
    let (output, writer) = std::io::pipe().map_err(describe)?;
    let mut command = workspace::cargo();
    command.args(step.arguments).stdin(Stdio::null()).stdout(writer.try_clone().map_err(describe)?).stderr(writer);
    command.env_remove("CARGO_TERM_QUIET"); // of .ci/run, for the compiling of this program alone
    let mut cargo = command.spawn().map_err(|error| format!("cargo: {error}"))?;
    drop(command); // and with it the pipe's side here
    let id = cargo.id();
    let (sender, events) = mpsc::channel();
    let lines = sender.clone();
    thread::spawn(move || {
        let read = BufReader::new(output).split(b'\n').map_while(Result::ok);
        read.map(Event::Line).try_for_each(|line| lines.send(line))
    });
    thread::spawn(move || sender.send(Event::Ended(cargo.wait())));
    let limit = if step.is_long { LONG_LIMIT } else { LIMIT };
    let start = Instant::now();
    loop {
        match events.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(Event::Line(line)) => {
                file.write_all(&[&line, &b"\n"[..]].concat()).map_err(describe)?;
                if let Some(program) = test_program(&line).filter(|_| step.is_long) {
                    println!("     {:>5.0} s  {program}", start.elapsed().as_secs_f64());
                }
            }
            Ok(Event::Ended(status)) => {
                let status = status.map_err(|error| format!("cargo: {error}"))?;
                // What it wrote before it ended is on its way.
                while let Ok(Event::Line(line)) = events.recv_timeout(Duration::from_millis(100)) {
                    file.write_all(&[&line, &b"\n"[..]].concat()).map_err(describe)?;
                }
                return if status.success() { Ok(()) } else { Err(status.to_string()) };
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                end(id);
                return Err(format!("it did not end within {} minutes", limit.as_secs() / 60));
            }
        }
    }
}

/// `tests/qemu_root.rs`, of cargo's line that it runs it.
fn test_program(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line).ok()?.trim_start().strip_prefix("Running ")?.split(' ').find(|word| word.ends_with(".rs"))
}

/// Ends a process and all that came from it.
fn end(id: u32) {
    let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return };
    let _ = kill_process(process, Signal::STOP); // It starts no more.
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let children: Vec<String> = children.collect();
    let _ = kill_process(process, Signal::KILL);
    children.iter().flat_map(|list| list.split_whitespace()).filter_map(|child| child.parse().ok()).for_each(end);
}

/// What a person types for a step.
fn typed(step: &Step) -> String {
    format!("cargo {}", step.arguments.join(" "))
}

/// The tests that passed, over all of `test result: ok. 12 passed; …`; none when there were no test programs.
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
    fn a_test_program_that_begins_is_named() {
        let line = b"     Running tests/qemu_root.rs (target/debug/deps/qemu_root-0123456789abcdef)";
        assert_eq!(test_program(line), Some("tests/qemu_root.rs"));
        let line = b"     Running unittests src/lib.rs (target/debug/deps/whit_tests-0123456789abcdef)";
        assert_eq!(test_program(line), Some("src/lib.rs"));
        assert_eq!(test_program(b"   Doc-tests whit_tests"), None);
    }

    #[test]
    fn what_does_not_end_is_ended_with_all_that_came_from_it() {
        let mut shell = std::process::Command::new("sh");
        // The pipe is at its end when nobody is left who could write to it.
        shell.args(["-c", "sh -c 'echo up; sleep 1000 & sleep 1000' & wait"]).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        end(shell.id());
        assert!(lines.next().is_none() && !shell.wait().unwrap().success());
    }

    #[test]
    fn what_a_person_types_is_what_runs() {
        assert_eq!(typed(&STEPS[0]), "cargo fmt --check");
        assert_eq!(STEPS.iter().filter(|step| step.is_long).count(), 1, "--quick leaves one step out");
    }
}
