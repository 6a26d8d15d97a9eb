//! A peer in namespaces of its own, as the tests' `enter` makes them for the init: prepared, and then waiting for a byte.

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

/// The folders that a peer writes to; they are empty for each peer.
const EMPTY: [&str; 4] = ["dev", "run", "tmp", "var/lib"];
/// Character devices and their minor number; the major one is 1.
const NODES: [(&str, u32); 4] = [("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)];
const READY: &str = "launch: ready as ";

/// A waiting or running peer. Dropping it kills the peer.
pub(crate) struct Launched {
    unshare: Child,
    process: u32,
    transcript: Transcript,
}

impl Launched {
    /// Makes the namespaces.
    pub(crate) fn prepare(root: &Path, words: &[&str]) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let (log, log_writer): (PipeReader, _) = pipe().map_err(|error| error.to_string())?;
        let errors = log_writer.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--kill-child", "--fork"]);
        command.args(["--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--propagation", "private"]);
        command.arg(own).arg("launch").arg(root).arg("--").args(words);
        command.stdin(Stdio::piped()).stdout(log_writer).stderr(errors);
        let unshare = command.spawn().map_err(|error| format!("setpriv: {error}"))?;
        // Closes its copies of the log's other side: while they are open here, the log does not end.
        drop(command);
        let mut launched = Self { unshare, process: 0, transcript: Transcript::new(words.join(" "), log) };
        launched.transcript.wait_for(READY);
        let process = launched.transcript.wait_for("\n");
        launched.process = process.parse().map_err(|error| format!("{process}: {error}"))?;
        Ok(launched)
    }

    /// Returns the number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// Executes the client.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let input = self.unshare.stdin.as_mut().ok_or("no pipe")?;
        input.write_all(b"!").map_err(|error| error.to_string())
    }

    /// Kills the client, and returns its output.
    pub(crate) fn output(mut self) -> String {
        self.kill();
        self.transcript.wait_for_end();
        self.transcript.text().to_owned()
    }

    /// Kills the client and every process in its namespace. The parent-death signal of unshare(1) is not enough: the kernel clears it
    /// when a client changes its user, as systemd-networkd does (kernel/cred.c, commit_creds()).
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

/// Makes `root` the only root, waits for a byte, and executes the client.
pub(crate) fn launch(root: &Path, words: &[String]) -> Result<Infallible, String> {
    // Before any effect: in the host's namespaces, only its init is PID 1.
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
    // From here on the host sees no mount of this process.
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
    // With a read-only /sys, systemd does not wait for udev (systemd: src/shared/udev-util.c, udev_available()).
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
