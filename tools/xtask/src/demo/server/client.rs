//! This host's docker or podman, without the settings of its user.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;
use xtask::images::engine::Engine;

use super::tls::Tls;
use super::{BUSYBOX, LIMIT, PAGE, PAUSE, SERVE, expect, fetch, output, time, write_layer};
use crate::{BOOT, show};

/// Variables that choose another server, or another way to it.
const VARIABLES: [&str; 11] = [
    "CONTAINER_CONNECTION",
    "CONTAINER_HOST",
    "DOCKER_API_VERSION",
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "HTTP_PROXY",
    "http_proxy",
];

pub(super) struct Client {
    engine: Engine,
    host: String,
    tls: Option<Tls>,
    settings: TempDir,
}

impl Client {
    pub(super) fn new(engine: Engine, port: u16, tls: Option<Tls>) -> Result<Self, String> {
        let settings = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
        std::fs::write(settings.path().join("containers.conf"), "")
            .map_err(|error| format!("a temporary file: {error}"))?;
        Ok(Self { engine, host: format!("tcp://127.0.0.1:{port}"), tls, settings })
    }

    /// Returns the client as a person would type it.
    pub(super) fn typed(&self) -> String {
        match (self.engine, &self.tls) {
            (Engine::Podman, _) => format!("podman --remote --url {}", self.host),
            (_, None) => format!("docker --host {}", self.host),
            (_, Some(tls)) => {
                format!("DOCKER_CERT_PATH={} docker --tlsverify --host {}", tls.folder().display(), self.host)
            }
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.without_certificate();
        if let Some(tls) = &self.tls {
            command.env("DOCKER_CERT_PATH", tls.folder());
        }
        command.args(words);
        command
    }

    /// Returns the client, with TLS but without a certificate of its own.
    fn without_certificate(&self) -> Command {
        let mut command = Command::new(self.engine.name());
        VARIABLES.iter().for_each(|name| {
            command.env_remove(name);
        });
        if self.engine == Engine::Podman {
            command.env("CONTAINERS_CONF", self.settings.path().join("containers.conf")).args(["--remote", "--url"]);
        } else {
            // Its certificates are in the folder of its settings by default; that has none.
            command.env("DOCKER_CONFIG", self.settings.path()).arg("--host");
        }
        command.arg(&self.host).stdin(Stdio::null());
        if let Some(tls) = &self.tls {
            command.arg("--tlsverify").arg("--tlscacert").arg(tls.ca());
        }
        command
    }

    /// Runs a command that has to succeed, shows it with its time, and returns what it prints.
    fn run(&self, words: &[&str]) -> Result<String, String> {
        let started = Instant::now();
        let program = self.engine.name();
        let printed = output(&mut self.command(words), &format!("{program} {}", words.join(" ")))?;
        time(&format!("{program} {}", words.first().copied().unwrap_or_default()), started)?;
        Ok(printed)
    }

    /// Waits until the server answers: each attempt ends with the server's answer or the connection.
    pub(super) fn wait(&self, booted: Instant) -> Result<(), String> {
        let words = ["version", "--format", "{{.Server.Version}}"];
        loop {
            let Err(error) = output(&mut self.command(&words), self.engine.name()) else { return Ok(()) };
            // A certificate that is not accepted never will be.
            if booted.elapsed() > BOOT || error.contains("x509:") {
                return Err(format!("no API: {error}"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Checks that the server refuses a client without a certificate.
    pub(super) fn check_refusal(&self) -> Result<(), String> {
        if self.tls.is_none() {
            return Ok(());
        }
        let mut command = self.without_certificate();
        let Err(error) = output(command.arg("version"), "docker") else {
            return Err("the server answers a client without a certificate".into());
        };
        // The server's alert, and no error of the client's own.
        let alert = error.split("remote error: ").nth(1).ok_or_else(|| format!("no refusal by the server: {error}"))?;
        show(&format!("  refused without a certificate: {alert}"))
    }

    /// An image, a container with a port, a volume and a limit of memory, a program in it, its end.
    pub(super) fn use_server(&self, busybox: &Path, port: u16) -> Result<(), String> {
        let rootfs = self.settings.path().join("box.tar");
        write_layer(busybox, &rootfs)?;
        self.run(&["import", &rootfs.to_string_lossy(), "box"])?;
        let memory = format!("--memory={LIMIT}b");
        let limited = ["run", "--detach", "--name=web", "--publish=80:80", "--volume=data:/data", &memory];
        self.run(&[&limited[..], &["box", BUSYBOX, "sh", "-c", SERVE]].concat())?;
        expect("the page of the published port", &fetch(port)?, PAGE)?;
        let limit = self.run(&["exec", "web", BUSYBOX, "cat", "/sys/fs/cgroup/memory.max"])?;
        expect("the limit of memory", &limit, LIMIT)?;
        let stopping = self.run(&["stop", "--time=1", "web"])?;
        expect("the container's name", &stopping, "web")?;
        self.run(&["rm", "web"])?;
        let kept = self.run(&["run", "--rm", "--volume=data:/data", "box", BUSYBOX, "cat", "/data/index.html"])?;
        expect("the volume", &kept, PAGE)
    }
}
