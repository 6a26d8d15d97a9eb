//! `--server`: a server of containers as a machine, and its client.

mod api;
mod client;
mod containerd;
mod tls;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use whit_tools::kernel::debian::{Flavour, Kernel, Store};
use xtask::images::engine::{self, Engine};
use xtask::workspace;

use crate::prepare::progress;
use crate::{Arguments, show};

/// The port that the container publishes.
const WEB: u16 = 80;
/// The container: a web server with a page in its volume.
const SERVE: &str = "echo kept in a volume >/data/index.html; exec busybox httpd -f -p 80 -h /data";
/// The page.
const PAGE: &str = "kept in a volume";
/// The limit of the container's memory, in bytes.
const LIMIT: &str = "67108864";
/// The image's program.
const BUSYBOX: &str = "/bin/busybox";
/// Seconds from the stop signal to SIGKILL: dockerd gives a container that ignores SIGTERM 10 s.
const GRACE_S: &str = "30";
/// The time between two questions to a server that does not answer yet.
const PAUSE: Duration = Duration::from_millis(250);

/// Boots the server, and uses it.
pub(crate) fn run(arguments: &Arguments, engine: Engine) -> Result<(), String> {
    if arguments.tls.is_some() && engine != Engine::Docker {
        return Err(format!("--tls is for --server docker: Debian's {} has no TLS", engine.name()));
    }
    match engine {
        Engine::Docker | Engine::Podman => api::run(arguments, engine),
        Engine::Containerd => containerd::run(arguments),
    }
}

/// Debian's files for a server.
struct Parts {
    kernel: Kernel,
    /// The program that the containers run.
    busybox: PathBuf,
    /// The server's root.
    tar: PathBuf,
}

impl Parts {
    fn fetch(engine: Engine) -> Result<Self, String> {
        let mut store =
            Store::open(&workspace::target().join("debian"), progress).map_err(|error| error.to_string())?;
        let kernel = store.kernel(Flavour::Cloud, None).map_err(|error| error.to_string())?;
        let busybox = store.busybox().map_err(|error| error.to_string())?;
        let tar = engine::tar(&mut store, engine).map_err(|error| error.to_string())?;
        Ok(Self { kernel, busybox, tar })
    }
}

/// Writes the files of an image: `/bin/busybox`.
fn write_layer(busybox: &Path, layer: &Path) -> Result<(), String> {
    let (folder, name) = (busybox.parent().unwrap_or(Path::new("/")), busybox.file_name().unwrap_or_default());
    let mut tar = Command::new("tar");
    tar.args(["--create", "--transform=s,^,bin/,", "--file"]).arg(layer).arg("--directory").arg(folder).arg(name);
    finish(&mut tar)
}

/// Runs a program that prepares something.
fn finish(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()))
}

/// Runs a command of a client. `shown` is the command for people. Returns what it prints.
fn output(command: &mut Command, shown: &str) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{shown}: {error}; is the client installed?"))?;
    if !output.status.success() {
        return Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
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
        std::thread::sleep(PAUSE);
    }
    Err("the published port does not answer".into())
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found.contains(expected) { Ok(()) } else { Err(format!("{what}: {expected:?} expected, not {found:?}")) }
}

fn time(what: &str, since: Instant) -> Result<(), String> {
    show(&format!("  {what:<28}{:6.1} s", since.elapsed().as_secs_f64()))
}

/// Shows the last line.
fn powered_off(start: Instant, prepared: Duration) -> Result<(), String> {
    let (all, prepared) = (start.elapsed().as_secs_f64(), prepared.as_secs_f64());
    show(&format!("\npowered off; {all:.1} s in all, {prepared:.1} s of it to fetch and build"))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}
