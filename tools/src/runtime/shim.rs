//! The shim: the process of a container. It prepares the machine, and runs it once the container is started. Its exit code is the
//! workload's.
//!
//! Its main thread has the container's tree as its root, where engines look for the container's files. Another thread, with the host's
//! root, does the work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use oci_spec::runtime::Spec;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;

use super::Settings;
use super::config::{self, Machine, Network};
use super::control::{Connection, Listener};
use super::network::{self, Cards};
use super::oom::Oom;
use super::{disk, state, tree};
use crate::cli::{output, temporary};
use crate::initramfs;
use crate::machine::Machine as Architecture;
use crate::vm::child::keep_descriptors;
use crate::vm::{Cache, Daemon, Drivers, Kernel, PORT, may_be_unsigned};

mod running;

use running::{Order, Parts};

/// The signals that are passed to the workload.
pub(super) const PASSED: [i32; 9] = {
    use signal_hook::consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGCONT, SIGWINCH]
};

/// Runs the shim in the container's folder, which is the working directory. `report` is the number of the descriptor on which it
/// reports that the container was created, or why not. `persist` is conmon's folder for the container. Returns the exit code.
#[must_use]
pub fn run(bundle: &Path, persist: Option<&Path>, report: u32, settings: &Settings) -> u8 {
    let mut report = match OpenOptions::new().write(true).open(format!("/proc/self/fd/{report}")) {
        Ok(report) => report,
        Err(error) => {
            output::say(format_args!("whit-runtime: shim: {error}; only `create` starts it"));
            return super::commands::FAILED;
        }
    };
    let prepared = prepare(bundle, persist, settings);
    let (point, worker) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = writeln!(report, "{error}"); // its reader has gone
            return super::commands::FAILED;
        }
    };
    if let Err(error) = tree::enter(&point) {
        let _ = writeln!(report, "the tree as a root: {error}");
        return super::commands::FAILED;
    }
    if writeln!(report).is_err() {
        return super::commands::FAILED; // `create` was killed: the machine will not be started
    }
    drop(report);
    worker.join().unwrap_or(super::commands::FAILED)
}

type Worker = thread::JoinHandle<u8>;

/// Prepares a machine. Returns the path of its tree, and the thread that runs it.
fn prepare(bundle: &Path, persist: Option<&Path>, settings: &Settings) -> Result<(PathBuf, Worker), String> {
    keep_descriptors();
    let locks = state::lock(Path::new("")).map_err(|error| format!("the container's locks: {error}"))?;
    let spec = load(bundle)?;
    let machine = Machine::of(&spec, bundle, settings.annotations)?;
    if machine.terminal {
        // Both fail only if create has not given it a terminal.
        let _ = setsid();
        let terminal = io::stdin();
        let _ = ioctl_tiocsctty(&terminal);
        if let Ok(mut modes) = tcgetattr(&terminal) {
            modes.make_raw();
            let _ = tcsetattr(&terminal, OptionalActions::Now, &modes);
        }
    } else {
        let _ = setsid();
    }
    let signals = Signals::new(PASSED).map_err(|error| format!("signals: {error}"))?;
    temporary::leave_signals();
    let cache = Cache::open()?;
    let files = files(&machine, settings, &cache)?;
    network::join(&machine.network)?;
    let cards = network::cards(&machine.network)?;
    let words = running::words(&machine, &cards, files.why_disk.is_some())?;
    let point = tree::assemble(&machine)?;
    let listener = Listener::new(Path::new(".")).map_err(|error| format!("the container's socket: {error}"))?;
    let (sender, orders) = channel();
    listen(listener, sender.clone());
    pass_signals(signals, sender);
    let oom = Oom::new([Some(bundle), persist].into_iter().flatten());
    let parts = Parts { words, machine, point: point.clone(), bundle: bundle.to_owned(), files, cards, orders, oom };
    let worker = thread::spawn(move || {
        let code = parts.run();
        drop(locks);
        code
    });
    Ok((point, worker))
}

/// Reads the configuration of a bundle.
pub(super) fn load(bundle: &Path) -> Result<Spec, String> {
    let path = bundle.join("config.json");
    let read = || config::read(&fs::read(&path).map_err(|error| error.to_string())?);
    read().map_err(|error| format!("{}: {error}", path.display()))
}

/// The files and words that the machine boots from.
pub(super) struct Files {
    kernel: PathBuf,
    initramfs: PathBuf,
    accelerator: String,
    /// Whether the init starts programs beside the workload.
    has_exec: bool,
    /// Why the root is a disk, and not the folder itself.
    why_disk: Option<String>,
}

