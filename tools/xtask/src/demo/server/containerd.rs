//! containerd: its client talks to a socket of the same machine, so `runvm exec` runs it there.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use whit_tools::machine::Machine as Architecture;
use whit_tools::vm::qemu::shell_word;
use xtask::images::engine::Engine;
use xtask::init::Init;
use xtask::workspace;

use super::{
    BUSYBOX, LIMIT, PAGE, PAUSE, Parts, SERVE, WEB, expect, fetch, finish, free_port, output, powered_off, time,
    write_layer,
};
use crate::interrupt::Interrupt;
use crate::prepare::progress;
use crate::{Arguments, BOOT, show};

/// MiB of the machine: with the image in memory, and with it on a disk.
const MEMORY_MIB: [u32; 2] = [768, 512];
/// Seconds from SIGTERM to power off, where containers run; then PID 1 gives them as long.
const STOP_TIMEOUT_S: &str = "10";
/// The name that containerd gives the image of the archive.
const IMAGE: &str = "docker.io/library/box:latest";
/// The container's volume: a folder of the machine.
const VOLUME: &str = "type=bind,src=/srv,dst=/data,options=rbind:rw";

/// Boots the machine, and uses it.
pub(super) fn run(arguments: &Arguments) -> Result<(), String> {
    let start = Instant::now();
    let folder = workspace::target().join("demo").join(Engine::Containerd.name());
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let parts = Parts::fetch(Engine::Containerd)?;
    let archive = folder.join("box.tar");
    write_archive(&parts.busybox, &archive)?;
    progress("building runvm and the init");
    let runvm = build_runvm()?;
    let web = free_port()?;
    let name = format!("containerd-{}", std::process::id());
    let mut command = Command::new(&runvm);
    command.args(["--name", &name, "--init"]).arg(Init::Whole.build()?);
    command.arg("--kernel").arg(&parts.kernel.vmlinuz).arg("--modules").arg(&parts.kernel.modules);
    command.args(["--for", "docker", "--tmpfs", "/run"]);
    // Containers outlive containerd. After the stop timeout the machine powers off, and PID 1 stops them.
    command.args(["--linger", "--stop-timeout", STOP_TIMEOUT_S]);
    let [in_memory, with_disk] = MEMORY_MIB.map(|mib| arguments.memory.unwrap_or(mib));
    if arguments.no_disk {
        command.arg("--no-disk").arg("--memory").arg(format!("{in_memory}M"));
    } else {
        let disk = folder.join("disk.img");
        remove(&disk)?;
        command.arg("--disk").arg(disk).args(["--free", "1G"]).arg("--memory").arg(format!("{with_disk}M"));
    }
    command.arg("--publish").arg(format!("{web}:{WEB}"));
    if let Some(accelerator) = arguments.accel.to_possible_value() {
        command.args(["--accel", accelerator.get_name()]);
    }
    command.args(["--entrypoint", "/usr/bin/containerd"]).arg(&parts.tar).args(["--log-level", "error"]);
    if std::env::var_os("WHIT_CACHE").is_none() {
        command.env("WHIT_CACHE", folder.join("cache"));
    }
    show(&format!("\n{}\n", typed(&command)))?;
    let prepared = start.elapsed();

    let booted = Instant::now();
    let mut machine = Machine::start(&mut command, &folder.join("messages"))?;
    let signals = machine.signals.clone();
    let end_at_once = move || {
        // The second signal ends the machine at once.
        for _ in 0..2 {
            let _ = pidfd_send_signal(&*signals, Signal::TERM);
        }
    };
    let interrupt = Interrupt::watch(end_at_once).map_err(|error| format!("cannot take signals: {error}"))?;
    let client = Client { runvm, name };
    let used = (|| {
        client.wait(&mut machine, booted)?;
        time("containerd answers", booted)?;
        client.use_server(&archive, web)?;
        if arguments.keep {
            show(&format!("\n{} exec {} ctr …; ctrl-c powers the machine off", client.runvm.display(), client.name))?;
            interrupt.wait().map_err(|error| format!("waiting for ctrl-c: {error}"))?;
        }
        let ending = Instant::now();
        machine.end()?;
        time("power off", ending)
    })();
    used.map_err(|error| {
        let failed = || format!("{error}\n--- messages of the machine\n{}", machine.messages());
        if interrupt.came() { "interrupted; the machine was killed".to_owned() } else { failed() }
    })?;
    powered_off(start, prepared)
}

/// Removes the disk of an earlier demo.
fn remove(disk: &Path) -> Result<(), String> {
    match fs::remove_file(disk) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", disk.display())),
        _ => Ok(()),
    }
}

