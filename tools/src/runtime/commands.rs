//! The commands of the runtime.

use std::io::{BufRead, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use oci_spec::runtime::{Hooks, Spec};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use serde_json::{Value, json};

use super::control::Connection;
use super::state::{Container, Root, VERSION};
use super::{Settings, hooks, oom, shim, signal};
use crate::cli::output;

/// The exit code of a runtime that fails, and of a machine that does not run.
pub(super) const FAILED: u8 = 125;

/// The arguments of `create`.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// The container's id.
    pub id: String,
    /// The folder with config.json.
    pub bundle: PathBuf,
    /// Gets the master side of the terminal.
    pub console_socket: Option<PathBuf>,
    /// Gets the process id.
    pub pid_file: Option<PathBuf>,
}

/// Creates a container: everything but the boot.
///
/// # Errors
/// A message of one line. Nothing of the container is left.
pub fn create(root: &Root, request: &Create, settings: &Settings) -> Result<(), String> {
    let bundle = std::path::absolute(&request.bundle).map_err(|error| describe(&request.bundle, &error))?;
    let spec = shim::load(&bundle)?;
    let has_terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or_default();
    let socket = match (has_terminal, &request.console_socket) {
        (true, None) => return Err("process.terminal: needs --console-socket".to_owned()),
        (false, Some(_)) => return Err("--console-socket: the configuration has no process.terminal".to_owned()),
        (_, socket) => socket.as_deref(),
    };
    let container = root.add(&request.id)?;
    let made = make(&container, &spec, &bundle, socket, request, settings);
    if made.is_err() {
        let _ = container.remove(); // the first error counts
    }
    made
}

fn make(
    container: &Container,
    spec: &Spec,
    bundle: &Path,
    console_socket: Option<&Path>,
    request: &Create,
    settings: &Settings,
) -> Result<(), String> {
    let mut child = spawn(container, bundle, console_socket, settings)?;
    let created = || {
        let annotations = serde_json::to_value(spec.annotations()).unwrap_or_default();
        container.store(bundle, child.id(), &annotations)?;
        let state = container.load()?;
        if let Some(hooks) = spec.hooks() {
            let all = [("prestart", hooks.prestart()), ("createRuntime", hooks.create_runtime())];
            for (kind, hooks) in all.into_iter().chain([("createContainer", hooks.create_container())]) {
                hooks::run(hooks.as_deref().unwrap_or_default(), kind, &state)?;
            }
        }
        match &request.pid_file {
            Some(path) => std::fs::write(path, child.id().to_string()).map_err(|error| describe(path, &error)),
            None => Ok(()),
        }
    };
    created().inspect_err(|_| {
        let _ = child.kill(); // it may have ended
        let _ = child.wait();
        container.wait_for_end();
    })
}

/// Starts the shim, and waits until it has prepared the machine.
fn spawn(
    container: &Container,
    bundle: &Path,
    console_socket: Option<&Path>,
    settings: &Settings,
) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let (report, reported) = std::io::pipe().map_err(|error| format!("a pipe: {error}"))?;
    // The shim opens it by its number.
    fcntl_setfd(&reported, FdFlags::empty()).map_err(|error| format!("a pipe: {error}"))?;
    let mut command = Command::new(&program);
    for (option, value) in
        [("--kernel", &settings.kernel), ("--modules", &settings.modules), ("--init", &settings.init)]
    {
        if let Some(value) = value {
            command.arg(option).arg(std::path::absolute(value).map_err(|error| describe(value, &error))?);
        }
    }
    if let Some(accelerator) = &settings.accelerator {
        command.args(["--accel", accelerator]);
    }
    command.args(settings.annotations.then_some("--allow-annotations"));
    command.args(["shim", "--report", &reported.as_raw_fd().to_string(), "--bundle"]).arg(bundle);
    if let Some(folder) = oom::persistent_folder() {
        command.arg("--persist").arg(folder);
    }
    // Temporary files are in the container's folder, with which they are removed. Their paths are relative: those of sockets are short.
    command.current_dir(&container.folder).env("TMPDIR", ".");
    if let Some(path) = console_socket {
        let slave = terminal(path).map_err(|error| describe(path, &error))?;
        let copy = || slave.try_clone().map_err(|error| format!("the terminal: {error}"));
        command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
    }
    let mut child = command.spawn().map_err(|error| describe(&program, &error))?;
    drop(reported);
    let mut line = String::new();
    let read = BufReader::new(report).read_line(&mut line);
    match (read, line.trim_end()) {
        (Ok(1..), "") => Ok(child),
        (_, error) => {
            let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
            container.wait_for_end();
            Err(if error.is_empty() { format!("the machine's process has ended ({status})") } else { error.to_owned() })
        }
    }
}

