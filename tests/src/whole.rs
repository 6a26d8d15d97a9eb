//! Whole machines in QEMU: a kernel of Debian's, the initramfs with the real init, a disk made by mkraw's library, and a console
//! with a shell, which tests read from and type into.
//!
//! The files that machines boot are made once per process, below `target/whole`. A machine that writes gets a copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use whit::contract::{PREFIX, STAGE_SEPARATOR, TIMELINE};
use whit_tools::cli::output::Output;
use whit_tools::compress::Compression;
use whit_tools::disk::image::{self, Options};
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::bzimage;
use whit_tools::kernel::debian::Kernel;
use whit_tools::runrecord::RunRecord;
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Machine, Nic};
use xtask::{images, workspace};

use crate::debian::store;
use crate::init;
use crate::once::Once;

/// An emulated machine on a busy host boots within seconds; minutes are a failure.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The drivers for virtio's disk and network card, and the file system, where a kernel has them as modules.
pub const VIRTIO: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_net", "ext4"];

/// The drivers of the power button, where a kernel has them as modules.
pub const BUTTON: [&str; 2] = ["evdev", "button"];

/// Whether the initramfs has a shell for the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// The init alone: the machine ends with the workload.
    No,
    /// The init and busybox.
    Busybox,
}

/// Returns a machine that boots `kernel` with whit's initramfs, one virtio network card, and no disk yet.
///
/// The kernel logs errors only, the init logs everything (`quiet` would silence both), and a panic ends QEMU. The kernel's tests of
/// its own ciphers take a fifth of an emulated boot (crypto/algboss.c) and are disabled. So is the check of its timer, which fails
/// when a busy host runs QEMU too late (arch/x86/kernel/apic/io_apic.c, check_timer()).
#[must_use]
pub fn machine(kernel: &Kernel, modules: &[&str], shell: Shell) -> CommandLine {
    CommandLine::new(unpacked(kernel))
        .initrd(initramfs(kernel, modules, shell))
        .accelerator(Accelerator::Tcg)
        .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check")
}

/// Unpacks the ELF file in a vmlinuz (Documentation/arch/x86/boot.rst, payload_offset), which QEMU starts by its PVH note. Unpacking
/// in the emulated machine takes a third of a boot. The tests of runvm and the demo boot vmlinuz.
#[must_use]
pub fn unpacked(kernel: &Kernel) -> PathBuf {
    let name = format!("vmlinux-{}", kernel.release);
    once(&name, |path| std::fs::write(path, bzimage::content(&kernel.vmlinuz).unwrap()).unwrap())
}

/// Returns a [`machine`] for a workload without network and shell, with a virtio disk that is not written to.
#[must_use]
pub fn alone(kernel: &Kernel, disk: &Path) -> CommandLine {
    let machine = machine(kernel, &VIRTIO, Shell::No).nic(Nic::None).append("root=/dev/vda whit.net=off");
    machine.disk(DiskInterface::Virtio, disk).snapshot()
}

/// Returns an initramfs with the init, and with these modules where the kernel has them as such.
#[must_use]
pub fn initramfs(kernel: &Kernel, modules: &[&str], shell: Shell) -> PathBuf {
    let name = format!("{}-{}-{shell:?}.cpio", kernel.release, modules.join("-"));
    once(&name, |path| {
        let recipe = Recipe {
            init: init(),
            busybox: (shell == Shell::Busybox).then(busybox),
            modules: Some(kernel.modules.clone()),
            load: modules.iter().map(|module| (*module).to_owned()).collect(),
            ..Recipe::default()
        };
        let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
        initramfs::write(&tree, path, &Packing::new(Compression::None)).unwrap_or_else(|error| panic!("{error}"));
    })
}

/// Returns a statically linked busybox: many programs in one file.
#[must_use]
pub fn busybox() -> PathBuf {
    store().busybox().unwrap_or_else(|error| panic!("{error}"))
}

/// Returns a disk with Debian's nginx, which daemonises.
#[must_use]
pub fn nginx_disk() -> PathBuf {
    let tar = images::nginx::tar(&mut store()).unwrap_or_else(|error| panic!("{error}"));
    let record = RunRecord { entrypoint: vec!["/usr/sbin/nginx".to_owned()], ..RunRecord::default() };
    once("nginx.img", |path| make_disk(File::open(&tar).unwrap(), &record, path))
}

