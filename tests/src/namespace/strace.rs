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
        let process = self.init().to_string();
        let mut command = Command::new("strace");
        command.args(["--quiet=all", "-p", &process, "-o"]).arg(directory.path().join("log")).args(options);
        let strace = Strace { process: command.spawn().expect("apt-get install strace"), directory };
        let status = format!("/proc/{process}/status");
        while fs::read_to_string(&status).is_ok_and(|status| status.contains("TracerPid:\t0\n")) {
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
