//! Running machines, and their ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{host_namespaces, namespaces, settings};
use crate::{Transcript, terminal};

/// The end of a machine: the effect of reboot(2) in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// LINUX_REBOOT_CMD_POWER_OFF, or HALT.
    PowerOff,
    /// LINUX_REBOOT_CMD_RESTART.
    Reboot,
    /// PID 1 exited; on hardware the kernel panics.
    Panic(ExitStatus),
}

/// A machine that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its end.
    pub end: End,
    /// Its console output.
    pub console: String,
}

impl Finished {
    /// Returns whether the console has this line.
    #[must_use]
    pub fn says(&self, line: &str) -> bool {
        self.console.lines().any(|shown| shown == line)
    }

    /// Asserts that the machine was powered off, and that its console has these lines in this order, others between them.
    #[track_caller]
    pub fn powered_off_saying(&self, lines: &[&str]) {
        assert_eq!(self.end, End::PowerOff, "\n{}", self.console);
        let mut shown = self.console.lines();
        for line in lines {
            assert!(shown.any(|shown| shown == *line), "no line {line:?} in its place:\n{}", self.console);
        }
    }
}

/// A machine whose init waits for its start.
pub struct Prepared(Running);

/// A running machine. Dropping it kills the machine.
pub struct Running {
    unshare: Child,
    pub(super) init: i32,
    console: Transcript,
    keyboard: Option<File>,
    go: File,
    inherited: Vec<(String, PathBuf)>,
    _directory: TempDir,
}

impl Prepared {
    #[track_caller]
    pub(super) fn wait_for(
        unshare: Child,
        console: OwnedFd,
        keyboard: Option<OwnedFd>,
        go: File,
        directory: TempDir,
    ) -> Self {
        let console = Transcript::new("console", console);
        let keyboard = keyboard.map(File::from);
        let mut machine =
            Running { unshare, init: 0, console, keyboard, go, inherited: Vec::new(), _directory: directory };
        machine.console.wait_for("enter: ready as ");
        machine.init = machine.console.wait_for("\n").parse().expect("the number of a process");
        machine.inherited = inherited(machine.init);
        // `enter` has checked the namespaces from the inside; this checks them from the outside.
        let host = host_namespaces();
        for own in namespaces(&machine.init.to_string()) {
            assert!(!host.contains(&own), "{own} is the host's");
        }
        settings::reset(machine.init.cast_unsigned());
        machine.console.forget();
        Self(machine)
    }

    /// Returns the number of the process that will be PID 1, as the host counts.
    #[must_use]
    pub fn init(&self) -> i32 {
        self.0.init
    }

    /// Sets a value below /proc/sys/net of the machine's network.
    pub fn set(&self, name: &str, value: &str) {
        let network = format!("--net=/proc/{}/ns/net", self.0.init);
        let script = format!("echo {value} >/proc/sys/net/{name}");
        let status = Command::new("nsenter").args([&network, "sh", "-c", &script]).status();
        assert!(status.expect("apt-get install util-linux").success(), "{script}");
    }

    /// Sets the size of the console.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.0.resize(rows, columns);
    }

    /// The console's screen shows UTF-8.
    pub fn set_utf8(&self) {
        terminal::set_utf8(self.0.keyboard.as_ref().expect("a terminal"));
    }

    /// Executes the init.
    pub fn start(mut self) -> Running {
        self.0.go.write_all(b"!").expect("the machine waits");
        self.0
    }
}

impl Running {
    /// Waits for a text on the console, after the last one waited for; returns the output between the two.
    #[track_caller]
    pub fn wait_for(&mut self, marker: &str) -> String {
        self.console.wait_for(marker)
    }

    /// Returns the console output read so far: up to the last text waited for, or more.
    #[must_use]
    pub fn console(&self) -> &str {
        self.console.text()
    }

    /// Types on the console's keyboard.
    pub fn type_text(&mut self, text: &str) {
        self.keyboard.as_ref().expect("a terminal").write_all(text.as_bytes()).expect("a reader");
    }

