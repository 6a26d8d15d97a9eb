//! A network for a machine: a namespace of its own with cables into the machine's, and a DHCP server. The cables are created
//! between these two namespaces; no interface is ever in the host's.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::{PipeReader, Write, pipe};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Prepared, Running, settings};
use crate::Transcript;

/// The server's end of the network.
pub struct Lan {
    /// The process that keeps the namespace alive; it ends with its standard input.
    holder: Child,
    cables: Cell<u32>,
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

impl Lan {
    /// The address of the server on the first cable; its subnet is /24.
    pub const ADDRESS: &'static str = "10.55.0.1";

    /// Creates an empty network namespace.
    #[must_use]
    pub fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("apt-get install util-linux");
        // The echo shows that unshare has executed cat in its namespace.
        holder.stdin.as_mut().expect("a pipe").write_all(b"made\n").expect("a pipe");
        Transcript::new("unshare", holder.stdout.take().expect("a pipe")).wait_for("made");
        settings::reset(holder.id());
        Self { holder, cables: Cell::new(0) }
    }

    /// Adds a cable (a veth pair); `name` is the machine's interface. The server's end has its address and carrier.
    pub fn plug(&self, machine: &Prepared, name: &str) {
        self.plug_into_network_of(machine.init(), name);
        self.carrier(0, true);
    }

    /// Adds a cable that has no carrier until [`Lan::carrier`].
    pub fn plug_without_carrier(&self, machine: &Prepared, name: &str) {
        self.plug_into_network_of(machine.init(), name);
    }

    /// Adds a cable to a running machine; it has no carrier until [`Lan::carrier`].
    pub fn plug_into(&self, machine: &Running, name: &str) {
        self.plug_into_network_of(machine.init(), name);
    }

    /// Adds a cable to the network namespace of any process; it has no carrier until [`Lan::carrier`].
    pub fn plug_into_network_of(&self, process: i32, name: &str) {
        let number = self.cables.replace(self.cables.get() + 1);
        let ours = format!("lan{number}");
        let (here, there) = (self.process().to_string(), process.to_string());
        run(Command::new("ip")
            .args(["link", "add", "name", name, "netns", &there, "type", "veth"])
            .args(["peer", "name", &ours, "netns", &here]));
        self.ip(&["address", "add", &format!("10.55.{number}.1/24"), "dev", &ours]);
    }

    /// Sets the carrier of a cable; cables are counted from 0.
    pub fn carrier(&self, cable: u32, there: bool) {
        self.ip(&["link", "set", &format!("lan{cable}"), if there { "up" } else { "down" }]);
    }

    /// Returns the number of a process in the network.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.holder.id()
    }

    /// Runs ip(8) in the network.
    pub fn ip(&self, arguments: &[&str]) -> String {
        run(self.command("ip").args(arguments))
    }

    /// Sets a value below /proc/sys/net of the network.
    pub fn set(&self, name: &str, value: &str) {
        run(self.command("sh").args(["-c", &format!("echo {value} >/proc/sys/net/{name}")]));
    }

    /// Adds a cable to another network: its end there is `name`, without address and carrier.
    pub fn connect_to(&self, other: &Self, name: &str) {
        self.plug_into_network_of(other.process().cast_signed(), name);
        self.carrier(0, true);
    }

    /// Starts dnsmasq as the DHCP server of .50 to .99 on the first cable, with these lines in its configuration.
    #[must_use]
    pub fn serve(&self, lines: &[&str]) -> Server {
        self.serve_with_ping(&[lines, &["no-ping"]].concat())
    }

    /// Starts the same server, but with a ping of three seconds before each offer.
    #[must_use]
    pub fn serve_with_ping(&self, lines: &[&str]) -> Server {
        let directory = tempfile::Builder::new().prefix("whit-dnsmasq-").tempdir().expect("a temporary directory");
        let configuration = directory.path().join("dnsmasq.conf");
        let mut text = String::from("port=0\ndhcp-authoritative\nlog-dhcp\n");
        for line in lines {
            text += line;
            text += "\n";
        }
        if !lines.iter().any(|line| line.starts_with("dhcp-range")) {
            text += "dhcp-range=10.55.0.50,10.55.0.99,255.255.255.0,1h\n";
        }
        text += &format!("dhcp-leasefile={}\n", directory.path().join("leases").display());
        fs::write(&configuration, text).expect("a file");
        let mut dnsmasq = self.command("dnsmasq");
        dnsmasq.args(["--no-daemon", "--pid-file="]).arg(format!("--conf-file={}", configuration.display()));
        // dnsmasq prints such a line after it has bound its socket: `DHCP, IP range`, `DHCPv6, IP range`, `DHCPv6 stateless`.
        Server::start("dnsmasq (apt-get install dnsmasq-base)", dnsmasq, "-dhcp: DHCP", directory)
    }

    /// Returns a command that will run in the network.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = inside(self.process());
        command.arg(program);
        command
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A running DHCP server. Dropping it kills the server.
pub struct Server {
    process: Child,
    transcript: Transcript,
    _directory: TempDir,
}

impl Server {
    /// Starts a server that prints `marker` once it listens; its files are in `directory`.
    #[track_caller]
    pub(super) fn start(name: &str, mut command: Command, marker: &str, directory: TempDir) -> Self {
        let (log, log_writer): (PipeReader, _) = pipe().expect("a pipe");
        let errors = log_writer.try_clone().expect("a descriptor");
        let process = command.stdin(Stdio::null()).stdout(log_writer).stderr(errors).spawn();
        // Closes its copies of the log's other side: while they are open here, the log does not end.
        drop(command);
        let process = process.expect("apt-get install util-linux");
        let mut server = Self { process, transcript: Transcript::new(name, log), _directory: directory };
        server.wait_for(marker);
        server
    }

    /// Waits for a text in its log.
    #[track_caller]
    pub fn wait_for(&mut self, marker: &str) -> String {
        self.transcript.wait_for(marker)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    /// Runs ip(8) of the host in the machine's network.
    #[must_use]
    pub fn ip(&self, arguments: &[&str]) -> String {
        run(inside(self.init.cast_unsigned()).arg("ip").args(arguments))
    }
}

/// Returns a command that will run in the network of a process.
fn inside(process: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "nsenter", &format!("--net=/proc/{process}/ns/net")]);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("apt-get install iproute2 util-linux");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