/// Opens a terminal, and sends its master side to the engine's socket. Returns the other side.
pub(super) fn terminal(socket: &Path) -> std::io::Result<OwnedFd> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let stream = UnixStream::connect(socket)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    // The data is the terminal's name, which engines ignore.
    sendmsg(&stream, &[IoSlice::new(b"terminal")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(slave)
}

/// Boots a container that was created.
///
/// # Errors
/// A message of one line.
pub fn start(root: &Root, id: &str) -> Result<(), String> {
    let container = root.find(id)?;
    let state = container.load()?;
    if state["status"] != "created" {
        return Err(format!("container {id}: is {}, not created", state["status"].as_str().unwrap_or_default()));
    }
    connect(&container)?.ask(&json!({ "do": "start" }))?;
    if let Some(hooks) = hooks_of(&state) {
        let _ = hooks::run(hooks.poststart().as_deref().unwrap_or_default(), "poststart", &container.load()?)
            .inspect_err(|error| output::say(format_args!("whit-runtime: {error}")));
    }
    Ok(())
}

/// Prints the state of a container.
///
/// # Errors
/// A message of one line.
pub fn state(root: &Root, id: &str) -> Result<Value, String> {
    root.find(id)?.load()
}

/// Returns the states of all containers.
#[must_use]
pub fn list(root: &Root) -> Vec<Value> {
    // One that is being removed has none.
    root.all().iter().filter_map(|container| container.load().ok()).collect()
}

/// Sends a signal to a container's workload.
///
/// # Errors
/// A message of one line.
pub fn kill(root: &Root, id: &str, signal: &str) -> Result<(), String> {
    let signal = signal::parse(signal)?;
    let container = root.find(id)?;
    if !container.is_alive() {
        // podman looks for this text.
        return Err(format!("container {id}: container not running"));
    }
    connect(&container)?.ask(&json!({ "do": "kill", "signal": signal })).map(drop)
}

/// Removes a container.
///
/// # Errors
/// A message of one line: it runs and `force` is not set, or a process does not end.
pub fn delete(root: &Root, id: &str, force: bool) -> Result<(), String> {
    let container = match root.find(id) {
        Err(_) if force => return Ok(()),
        found => found?,
    };
    let mut state = match container.load() {
        // Of a file that was cut off or changed; its folder is removed all the same.
        Err(_) if force => json!({ "ociVersion": VERSION, "id": id, "annotations": {}, "bundle": "" }),
        loaded => loaded?,
    };
    let status = state["status"].as_str().unwrap_or_default();
    if container.is_alive() {
        if !force && status != "created" {
            return Err(format!("container {id}: is {status}; stop it, or give --force"));
        }
        // The kernel ends the machine with the shim. A process that has ended by now was not another's: it held its lock.
        let process = container.pid().and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        if let Some(Ok(process)) = process
            && container.is_alive()
        {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
    if !container.wait_for_end() {
        return Err(format!("container {id}: the kernel has not ended its processes; try again"));
    }
    let hooks = hooks_of(&state);
    container.remove()?;
    state["status"] = "stopped".into();
    state["pid"] = 0.into();
    if let Some(hooks) = hooks {
        let _ = hooks::run(hooks.poststop().as_deref().unwrap_or_default(), "poststop", &state)
            .inspect_err(|error| output::say(format_args!("whit-runtime: {error}")));
    }
    Ok(())
}

/// Returns what the runtime supports, in the specification's form.
#[must_use]
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0", "ociVersionMax": VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "poststart", "poststop"],
        "mountOptions": ["bind", "rbind", "ro", "rw"],
        "linux": { "namespaces": ["network", "mount"], "seccomp": { "enabled": false }, "apparmor": { "enabled": false },
                   "selinux": { "enabled": false }, "cgroup": { "v1": true, "v2": true, "systemd": true } },
        "annotations": { "io.whit.version": env!("CARGO_PKG_VERSION") },
    })
}

pub(super) fn connect(container: &Container) -> Result<Connection, String> {
    Connection::open(container).map_err(|error| format!("container {}: {error}", container.id))
}

/// Returns the hooks of a container, if its bundle is still there.
fn hooks_of(state: &Value) -> Option<Hooks> {
    shim::load(Path::new(state["bundle"].as_str()?)).ok()?.hooks().clone()
}

pub(super) fn describe(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
