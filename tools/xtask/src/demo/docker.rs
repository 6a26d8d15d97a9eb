//! `--docker`: a Docker server as a machine, and this host's client as its user.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use whit::contract::EXIT_LINE;
use whit_tools::cli::output::Output;
use whit_tools::compress::Compression;
use whit_tools::disk::image::{self, Options};
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::debian::{Flavour, Store};
use whit_tools::programs::{self, QEMU};
use whit_tools::runrecord::RunRecord;
use whit_tools::vm::qemu::{CommandLine, DiskInterface, Forward, Machine, Protocol};
use xtask::init::Init;
use xtask::{images, workspace};

use crate::interrupt::Interrupt;
use crate::prepare::progress;
use crate::{Arguments, BOOT, POWER_OFF, accelerator, show};

/// The port of the API without TLS; the host forwards it from 127.0.0.1 alone.
const API: u16 = 2375;
/// The port that the container publishes.
const WEB: u16 = 80;
/// dockerd gives a container that ignores SIGTERM 10 s.
const GRACE_S: &str = "30";
/// MiB of the machine: with the image in memory, and with it on a disk.
const MEMORY_MIB: [u32; 2] = [1280, 768];
const DISK_BYTES: u64 = 2 << 30;
/// Words of dockerd. Without `--tls=false` it waits for 15 s before it listens on a port without TLS.
const DOCKERD: [&str; 5] = [
    "/usr/sbin/dockerd",
    "--host=unix:///run/docker.sock",
    "--host=tcp://0.0.0.0:2375",
    "--tls=false",
    "--log-level=error",
];
/// The container: a web server with a page in its volume.
const SERVE: &str = "echo kept in a volume >/data/index.html; exec busybox httpd -f -p 80 -h /data";