/// Returns the command line for a shell.
fn typed(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| shell_word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// Builds runvm as this program is built: with optimizations or without.
fn build_runvm() -> Result<PathBuf, String> {
    let release =
        std::env::current_exe().is_ok_and(|path| path.parent().is_some_and(|folder| folder.ends_with("release")));
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--bin", "runvm"]).args(release.then_some("--release"));
    finish(&mut cargo)?;
    Ok(workspace::target().join(if release { "release" } else { "debug" }).join("runvm"))
}

/// Writes an image of busybox as `docker save` would.
fn write_archive(busybox: &Path, archive: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let layer = folder.path().join("layer.tar");
    write_layer(busybox, &layer)?;
    let sum = output(Command::new("sha256sum").arg(&layer), "sha256sum")?;
    let hash = sum.split(' ').next().unwrap_or_default();
    let configuration = serde_json::json!({
        "architecture": Architecture::HOST.image(), "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{hash}")]}
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": ["box:latest"], "Layers": ["layer.tar"]}]);
    for (name, document) in [("config.json", &configuration), ("manifest.json", &manifest)] {
        fs::write(folder.path().join(name), document.to_string()).map_err(|error| format!("{name}: {error}"))?;
    }
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(archive).arg("--directory").arg(folder.path());
    finish(tar.args(["manifest.json", "config.json", "layer.tar"]))
}

/// A machine of runvm's, which ends with this value.
struct Machine {
    runvm: Child,
    signals: Arc<OwnedFd>,
    /// What runvm, the init and containerd print.
    messages: PathBuf,
}

impl Machine {
    fn start(command: &mut Command, messages: &Path) -> Result<Self, String> {
        let file = File::create(messages).map_err(|error| format!("{}: {error}", messages.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let runvm = command.spawn().map_err(|error| format!("runvm: {error}"))?;
        let signals =
            pidfd_open(Pid::from_child(&runvm), PidfdFlags::empty()).map_err(|error| format!("runvm: {error}"))?;
        Ok(Self { runvm, signals: Arc::new(signals), messages: messages.to_owned() })
    }

    fn messages(&self) -> String {
        fs::read_to_string(&self.messages).unwrap_or_default()
    }

    fn signal(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&*self.signals, Signal::TERM)?)
    }

    /// Stops containerd; the machine ends with it.
    fn end(&mut self) -> Result<(), String> {
        let status = self.signal().and_then(|()| self.runvm.wait()).map_err(|error| format!("runvm: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("runvm ended with {status}")) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.runvm.try_wait().is_ok_and(|status| status.is_none()) {
            for _ in 0..2 {
                let _ = self.signal();
            }
            let _ = self.runvm.wait();
        }
    }
}

/// `ctr`, which runs in the machine.
struct Client {
    runvm: PathBuf,
    name: String,
}

impl Client {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.runvm);
        command.args(["exec", "-i", &self.name, "ctr"]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command that has to succeed, shows it with its time, and returns what it prints.
    fn run(&self, words: &[&str], input: Stdio) -> Result<String, String> {
        let started = Instant::now();
        let printed = output(self.command(words).stdin(input), &format!("ctr {}", words.join(" ")))?;
        let of_two = ["images", "task", "container"].contains(&words[0]);
        time(&format!("ctr {}", words[..if of_two { 2 } else { 1 }].join(" ")), started)?;
        Ok(printed)
    }

    fn ctr(&self, words: &[&str]) -> Result<String, String> {
        self.run(words, Stdio::null())
    }

    /// Waits until the server answers.
    fn wait(&self, machine: &mut Machine, booted: Instant) -> Result<(), String> {
        loop {
            let Err(error) = output(&mut self.command(&["version"]), "ctr version") else { return Ok(()) };
            if let Ok(Some(status)) = machine.runvm.try_wait() {
                return Err(format!("runvm ended with {status}"));
            }
            if booted.elapsed() > BOOT {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// An image, a container with a port of the machine's, a volume and a limit of memory, a program in it, its end.
    fn use_server(&self, archive: &Path, port: u16) -> Result<(), String> {
        let input = File::open(archive).map_err(|error| format!("{}: {error}", archive.display()))?;
        let imported = self.run(&["images", "import", "-"], input.into())?;
        expect("the image", &imported, IMAGE)?;
        let limited = ["run", "--detach", "--net-host", "--memory-limit", LIMIT, "--mount", VOLUME, IMAGE, "web"];
        self.ctr(&[&limited[..], &[BUSYBOX, "sh", "-c", SERVE]].concat())?;
        expect("the page of the published port", &fetch(port)?, PAGE)?;
        let metrics = self.ctr(&["task", "metrics", "web"])?;
        let limit = metrics.lines().find(|line| line.starts_with("memory.usage_limit")).unwrap_or(&metrics);
        expect("the limit of memory", limit, LIMIT)?;
        let kept = self.ctr(&["task", "exec", "--exec-id", "one", "web", BUSYBOX, "cat", "/data/index.html"])?;
        expect("the volume in the container", &kept, PAGE)?;
        self.ctr(&["task", "kill", "--signal", "SIGKILL", "web"])?;
        let killed = Instant::now();
        while !output(&mut self.command(&["task", "ls"]), "ctr task ls")?.contains("STOPPED") {
            if killed.elapsed() > BOOT {
                return Err("the container does not stop".into());
            }
            std::thread::sleep(PAUSE);
        }
        // It reports the task's status on standard error.
        let removed = self.command(&["task", "rm", "web"]).output().map_err(|error| format!("ctr task rm: {error}"))?;
        expect("the status of the task", &String::from_utf8_lossy(&removed.stderr), "exit code 137")?;
        self.ctr(&["container", "rm", "web"])?;
        let kept = self.ctr(&["run", "--rm", "--mount", VOLUME, IMAGE, "two", BUSYBOX, "cat", "/data/index.html"])?;
        expect("the volume", &kept, PAGE)
    }
}