    /// Sets the size of the console.
    pub fn resize(&self, rows: u16, columns: u16) {
        terminal::resize(self.keyboard.as_ref().expect("a terminal"), rows, columns);
    }

    /// Sends a signal to PID 1, as ctrl-alt-del or the host would.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("PID 1 lives");
    }

    /// Returns the number of PID 1, as the host counts.
    #[must_use]
    pub fn init(&self) -> i32 {
        self.init
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.init).expect("the number of a process")
    }

    /// Reads a file of PID 1 below /proc: `status`, `mounts`, `root/etc/passwd`.
    #[track_caller]
    pub fn of_init(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.init);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Returns the permissions of a path as PID 1 sees it.
    #[track_caller]
    #[must_use]
    pub fn mode_of_init(&self, path: &str) -> u32 {
        let path = format!("/proc/{}/root{path}", self.init);
        let metadata = fs::metadata(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        metadata.permissions().mode() & 0o7777
    }

    /// Writes to a path as PID 1 sees it; a FIFO must have a reader first.
    #[track_caller]
    pub fn write_for_init(&self, path: &str, text: &str) {
        self.try_write_for_init(path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Writes as [`Running::write_for_init`] does. Fails with EPIPE when the reader of a FIFO closes it before the write.
    pub fn try_write_for_init(&self, path: &str, text: &str) -> io::Result<()> {
        let path = format!("/proc/{}/root{path}", self.init);
        OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
    }

    /// Returns whether a path exists for PID 1.
    #[must_use]
    pub fn exists_for_init(&self, path: &str) -> bool {
        fs::exists(format!("/proc/{}/root{path}", self.init)).unwrap_or(false)
    }

    /// Returns the descriptors that the test's own parents left open, and their targets.
    #[must_use]
    pub fn inherited(&self) -> &[(String, PathBuf)] {
        &self.inherited
    }

    /// Returns the open descriptors of PID 1 and their targets, inherited ones excluded.
    #[must_use]
    pub fn descriptors_of_init(&self) -> Vec<(String, PathBuf)> {
        let mut descriptors = descriptors(self.init);
        descriptors.retain(|descriptor| !self.inherited.contains(descriptor));
        descriptors
    }

    /// Waits for the end of the machine.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        self.console.wait_for_end();
        self.ended()
    }

    /// Waits for the end of the machine; returns the console output when it runs for longer than `limit`.
    pub fn finish_within(mut self, limit: Duration) -> Result<Finished, String> {
        if self.console.ends_within(limit) { Ok(self.ended()) } else { Err(self.console.text().to_owned()) }
    }

    fn ended(mut self) -> Finished {
        // unshare(1) ends by the signal that ended its child.
        let status = self.unshare.wait().expect("unshare");
        let end = match status.signal().and_then(Signal::from_named_raw) {
            Some(Signal::INT) => End::PowerOff,
            Some(Signal::HUP) => End::Reboot,
            _ => End::Panic(status),
        };
        Finished { end, console: self.console.text().to_owned() }
    }
}

fn descriptors(process: i32) -> Vec<(String, PathBuf)> {
    let directory = fs::read_dir(format!("/proc/{process}/fd")).expect("PID 1 lives");
    let entries = directory.map(|entry| entry.expect("a descriptor").path());
    entries
        .filter_map(|path| {
            let target = fs::read_link(&path).ok()?;
            Some((path.file_name()?.to_str()?.to_owned(), target))
        })
        .collect()
}

/// Descriptors above 2 that execve(2) will not close.
fn inherited(process: i32) -> Vec<(String, PathBuf)> {
    let mut inherited = descriptors(process);
    inherited.retain(|(number, _)| {
        let information = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap_or_default();
        let flags = information.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).expect("its flags");
        !matches!(number.as_str(), "0" | "1" | "2") && flags & OFlags::CLOEXEC.bits() == 0
    });
    inherited
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