/// Returns a disk with [`busybox_tar`]'s files.
#[must_use]
pub fn busybox_disk() -> PathBuf {
    let tar = busybox_tar();
    once("busybox.img", |path| make_disk(File::open(&tar).unwrap(), &RunRecord::default(), path))
}

/// Returns a disk with [`busybox_tar`]'s files after `change` has changed the folder that holds them.
#[must_use]
pub fn busybox_disk_with(name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let root = busybox_root();
    change(root.path());
    disk(name, root.path(), &RunRecord::default())
}

/// Returns a container image with busybox, its shell, and the empty files and directories that container engines mount over.
#[must_use]
pub fn busybox_tar() -> PathBuf {
    let root = busybox_root();
    once("busybox.tar", |path| std::fs::write(path, tar_of(root.path())).unwrap())
}

fn busybox_root() -> TempDir {
    crate::use_standard_umask();
    let root = tempfile::tempdir().unwrap();
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        std::fs::create_dir(root.path().join(directory)).unwrap();
    }
    std::fs::copy(busybox(), root.path().join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.path().join("bin/sh")).unwrap();
    for name in ["hostname", "hosts", "resolv.conf"] {
        std::fs::write(root.path().join("etc").join(name), "").unwrap();
    }
    root
}

/// Returns a disk with one file in it: busybox, as `/busybox`.
#[must_use]
pub fn one_program_disk() -> PathBuf {
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(busybox(), root.path().join("busybox")).unwrap();
    disk("one-program.img", root.path(), &RunRecord::default())
}

/// Returns a disk with a directory's files, made through a tar.
fn disk(name: &str, root: &Path, record: &RunRecord) -> PathBuf {
    once(name, |path| make_disk(&*tar_of(root), record, path))
}

fn tar_of(root: &Path) -> Vec<u8> {
    let tar = Command::new("tar").arg("--directory").arg(root).args(["--owner=0", "--group=0", "-c", "."]).output();
    tar.unwrap().stdout
}

pub(crate) fn make_disk(tar: impl Read + Send, record: &RunRecord, path: &Path) {
    let options = Options { run_record: record.encode().unwrap(), ..Options::default() };
    let mut output = Output::create(path).unwrap();
    image::build(tar, output.file(), &options).unwrap();
    output.commit().unwrap();
}

/// Returns the file `name` below `target/whole`; the first caller in this process makes it.
pub(crate) fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    static MADE: Once = Once::new();
    MADE.get(name, || {
        let folder = workspace::target().join("whole");
        std::fs::create_dir_all(&folder).unwrap();
        // It gets its name when it is complete: another program's tests may read it.
        let unfinished = tempfile::tempdir_in(&folder).unwrap();
        let (complete, path) = (unfinished.path().join(name), folder.join(name));
        make(&complete);
        std::fs::rename(complete, &path).unwrap();
        path
    })
}

/// A copy of a disk, for machines that write to it.
pub struct Copy {
    directory: TempDir,
}

impl Copy {
    /// Copies `disk`.
    #[must_use]
    pub fn of(disk: &Path) -> Self {
        let directory = tempfile::tempdir_in(workspace::target()).unwrap();
        let copy = Self { directory };
        // The copy keeps the holes.
        let mut cp = Command::new("cp");
        let copied = cp.args(["--sparse=always", "--reflink=auto"]).arg(disk).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        copy
    }

    /// Returns the copy.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }
}

/// Asserts that the guest opened files of a disk and left it in order: e2fsck finds no error, and the file system was cleanly
/// unmounted.
pub fn assert_clean(disk: &Path) {
    let described = assert_not_dirty(disk);
    let mounted = described.lines().find_map(|line| line.strip_prefix("Last mounted on:")).unwrap_or_default();
    assert_ne!(mounted.trim(), "<not available>", "the guest had it mounted: {described}");
}

