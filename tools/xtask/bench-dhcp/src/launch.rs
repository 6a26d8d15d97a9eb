//! A peer in namespaces of its own, as the tests' `enter` does it for the init: prepared, and then waiting for a word.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};
use rustix::process::{Pid, Signal, getpid, kill_process, pivot_root};
use rustix::stdio::{dup2_stdin, stdin};
use whit_tests::Transcript;

/// The folders that a peer writes to: each has them empty.
const EMPTY: [&str; 4] = ["dev", "run", "tmp", "var/lib"];
/// Character devices and their minor number; the major one is 1.
const NODES: [(&str, u32); 4] = [("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)];
const READY: &str = "launch: ready as ";

/// A peer that waits, or runs. Dropped, it is killed.
pub(crate) struct Launched {
    unshare: Child,
    process: u32,
    transcript: Transcript,
}

impl Launched {
    /// Makes the namespaces.
    pub(crate) fn prepare(root: &Path, words: &[&str]) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let (said, says): (PipeReader, _) = pipe().map_err(|error| error.to_string())?;
        let errors = says.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--kill-child", "--fork"]);
        command.args(["--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--propagation", "private"]);
        command.arg(own).arg("launch").arg(root).arg("--").args(words);
        command.stdin(Stdio::piped()).stdout(says).stderr(errors);
        let unshare = command.spawn().map_err(|error| format!("setpriv: {error}"))?;
        // Its copies of the transcript's other side: with them here it would not end.
        drop(command);
        let mut launched = Self { unshare, process: 0, transcript: Transcript::new(words.join(" "), said) };
        launched.transcript.wait_for(READY);
        let process = launched.transcript.wait_for("\n");
        launched.process = process.parse().map_err(|error| format!("{process}: {error}"))?;
        Ok(launched)
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// Executes the client.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let input = self.unshare.stdin.as_mut().ok_or("no pipe")?;
        input.write_all(b"!").map_err(|error| error.to_string())
    }

    /// Ends it, and returns what it said.
    pub(crate) fn said(mut self) -> String {
        self.kill();
        self.transcript.wait_for_end();
        self.transcript.text().to_owned()
    }

    /// Ends it and all in its namespace. That the end of its parent ends it, as unshare(1) wants it, does not hold for a client
    /// that becomes another user (systemd-networkd): the kernel forgets it then (kernel/cred.c, commit_creds()).
    fn kill(&mut self) {
        if let Some(process) = i32::try_from(self.process).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
        let _ = self.unshare.kill();
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill();
        let _ = self.unshare.wait();
    }
}

/// Makes `root` the only root there is, waits for a byte, and executes the client.
pub(crate) fn launch(root: &Path, words: &[String]) -> Result<Infallible, String> {
    // Before any effect: in the host's namespaces nobody is PID 1 but its init.
    if !getpid().is_init() || fs::read_link("/proc/self").is_ok_and(|own| own == Path::new("1")) {
        return Err("this is for namespaces that the benchmark has made".to_owned());
    }
    prepare(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs([("HOME", "/"), ("PATH", "/usr/sbin:/usr/bin")]);
    wait_for_start().map_err(|error| error.to_string())?;
    Err(format!("{program}: {}", command.exec()))
}

fn prepare(root: &Path) -> std::io::Result<()> {
    // Nothing that is mounted from here on is seen outside.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let host_pid = fs::read_link("/proc/self")?;
    mount_bind(root, root)?;
    for folder in EMPTY {
        mount("none", root.join(folder), "tmpfs", MountFlags::empty(), None)?;
    }
    for (name, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, root.join("dev").join(name), FileType::CharacterDevice, mode, makedev(1, minor))?;
    }
    mount("none", root.join("proc"), "proc", MountFlags::empty(), None)?;
    // Where /sys cannot be written to there is no udev to wait for (systemd: src/shared/udev-util.c, udev_available()).
    mount("none", root.join("sys"), "sysfs", MountFlags::RDONLY, None)?;
    std::env::set_current_dir(root)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one, and taken off.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    println!("{READY}{}", host_pid.display());
    Ok(())
}

/// Waits for a byte on the standard input, which is the null device from here on.
fn wait_for_start() -> std::io::Result<()> {
    let mut go = File::from(rustix::io::fcntl_dupfd_cloexec(stdin(), 3)?);
    dup2_stdin(File::open("/dev/null")?)?;
    go.read_exact(&mut [0])
}
