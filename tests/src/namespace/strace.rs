//! strace(1) attached to a machine: the system calls of PID 1 and its children as text, and errors in place of some.

use std::fs;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use super::Prepared;

/// A strace that is attached. Dropping it ends it; what it traces goes on.
pub struct Strace {
    process: Child,
    directory: TempDir,
}

impl Prepared {
    /// Attaches strace to the process that becomes PID 1, with these options of strace(1).
    #[must_use]
    pub fn strace(&self, options: &[&str]) -> Strace {
        let directory = tempfile::Builder::new().prefix("whit-strace-").tempdir().expect("a temporary directory");
        let process = self.init();
        while !field(process, "State").starts_with('S') {
            sleep(Duration::from_millis(1));
        }
        let stops = voluntary_switches(process) + 2;
        let mut command = Command::new("strace");
        command.args(["--quiet=all", "-p", &process.to_string(), "-o"]);
        command.arg(directory.path().join("log")).args(options);
        let mut strace = Strace { process: command.spawn().expect("apt-get install strace"), directory };
        // A tracer alone is too early: strace then stops the process, and on a busy host late. At that stop the process gives up its
        // processor for the first time, and for the second when its read begins again.
        while voluntary_switches(process) < stops {
            assert!(matches!(strace.process.try_wait(), Ok(None)), "strace could not attach");
            sleep(Duration::from_millis(1));
        }
        strace
    }
}

impl Strace {
    /// Waits for the end of all that it traces, and returns its log.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.process.wait().expect("it ends with what it traces");
        let log = fs::read(self.directory.path().join("log")).expect("a log");
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns a field of `/proc/PID/status`.
fn field(process: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process that waits");
    let field = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    field.expect("a field of every kernel").to_owned()
}

fn voluntary_switches(process: i32) -> u64 {
    field(process, "voluntary_ctxt_switches").parse().expect("a number")
}