/// Asserts that a disk is in order, whether or not the guest opened a file of it; returns the output of dumpe2fs.
pub fn assert_not_dirty(disk: &Path) -> String {
    let checked = Command::new("e2fsck").arg("-fn").arg(disk).output().expect("apt-get install e2fsprogs");
    assert!(checked.status.success(), "e2fsck -fn: {}", String::from_utf8_lossy(&checked.stdout));
    let described = Command::new("dumpe2fs").arg("-h").arg(disk).output().unwrap();
    let described = String::from_utf8_lossy(&described.stdout).into_owned();
    let field = |name: &str| described.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    assert_eq!(field("Filesystem state:"), "clean");
    // The journal has nothing to replay.
    assert!(!field("Filesystem features:").contains("needs_recovery"), "{described}");
    described
}

/// A running machine and its console. Every failure shows the command line and the console.
pub struct Guest(Machine);

impl Guest {
    /// Starts it.
    #[must_use]
    pub fn start(command: &CommandLine) -> Self {
        Self(Machine::start(command).unwrap())
    }

    /// Returns the machine itself.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.0
    }

    /// Waits for a line that contains `marker`, after the last line waited for.
    pub fn line(&mut self, marker: &str) -> String {
        self.0.wait_for_line(marker, DEADLINE).unwrap()
    }

    /// Types a line into the shell, at its prompt.
    pub fn type_line(&mut self, line: &str) {
        self.0.wait_for("# ", DEADLINE).unwrap();
        self.0.send(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Runs a command in the shell; returns what it printed, and `$?` as the last line.
    pub fn run(&mut self, command: &str) -> String {
        // The shell echoes what is typed; the marks are not expanded in the echo.
        self.type_line(&format!("echo begin$((1)); {command}; echo end$((1)) $?"));
        while !self.0.next_line(DEADLINE).unwrap().ends_with("begin1") {}
        let mut shown = String::new();
        loop {
            let line = self.0.next_line(DEADLINE).unwrap();
            if let Some(status) = line.trim_end().strip_prefix("end1 ") {
                return shown + status;
            }
            shown.push_str(&line);
            shown.push('\n');
        }
    }

    /// Asserts that `text` contains each of `parts`.
    pub fn assert_has(&self, text: &str, parts: &[&str]) {
        for part in parts {
            self.assert(text.contains(part), &format!("no \"{part}\" in:\n{text}"));
        }
    }

    /// Asserts a condition; `what` describes its failure.
    pub fn assert(&self, is_so: bool, what: &str) {
        if !is_so {
            panic!("{}", self.0.failed(what.to_owned()));
        }
    }

    /// Waits for the machine's orderly end; returns its whole console output. A kernel panic or oops is a failure.
    pub fn end(&mut self) -> String {
        let status = self.0.wait(DEADLINE).unwrap();
        self.assert(status.success(), &format!("QEMU ended with {status}"));
        let console = self.0.transcript();
        // Messages of a failing kernel (kernel/panic.c, arch/x86/kernel/dumpstack.c).
        for trouble in ["Kernel panic", "not syncing", "Oops", "BUG:", "Call Trace", "a bug: "] {
            self.assert(!console.contains(trouble), &format!("the console shows \"{trouble}\""));
        }
        console
    }
}

/// Returns a free TCP port of this host.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Connects to a server on a local port.
#[must_use]
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Returns the response of a web server on a local port to a request for `/`.
#[must_use]
pub fn fetch(port: u16) -> String {
    fetch_path(port, "/")
}

/// [`fetch`] of another path.
#[must_use]
pub fn fetch_path(port: u16, path: &str) -> String {
    let mut stream = connect(port);
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the init's messages that start with `subject`, without the prefix `whit: `.
#[must_use]
pub fn init_messages<'a>(console: &'a str, subject: &str) -> Vec<&'a str> {
    // With `quiet`, the first line continues the boot loader's last line.
    let lines = console.lines().filter_map(|line| Some(line.split_once(PREFIX)?.1.trim_end()));
    lines.filter(|line| line.starts_with(subject)).collect()
}

/// Parses the stages of a console's `whit: timeline` line, in microseconds since the kernel's start.
#[must_use]
pub fn timeline(console: &str) -> BTreeMap<String, u64> {
    let line = init_messages(console, TIMELINE)[0];
    let stage = |stage: &str| {
        let (name, time) = stage.split_once(' ').unwrap();
        (name.to_owned(), time.trim().parse().unwrap())
    };
    line[TIMELINE.len()..].split(STAGE_SEPARATOR).map(stage).collect()
}
