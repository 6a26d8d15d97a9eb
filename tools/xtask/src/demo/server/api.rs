//! Docker and podman: their API is on the network, and this host's client uses it.

use std::fs::{File, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use whit::contract::EXIT_LINE;
use whit_tools::cli::output::Output;
use whit_tools::compress::Compression;
use whit_tools::disk::image::{self, Options};
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::programs::{self, QEMU};
use whit_tools::runrecord::RunRecord;
use whit_tools::vm::qemu::{CommandLine, DiskInterface, Forward, Machine, Protocol};
use xtask::images::engine::Engine;
use xtask::init::Init;
use xtask::workspace;

use super::client::Client;
use super::tls::Tls;
use super::{GRACE_S, Parts, WEB, free_port, powered_off, time};
use crate::interrupt::Interrupt;
use crate::prepare::progress;
use crate::{Arguments, POWER_OFF, accelerator, show};

const DISK_BYTES: u64 = 2 << 30;

/// A server whose API is on the network.
struct Server {
    /// The program and its arguments.
    words: Vec<String>,
    /// The port of the API; the host forwards it from 127.0.0.1 alone.
    port: u16,
    /// MiB of the machine: with the image in memory, and with it on a disk.
    memory_mib: [u32; 2],
}

impl Server {
    fn of(engine: Engine, tls: Option<&Tls>) -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        if engine == Engine::Podman {
            // --time 0: it does not end when it is idle.
            let words = words(&["/usr/bin/podman", "system", "service", "--time=0", "tcp://0.0.0.0:8888"]);
            return Self { words, port: 8888, memory_mib: [768, 512] };
        }
        // The ports are those that Docker has for both.
        let port = if tls.is_some() { 2376 } else { 2375 };
        let mut words = words(&["/usr/sbin/dockerd", "--host=unix:///run/docker.sock", "--log-level=error"]);
        words.push(format!("--host=tcp://0.0.0.0:{port}"));
        match tls {
            Some(tls) => words.extend(tls.server_words()),
            // Without this word it waits for 15 s before it listens on a port without TLS.
            None => words.push("--tls=false".to_owned()),
        }
        Self { words, port, memory_mib: [1280, 768] }
    }
}

/// Boots the machine, and uses it.
pub(super) fn run(arguments: &Arguments, engine: Engine) -> Result<(), String> {
    let start = Instant::now();
    programs::install(&[QEMU], progress)?;
    let folder = workspace::target().join("demo").join(engine.name());
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let tls = match &arguments.tls {
        None => None,
        Some(None) => Some(Tls::open(&folder.join("tls"))?),
        Some(Some(folder)) => Some(Tls::open(folder)?),
    };
    let ports = [free_port()?, free_port()?];
    let server = Server::of(engine, tls.as_ref());
    let (command, busybox) = machine(arguments, engine, &folder, &server, tls.as_ref(), ports)?;
    show(&format!("\n{command}\n"))?;
    if let Some(why) = command.kvm_obstacle() {
        show(&format!("  KVM cannot be used here: {why}; the machine is emulated, and slower"))?;
    }
    let prepared = start.elapsed();
    let booted = Instant::now();
    let mut machine = Machine::start(&command).map_err(|error| error.to_string())?;
    let interrupt = Interrupt::watch(machine.terminator()).map_err(|error| format!("cannot take signals: {error}"))?;
    let [api, web] = ports;
    let client = Client::new(engine, api, tls)?;
    let used = (|| {
        client.wait(booted).map_err(|what| machine.failed(what).to_string())?;
        time("API", booted)?;
        client.check_refusal().map_err(|what| machine.failed(what).to_string())?;
        client.use_server(&busybox, web).map_err(|what| machine.failed(what).to_string())?;
        if arguments.keep {
            show(&format!("\n{} …; ctrl-c powers the machine off", client.typed()))?;
            interrupt.wait().map_err(|error| format!("waiting for ctrl-c: {error}"))?;
        }
        let ending = Instant::now();
        machine
            .power_down()
            .and_then(|()| machine.wait_for(EXIT_LINE, POWER_OFF))
            .map_err(|error| error.to_string())?;
        let status = machine.wait(POWER_OFF).map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(machine.failed(format!("QEMU ended with {status}")).to_string());
        }
        time("power off", ending)
    })();
    used.map_err(|error| if interrupt.came() { "interrupted; the machine was killed".to_owned() } else { error })?;
    powered_off(start, prepared)
}

/// Makes the machine's files. Returns busybox too, which becomes an image.
fn machine(
    arguments: &Arguments,
    engine: Engine,
    folder: &Path,
    server: &Server,
    tls: Option<&Tls>,
    [api, web]: [u16; 2],
) -> Result<(CommandLine, PathBuf), String> {
    let Parts { kernel, busybox, mut tar } = Parts::fetch(engine)?;
    progress("building the init");
    let mut folder = folder.to_owned();
    if let Some(tls) = tls {
        // These files have the server's key.
        folder.push("with-key");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::set_permissions(&folder, Permissions::from_mode(0o700)))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        tar = tls.with_server_files(&tar, &folder.join("root.tar"))?;
    }
    let record = RunRecord { entrypoint: server.words.clone(), ..RunRecord::default() };
    let sets = ["virtio", "docker"].map(|set| set.parse().expect("a set of mkcpio"));
    let recipe = Recipe {
        init: Init::Whole.build()?,
        modules: Some(kernel.modules.clone()),
        sets: sets.to_vec(),
        rootfs: arguments.no_disk.then(|| tar.clone()),
        config: arguments.no_disk.then(|| record.clone()),
        ..Recipe::default()
    };
    let path = folder.join(if arguments.no_disk { "nodisk.cpio.zst" } else { "initramfs.cpio.zst" });
    let (tree, _) = recipe.tree().map_err(|error| error.to_string())?;
    initramfs::write(&tree, &path, &Packing::new(Compression::Zstd(9))).map_err(|error| error.to_string())?;
    let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    show(&format!("  initramfs: {size} bytes"))?;
    let forward = |host, guest| Forward { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST, host, guest };
    // /run in memory: after a power failure the server would find its old state there, as dockerd its docker.pid, and not start.
    let words = format!("console=ttyS0 quiet panic=-1 whit.on_exit=poweroff whit.grace={GRACE_S} whit.tmpfs=/run");
    let command = CommandLine::new(&kernel.vmlinuz).accelerator(accelerator(arguments)).initrd(path).append(&words);
    let command = command.forward(forward(api, server.port)).forward(forward(web, WEB));
    let [in_memory, with_disk] = server.memory_mib.map(|mib| arguments.memory.unwrap_or(mib));
    if arguments.no_disk {
        return Ok((command.memory_mib(in_memory), busybox));
    }
    let disk = folder.join("disk.img");
    make_disk(&tar, &record, &disk)?;
    let command = command.memory_mib(with_disk).append("root=/dev/vda whit.grow");
    Ok((command.disk(DiskInterface::Virtio, disk), busybox))
}

fn make_disk(tar: &Path, record: &RunRecord, disk: &Path) -> Result<(), String> {
    let at = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let run_record = record.encode().map_err(|error| error.to_string())?;
    let mut output = Output::create(disk).map_err(|error| at(disk, &error))?;
    let content = File::open(tar).map_err(|error| at(tar, &error))?;
    image::build(content, output.file(), &Options { run_record, ..Options::default() })
        .map_err(|error| at(tar, &error))?;
    output.file().set_len(DISK_BYTES).and_then(|()| output.commit()).map_err(|error| at(disk, &error))
}