/// Boots the machine, and uses it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let start = Instant::now();
    programs::install(&[QEMU], progress)?;
    let folder = workspace::target().join("demo/docker");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let [api, web] = [free_port()?, free_port()?];
    let (command, busybox) = machine(arguments, &folder, api, web)?;
    show(&format!("\n{command}\n"))?;
    if let Some(why) = command.kvm_obstacle() {
        show(&format!("  KVM cannot be used here: {why}; the machine is emulated, and slower"))?;
    }
    let prepared = start.elapsed();
    let booted = Instant::now();
    let mut machine = Machine::start(&command).map_err(|error| error.to_string())?;
    let interrupt = Interrupt::watch(machine.terminator()).map_err(|error| format!("cannot take signals: {error}"))?;
    let client = Client::new(api)?;
    let used = (|| {
        client.wait(booted).map_err(|what| machine.failed(what).to_string())?;
        time("API", booted)?;
        client.use_server(&busybox, web).map_err(|what| machine.failed(what).to_string())?;
        if arguments.keep {
            show(&format!("\nDOCKER_HOST=tcp://127.0.0.1:{api} docker info; ctrl-c powers the machine off"))?;
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
    let (all, prepared) = (start.elapsed().as_secs_f64(), prepared.as_secs_f64());
    show(&format!("\npowered off; {all:.1} s in all, {prepared:.1} s of it to fetch and build"))
}

/// Makes the machine's files. Returns busybox too, which becomes an image.
fn machine(arguments: &Arguments, folder: &Path, api: u16, web: u16) -> Result<(CommandLine, PathBuf), String> {
    let mut store = Store::open(&workspace::target().join("debian"), progress).map_err(|error| error.to_string())?;
    let kernel = store.kernel(Flavour::Cloud, None).map_err(|error| error.to_string())?;
    let busybox = store.busybox().map_err(|error| error.to_string())?;
    let tar = images::docker::tar(&mut store).map_err(|error| error.to_string())?;
    drop(store);
    progress("building the init");
    let record = RunRecord {
        entrypoint: DOCKERD.map(str::to_owned).to_vec(),
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        ..RunRecord::default()
    };
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
    // /run in memory: after a power failure dockerd would find its old docker.pid there, and not start.
    let words = format!("console=ttyS0 quiet panic=-1 whit.on_exit=poweroff whit.grace={GRACE_S} whit.tmpfs=/run");
    let command = CommandLine::new(&kernel.vmlinuz).accelerator(accelerator(arguments)).initrd(path).append(&words);
    let command = command.forward(forward(api, API)).forward(forward(web, WEB));
    if arguments.no_disk {
        return Ok((command.memory_mib(MEMORY_MIB[0]), busybox));
    }
    let disk = folder.join("disk.img");
    make_disk(&tar, &record, &disk)?;
    let command = command.memory_mib(MEMORY_MIB[1]).append("root=/dev/vda whit.grow");
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

/// This host's client, without the settings of its user.
struct Client {
    host: String,
    settings: TempDir,
}

impl Client {
    fn new(port: u16) -> Result<Self, String> {
        let settings = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
        Ok(Self { host: format!("tcp://127.0.0.1:{port}"), settings })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("--config").arg(self.settings.path()).args(["--host", &self.host]).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command that has to succeed, shows it with its time, and returns what it prints.
    fn run(&self, words: &[&str]) -> Result<String, String> {
        let started = Instant::now();
        let output = self.command(words).output().map_err(|error| format!("docker: {error}; install a client"))?;
        if !output.status.success() {
            return Err(format!("docker {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim_end()));
        }
        time(&format!("docker {}", words.first().copied().unwrap_or_default()), started)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Waits until the server answers: each attempt ends with the server's answer or the connection.
    fn wait(&self, booted: Instant) -> Result<(), String> {
        loop {
            let output = self.command(&["version", "--format", "{{.Server.Version}}"]).output();
            let output = output.map_err(|error| format!("docker: {error}; install a client"))?;
            if output.status.success() {
                return Ok(());
            }
            if booted.elapsed() > BOOT {
                return Err(format!("no API: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// An image, a container with a port, a volume and a limit of memory, a program in it, its end.
    fn use_server(&self, busybox: &Path, port: u16) -> Result<(), String> {
        let rootfs = self.settings.path().join("box.tar");
        let (folder, name) = (busybox.parent().unwrap_or(Path::new("/")), busybox.file_name().unwrap_or_default());
        let mut tar = Command::new("tar");
        tar.args(["--create", "--transform=s,^,bin/,", "--file"]).arg(&rootfs).arg("--directory").arg(folder).arg(name);
        if !tar.status().is_ok_and(|status| status.success()) {
            return Err("tar cannot pack busybox".into());
        }
        self.run(&["import", &rootfs.to_string_lossy(), "box"])?;
        let limited = ["run", "--detach", "--name=web", "--publish=80:80", "--volume=data:/data", "--memory=64m"];
        self.run(&[&limited[..], &["box", "/bin/busybox", "sh", "-c", SERVE]].concat())?;
        let page = fetch(port)?;
        expect("the page of the published port", &page, "kept in a volume")?;
        let limit = self.run(&["exec", "web", "/bin/busybox", "cat", "/sys/fs/cgroup/memory.max"])?;
        expect("the limit of memory", &limit, "67108864")?;
        let stopping = self.run(&["stop", "--time=1", "web"])?;
        expect("the container's name", &stopping, "web")?;
        self.run(&["rm", "web"])?;
        let kept =
            self.run(&["run", "--rm", "--volume=data:/data", "box", "/bin/busybox", "cat", "/data/index.html"])?;
        expect("the volume", &kept, "kept in a volume")
    }
}

/// Fetches the page of the container's server.
fn fetch(port: u16) -> Result<String, String> {
    let started = Instant::now();
    let mut page = String::new();
    // The server starts after its container; QEMU accepts connections before it.
    while started.elapsed() < Duration::from_secs(30) {
        let fetched = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut page)
        });
        if fetched.is_ok_and(|length| length > 0) {
            time("GET of the published port", started)?;
            return Ok(page);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("the published port does not answer".into())
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found.contains(expected) { Ok(()) } else { Err(format!("{what}: {expected:?} expected, not {found:?}")) }
}

fn time(what: &str, since: Instant) -> Result<(), String> {
    show(&format!("  {what:<28}{:6.1} s", since.elapsed().as_secs_f64()))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}
