//! podman with storage of its own, and whit-runtime as its runtime.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;
use whit_tests::deadline::{self, Deadline};
use whit_tests::debian::kernel;
use whit_tests::terminal::{resize, terminal};
use whit_tests::whole::busybox_tar;
use whit_tests::{init, tool, write_program};
use whit_tools::kernel::debian::Flavour;
use xtask::workspace;

/// An engine, and its storage.
pub(super) struct Engine {
    folder: TempDir,
    /// Where podman makes its networks.
    host: Option<Host>,
}

/// A host of podman's networks: a network namespace with bridges, filters and a DNS server, joined with a second one, `outside`; and a
/// mount namespace with podman's state of networks, which is in one place for all storages of root.
struct Host(Child);

/// The address of the host, and of its neighbour outside.
pub(super) const HOST_ADDRESSES: [&str; 2] = ["10.9.8.7", "10.9.8.1"];

impl Host {
    /// Makes the namespaces. They end with their last process.
    fn new() -> Self {
        let [inside, outside] = HOST_ADDRESSES;
        let script = format!(
            "set -e
            # Addresses and names, and the namespaces of containers.
            for folder in /run/containers/networks /run/netns; do mkdir -p $folder; mount -t tmpfs none $folder; done
            ip link set lo up
            ip netns add outside
            ip link add uplink type veth peer name eth0 netns outside
            ip addr add {inside}/24 dev uplink
            ip link set uplink up
            ip -n outside addr add {outside}/24 dev eth0
            ip -n outside link set eth0 up
            echo made
            exec cat >/dev/null"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut made = [0; 5];
        let read = std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut made);
        assert!(read.is_ok() && made == *b"made\n", "unshare: {:?}", child.wait());
        Self(child)
    }