/// The architecture of the machines: KVM has no other.
const HOST: Architecture = Architecture::HOST;

/// Refuses a kernel that is not for the machine.
fn check_machine(kernel: &Path, machine: Option<Architecture>) -> Result<(), String> {
    match machine.filter(|machine| *machine != HOST) {
        Some(machine) => Err(format!("{}: the kernel is for {machine}, but the machine is {HOST}", kernel.display())),
        None => Ok(()),
    }
}

/// Makes the files, or finds them in the cache.
fn files(machine: &Machine, settings: &Settings, cache: &Cache) -> Result<Files, String> {
    let annotated = |name: &str| machine.annotations.get(name);
    let path = |name: &str, setting: &Option<PathBuf>| annotated(name).map(PathBuf::from).or_else(|| setting.clone());
    let kernel = match path("kernel", &settings.kernel) {
        Some(kernel) => Kernel::given(&kernel, path("modules", &settings.modules).as_deref())?,
        None => Kernel::find(cache, HOST, |line| output::say(format_args!("whit-runtime: {line}")))?,
    };
    check_machine(&kernel.vmlinuz, kernel.machine)?;
    let lacks = |module: &str, what: &str| {
        let line = || format!("{}: the kernel has no {module} ({what})", kernel.vmlinuz.display());
        (!kernel.has(module)).then(line)
    };
    if let Some(error) = lacks(PORT, "CONFIG_VIRTIO_CONSOLE") {
        return Err(error);
    }
    let no_daemon = || (!Daemon::is_installed()).then(|| "virtiofsd is not installed".to_owned());
    let why_disk = lacks("virtiofs", "CONFIG_VIRTIO_FS").or_else(no_daemon);
    if let Some(why) = &why_disk {
        disk::check(&machine.mounts, why)?;
    }
    let init = initramfs::find_init(settings.init.as_deref(), HOST)?;
    let bytes = fs::read(&init).map_err(|error| format!("{}: {error}", init.display()))?;
    let has_exec = initramfs::has_exec(&bytes);
    if !initramfs::has_streams(&bytes) {
        return Err(format!("{}: an init without the feature \"streams\"; whole has it", init.display()));
    }
    let mut needed = vec!["virtio_pci", PORT];
    needed.extend(if why_disk.is_some() { &["virtio_blk", "ext4"][..] } else { &["virtiofs"] });
    if machine.network != Network::None {
        needed.push("virtio_net");
    }
    let words = annotated("append").map(String::as_str).unwrap_or_default();
    let may_be_unsigned = may_be_unsigned(words);
    let drivers = Drivers { needed, optional: Vec::new(), more: &[], sets: &[], may_be_unsigned, rootfs: None };
    let initramfs = drivers.initramfs(cache, &kernel, init)?;
    let accelerator = annotated("accel").or(settings.accelerator.as_ref()).cloned().unwrap_or_default();
    let kernel = kernel.unpacked(cache).unwrap_or(kernel.vmlinuz);
    Ok(Files { kernel, initramfs, accelerator, has_exec, why_disk })
}

/// Starts a thread that takes requests.
fn listen(listener: Listener, orders: Sender<Order>) {
    thread::spawn(move || {
        loop {
            let (connection, request, files) = listener.next();
            let order = match request["do"].as_str() {
                Some("start") => Order::Start(connection),
                Some("exec") => Order::Exec(connection, request, files),
                Some("kill") => match u8::try_from(request["signal"].as_u64().unwrap_or_default()) {
                    Ok(signal) => Order::Signal(signal, Some(connection)),
                    Err(_) => continue,
                },
                _ => {
                    connection.answer(Err("unknown request".to_owned()));
                    continue;
                }
            };
            if orders.send(order).is_err() {
                return; // the machine has ended
            }
        }
    });
}

/// Starts a thread that takes this process's own signals.
fn pass_signals(mut signals: Signals, orders: Sender<Order>) {
    thread::spawn(move || {
        for signal in signals.forever() {
            let order = if signal == SIGWINCH { Order::Resize } else { Order::Signal(signal as u8, None) };
            if orders.send(order).is_err() {
                return;
            }
        }
    });
}

/// Returns the size of the terminal, rows and columns.
fn terminal_size() -> Option<[u16; 2]> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    (size.ws_row > 0).then_some([size.ws_row, size.ws_col])
}

/// Returns this process's own descriptor as a file.
fn own(descriptor: &dyn AsFd) -> Option<File> {
    descriptor.as_fd().try_clone_to_owned().ok().map(File::from)
}
