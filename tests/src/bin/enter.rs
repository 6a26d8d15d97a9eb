//! Becomes the init of a machine made of namespaces: the last step before the real init, and the guard of the host.
//!
//! The init mounts over /dev, /proc and /tmp and calls reboot(2). This program is started by `namespace::Machine` in
//! namespaces that unshare(1) has made; it goes on only when it is PID 1 and shares none of them with the host,
//! makes the unpacked initramfs the only root, waits for a byte, and executes `/init`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs::{self, File, read_link};
use std::io::{IsTerminal, Read, stdin};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{getpid, pivot_root};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

/// The nodes of /dev. full is left out: the init creates missing nodes. A tmpfs takes the place of devtmpfs, and the init keeps it.
/// devtmpfs has one instance for the whole kernel: an init that mounted it would see the host's nodes and leave empty mount points
/// among them.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0), ("ptmx", 5, 2)];

/// The arguments, in the order of the command line.
struct Request {
    /// The unpacked initramfs.
    tree: PathBuf,
    /// The file that /proc/cmdline shows.
    command_line: PathBuf,
    /// A FIFO; a byte from it starts the init.
    go: PathBuf,
    /// The host's namespaces, as /proc/self/ns names them.
    host_namespaces: Vec<String>,
    /// Directories that are mounts already when the init starts.
    mounted: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let request = (|| {
        Some(Request {
            tree: arguments.next()?,
            command_line: arguments.next()?,
            go: arguments.next()?,
            host_namespaces: arguments.next()?.to_str()?.split(',').map(str::to_owned).collect(),
            mounted: arguments.by_ref().collect(),
        })
    })();
    let Some(request) = request else {
        eprintln!("enter: TREE COMMAND_LINE GO HOST_NAMESPACES [MOUNTED]...; namespace::Machine starts this");
        return ExitCode::FAILURE;
    };
    // Returns only when something went wrong.
    match enter(&request) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("enter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn enter(request: &Request) -> Result<std::convert::Infallible, Box<dyn Error>> {
    check_namespaces(&request.host_namespaces)?;
    // From here on the host sees no mount of this process.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let host_pid = read_link("/proc/self")?;
    let mut go = File::open(&request.go)?;
    prepare_tree(request)?;
    protect_clock_and_modules()?;
    detach_the_host(&request.tree)?;
    // The kernel's name of a machine that has none yet (init/version.c).
    rustix::system::sethostname(b"(none)")?;

    println!("enter: ready as {}", host_pid.display());
    go.read_exact(&mut [0])?;
    // The environment of the kernel's init (init/main.c, envp_init), with an option that the kernel does not know.
    let kernels = [("HOME", "/"), ("TERM", "linux"), ("BOOT_IMAGE", "/vmlinuz")];
    Err(Command::new("/init").env_clear().envs(kernels).exec().into())
}

/// Removes the capabilities to set the clock and to load modules: all namespaces share these.
fn protect_clock_and_modules() -> Result<(), Box<dyn Error>> {
    for capability in [CapabilitySet::SYS_TIME, CapabilitySet::SYS_MODULE] {
        remove_capability_from_bounding_set(capability)?;
    }
    Ok(())
}

/// Checks, before any effect, that every namespace that the init could harm is not the host's.
fn check_namespaces(host_namespaces: &[String]) -> Result<(), Box<dyn Error>> {
    if !getpid().is_init() {
        return Err("this is not PID 1 of a namespace".into());
    }
    for kind in ["pid", "mnt", "net", "uts", "ipc", "cgroup"] {
        let own = read_link(format!("/proc/self/ns/{kind}"))?;
        let own = own.to_str().ok_or("a namespace without a name")?;
        let is_named = host_namespaces.iter().any(|host| host.starts_with(&format!("{kind}:[")));
        if !is_named || host_namespaces.iter().any(|host| host == own) {
            return Err(format!("the {kind} namespace is the host's").into());
        }
    }
    Ok(())
}

/// Mounts /proc and /dev in the tree: the two that the init must not mount here.
fn prepare_tree(request: &Request) -> Result<(), Box<dyn Error>> {
    let tree = &request.tree;
    mount_bind_recursive(tree, tree)?;
    let proc = directory(tree, "proc")?;
    mount("proc", &proc, "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    mount_bind(&request.command_line, proc.join("cmdline"))?;
    // A byte in this file can act on the host's disks. A kernel without CONFIG_MAGIC_SYSRQ has none.
    let trigger = proc.join("sysrq-trigger");
    if trigger.exists() {
        mount_bind("/dev/null", trigger)?;
    }
    // So can settings that belong to no namespace; those of the network belong to this one.
    let settings = proc.join("sys");
    mount_bind(&settings, &settings)?;
    mount_bind(settings.join("net"), settings.join("net"))?;
    mount_remount(&settings, MountFlags::BIND | MountFlags::RDONLY, "")?;

    let dev = directory(tree, "dev")?;
    mount("dev", &dev, "tmpfs", MountFlags::NOSUID, Some(c"mode=0755"))?;
    for (name, major, minor) in NODES {
        make_node(&dev.join(name), major, minor)?;
    }
    let console = dev.join("console");
    if stdin().is_terminal() {
        File::create(&console)?;
        mount_bind(read_link("/proc/self/fd/0")?, &console)?;
    } else {
        // Never the host's console: a node of the null device.
        make_node(&console, 1, 3)?;
    }
    for mounted in &request.mounted {
        let directory = directory(tree, mounted.strip_prefix("/")?)?;
        mount("before", &directory, "tmpfs", MountFlags::empty(), None)?;
    }
    Ok(())
}

fn directory(tree: &Path, name: impl AsRef<Path>) -> std::io::Result<PathBuf> {
    let directory = tree.join(name);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Creates a device node of mode 0666, whatever the umask.
fn make_node(path: &Path, major: u32, minor: u32) -> Result<(), Box<dyn Error>> {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))?;
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?)
}

/// Makes the tree the root of this mount namespace, and detaches the host's root.
fn detach_the_host(tree: &Path) -> Result<(), Box<dyn Error>> {
    std::env::set_current_dir(tree)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one, and taken off.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    Ok(())
}
