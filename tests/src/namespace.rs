//! The real init as PID 1 of a machine made of namespaces. It starts in milliseconds and ends with its last process.
//!
//! [`Machine`] is the only way in which tests start the init outside QEMU. unshare(1) makes the namespaces; the program
//! `enter` checks that none is the host's, makes the unpacked initramfs the only root, and executes `/init`.
//! A [`Lan`] connects it to a DHCP server in a namespace of its own; the machine's interfaces are never touched.
//!
//! reboot(2) there ends the namespace: pid_namespaces(7), "reboot(2) and PID namespaces".

pub mod frames;
mod lan;
mod running;
pub mod servers;
mod settings;
mod strace;

pub use lan::{Lan, Server};
pub use running::{End, Finished, Prepared, Running};
pub use strace::Strace;

use std::fs::{self, Permissions};
use std::io::pipe;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tempfile::TempDir;
use whit::contract::{ROOT, ROOTFS, path};

use crate::executable::{self, copy_program};
use crate::programs::{enter, init};
use crate::terminal::terminal;

/// The namespaces that are the machine's own.
const NAMESPACES: [&str; 6] = ["pid", "mnt", "net", "uts", "ipc", "cgroup"];

/// A machine that is not started yet: its initramfs, its command line, its console.
pub struct Machine {
    /// Has `initramfs`, `cmdline` and `go`; removed with the machine.
    directory: TempDir,
    command_line: Vec<String>,
    mounted: Vec<String>,
    terminal: bool,
    open_files: Option<u32>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// Creates a machine that has only the init, and /mnt as mkcpio makes it.
    #[must_use]
    pub fn new() -> Self {
        crate::use_standard_umask();
        let directory = tempfile::Builder::new().prefix("whit-machine-").tempdir().expect("a temporary directory");
        let machine =
            Self { directory, command_line: Vec::new(), mounted: Vec::new(), terminal: false, open_files: None };
        fs::create_dir_all(machine.inside(path(ROOT))).expect("the directory of the root");
        machine.program("/init", &init())
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.directory.path().join("initramfs").join(path.trim_start_matches('/'))
    }

    /// Returns a path in the initramfs; creates its directory.
    fn place(&self, path: &str) -> PathBuf {
        let place = self.inside(path);
        fs::create_dir_all(place.parent().expect("a directory")).expect("the file's directory");
        place
    }

    /// Appends to the kernel command line.
    #[must_use]
    pub fn command_line(mut self, words: &str) -> Self {
        self.command_line.push(words.to_owned());
        self
    }

    /// Adds a file to the initramfs; files below `/rootfs` are in the root.
    #[must_use]
    pub fn file(self, path: &str, contents: &str) -> Self {
        self.bytes(path, contents.as_bytes())
    }

    /// Adds a binary file to the initramfs.
    #[must_use]
    pub fn bytes(self, path: &str, contents: &[u8]) -> Self {
        executable::write(&self.place(path), contents, 0o644);
        self
    }

    /// Adds a program to the initramfs.
    #[must_use]
    pub fn program(self, path: &str, program: &Path) -> Self {
        copy_program(program, &self.place(path));
        self
    }

    /// Sets the mode of a file.
    #[must_use]
    pub fn mode(self, path: &str, mode: u32) -> Self {
        fs::set_permissions(self.inside(path), Permissions::from_mode(mode)).expect("a mode");
        self
    }