    /// Returns the beginning of a command that runs in the namespaces.
    fn enter(&self) -> [String; 4] {
        ["nsenter".to_owned(), format!("--target={}", self.0.id()), "--net".to_owned(), "--mount".to_owned()]
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The programs of podman's networks, of which two are in no PATH. netavark does not name iptables among those that it needs.
const NETWORK: [&str; 3] = ["/usr/lib/podman/netavark", "/usr/lib/podman/aardvark-dns", "/usr/sbin/iptables"];
/// Where an engine keeps its data.
const FOLDERS: [(&str, &str); 4] =
    [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp"), ("--network-config-dir", "networks")];
/// Its configuration, in which the runtime has the name `whit`.
const CONFIGURATION: &str = "containers.conf";
const OPTIONS: [&str; 3] = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--log-level=error"];

impl Engine {
    /// Sets up storage with the image `busybox`.
    pub(super) fn new() -> Self {
        Self::set_up(None)
    }

    /// The same, with a host for podman's networks.
    pub(super) fn with_networks() -> Self {
        for program in NETWORK {
            assert!(Path::new(program).exists(), "{program}: apt-get install netavark aardvark-dns iptables");
        }
        Self::set_up(Some(Host::new()))
    }

    fn set_up(host: Option<Host>) -> Self {
        let engine = Self { folder: tempfile::tempdir_in(workspace::target()).unwrap(), host };
        let root = format!("--root {}", engine.root().display());
        write_program(&engine.runtime(), runtime_script(&root).as_bytes());
        let names = format!("[engine.runtimes]\nwhit = [\"{}\"]\n", engine.runtime().display());
        fs::write(engine.path(CONFIGURATION), names).unwrap();
        engine.well(&["import", busybox_tar().to_str().unwrap(), "busybox"]);
        engine
    }

    /// The folder for the runtime's state.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("machines")
    }

    pub(super) fn runtime(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a command that runs where podman's networks are.
    pub(super) fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let Some(host) = &self.host else { return Command::new(name) };
        let [program, options @ ..] = host.enter();
        let mut command = Command::new(program);
        command.args(options).arg(name);
        command
    }

    /// Returns a command of podman.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("podman");
        for (option, name) in FOLDERS {
            command.arg(option).arg(self.path(name));
        }
        command.args(OPTIONS).arg("--runtime").arg(self.runtime()).args(arguments);
        command.env("TMPDIR", self.folder.path()).env("CONTAINERS_CONF", self.path(CONFIGURATION));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Returns a program that is podman with this storage, without a runtime.
    pub(super) fn script(&self) -> PathBuf {
        let path = self.path("podman");
        let folders = FOLDERS.map(|(option, name)| format!("{option} {}", self.path(name).display())).join(" ");
        let configuration = self.path(CONFIGURATION);
        let script = format!(
            "#!/bin/sh\nCONTAINERS_CONF={} exec podman {folders} {} \"$@\"\n",
            configuration.display(),
            OPTIONS.join(" ")
        );
        write_program(&path, script.as_bytes());
        path
    }

    /// Starts a command at a terminal of 24 lines and 80 columns; returns the other side of the terminal.
    pub(super) fn at_terminal(&self, arguments: &[&str]) -> (OwnedFd, Child) {
        let (master, slave) = terminal();
        resize(&master, 24, 80);
        let copy = || Stdio::from(slave.try_clone().unwrap());
        let child = self.command(arguments).stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        (master, child)
    }

    pub(super) fn outcome(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        text(deadline::output(&mut self.command(arguments)))
    }

    /// Runs a command that succeeds; returns its standard output, trimmed.
    pub(super) fn well(&self, arguments: &[&str]) -> String {
        let (status, shown, errors) = self.outcome(arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {errors}");
        shown.trim_end().to_owned()
    }

    /// Runs a script without a network, and removes the container.
    pub(super) fn run(&self, options: &[&str], script: &str) -> (Option<i32>, String, String) {
        let before = ["run", "--rm", "--network", "none"];
        self.outcome(&[&before[..], options, &["busybox", "/bin/sh", "-c", script]].concat())
    }

    /// Starts a script in the background; returns when it has written a line.
    pub(super) fn start(&self, name: &str, options: &[&str], script: &str) {
        let before = ["run", "-d", "--name", name];
        self.well(&[&before[..], options, &["busybox", "/bin/sh", "-c", script]].concat());
        let mut logs = self.command(&["logs", "-f", name]).spawn().unwrap();
        let _deadline = Deadline::of(&logs);
        let mut byte = [0];
        let read = std::io::Read::read(logs.stdout.as_mut().unwrap(), &mut byte).unwrap();
        logs.kill().unwrap();
        logs.wait().unwrap();
        assert_eq!(read, 1, "{:?}", self.outcome(&["logs", name]));
    }

    /// Asserts that no state is left, and waits for the end of all processes: conmon ends after podman.
    pub(super) fn assert_gone(&self) {
        assert_eq!(self.left(), 0);
        let begun = std::time::Instant::now();
        while let [process, ..] = processes(self.folder.path().to_str().unwrap()).as_slice() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{process:?}");
            std::thread::yield_now();
        }
    }

    /// The containers that the runtime still has.
    pub(super) fn left(&self) -> usize {
        fs::read_dir(self.root()).map_or(0, Iterator::count)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "-fa", "-t", "0"]).output();
    }
}

/// Returns a program that is whit-runtime with these options, and a kernel. Engines do not pass on the variable for the cache.
pub(super) fn runtime_script(options: &str) -> String {
    let kernel = kernel(Flavour::Cloud, None);
    format!(
        "#!/bin/sh\nexport WHIT_CACHE={}\nexec {} {options} --kernel {} --modules {} --init {} --accel tcg \"$@\"\n",
        workspace::target().join("tests-cache").display(),
        tool("whit-runtime").display(),
        kernel.vmlinuz.display(),
        kernel.modules.display(),
        init().display()
    )
}

pub(super) fn text(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Returns the processes whose command line has this text.
pub(super) fn processes(part: &str) -> Vec<(i32, String)> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let line = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    pids.filter_map(line).filter(|(_, line)| line.contains(part)).collect()
}

pub(super) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