    /// Adds a symbolic link to the initramfs.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.place(path)).expect("a link");
        self
    }

    /// Adds a FIFO, a socket or a character device to the initramfs.
    #[must_use]
    pub fn special(self, path: &str, kind: FileType, (major, minor): (u32, u32)) -> Self {
        mknodat(CWD, self.place(path), kind, Mode::from_raw_mode(0o666), makedev(major, minor))
            .expect("a special file");
        self
    }

    /// Makes a directory.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        fs::create_dir_all(self.inside(path)).expect("a directory");
        self
    }

    /// Removes an empty directory.
    #[must_use]
    pub fn without(self, path: &str) -> Self {
        fs::remove_dir(self.inside(path)).expect("an empty directory");
        self
    }

    /// Adds busybox and its applets as the root: `/rootfs/bin`, and no other directory.
    #[must_use]
    pub fn busybox_root(self) -> Self {
        self.busybox(&format!("{}/bin", path(ROOTFS)))
    }

    /// Adds busybox and its applets to the initramfs, so that the console has a shell.
    #[must_use]
    pub fn shell(self) -> Self {
        self.busybox("/bin")
    }

    fn busybox(self, directory: &str) -> Self {
        const BUSYBOX: &str = "/bin/busybox";
        let list = Command::new(BUSYBOX).arg("--list").output().expect("apt-get install busybox-static");
        let machine = self.program(&format!("{directory}/busybox"), Path::new(BUSYBOX));
        let directory = machine.inside(directory);
        for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", directory.join(applet)).expect("a link");
        }
        machine
    }

    /// Adds a busybox root with this script as its entrypoint.
    #[must_use]
    pub fn script(self, script: &str) -> Self {
        let file = format!("{}/script", path(ROOTFS));
        self.busybox_root().file(&file, script).command_line("entrypoint=\"/bin/sh /script\"")
    }

    /// Mounts a tmpfs on a directory before the init starts.
    #[must_use]
    pub fn mounted(mut self, path: &str) -> Self {
        self.mounted.push(path.to_owned());
        self
    }

    /// Makes the console a terminal instead of a pipe.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Limits open files (RLIMIT_NOFILE) in the machine; PID 1 has no capability to raise the limit.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Starts the machine, and waits for its end.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.spawn().finish()
    }

    /// Starts the machine.
    #[track_caller]
    pub fn spawn(self) -> Running {
        self.prepare().start()
    }

    /// Makes the namespaces; the init waits in them for [`Prepared::start`].
    #[track_caller]
    pub fn prepare(self) -> Prepared {
        let directory = self.directory.path();
        let (command_line, go) = (directory.join("cmdline"), directory.join("go"));
        fs::write(&command_line, self.command_line.join(" ") + "\n").expect("the command line");
        mknodat(CWD, &go, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        // Opened for reading too: open(2) then does not wait for the other end.
        let go_end = fs::OpenOptions::new().read(true).write(true).open(&go).expect("the FIFO");

        // The kernel starts its first program with no signal ignored; nohup(1) or a shell's & may have left some ignored.
        let mut command = Command::new("env");
        command.arg("--default-signal");
        // When this thread ends, unshare is killed, and with it PID 1 and every process of its namespace.
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        if let Some(limit) = self.open_files {
            command.args(["--bounding-set", "-sys_resource", "prlimit", &format!("--nofile={limit}")]);
        }
        command.args(["unshare", "--kill-child", "--fork"]);
        command.args(["--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--propagation", "private"]);
        command.arg(enter()).arg(directory.join("initramfs")).args([&command_line, &go]);
        command.arg(host_namespaces().join(",")).args(&self.mounted);
        let (console, keyboard) = if self.terminal {
            let (terminal, other_side) = terminal();
            let copy = || other_side.try_clone().expect("a descriptor");
            command.stdin(copy()).stdout(copy()).stderr(copy());
            (terminal.try_clone().expect("a descriptor"), Some(terminal))
        } else {
            let (reader, writer) = pipe().expect("a pipe");
            command.stdin(Stdio::null()).stderr(writer.try_clone().expect("a descriptor")).stdout(writer);
            (OwnedFd::from(reader), None)
        };
        let child = command.spawn().expect("apt-get install util-linux");
        // Closes its copies of the console's other side: while they are open here, the output does not end.
        drop(command);
        Prepared::wait_for(child, console, keyboard, go_end, self.directory)
    }
}

/// Returns the names of this process's namespaces.
fn host_namespaces() -> Vec<String> {
    namespaces("self")
}

fn namespaces(process: &str) -> Vec<String> {
    let name = |kind| {
        let link = fs::read_link(format!("/proc/{process}/ns/{kind}")).expect("a namespace");
        link.to_str().expect("its name").to_owned()
    };
    NAMESPACES.into_iter().map(name).collect()
}
