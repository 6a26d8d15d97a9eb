//! The measured clients: the init, the floor, and the peers with the options that make each of them fast.

use std::path::{Path, PathBuf};

use whit_tests::namespace::{Machine, Prepared, Running};
use xtask::workspace;

use crate::launch::Launched;
use crate::system;

/// A client.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    /// Its package and version.
    pub(crate) version: String,
    /// Its command line.
    pub(crate) command: String,
    start: Start,
}

/// The way to start a client.
enum Start {
    /// The init, as PID 1 of a machine.
    Init,
    /// A program instead of the init.
    Floor(PathBuf),
    /// A command in a Debian system.
    Peer { root: PathBuf, words: &'static [&'static str] },
}

/// Debian's package and the command of each peer.
const PEERS: [(&str, &str, &[&str]); 5] = [
    ("klibc's ipconfig", "klibc-utils", &["/usr/lib/klibc/bin/ipconfig", "-t", "60", "-c", "dhcp", "-d", "eth0"]),
    (
        "dhclient",
        "isc-dhcp-client",
        &[
            "/sbin/dhclient",
            "-4",
            "-1",
            "-d",
            "-q",
            "-sf",
            "/dhclient-script",
            "-cf",
            "/dhclient.conf",
            "-lf",
            "/tmp/leases",
            "-pf",
            "/tmp/pid",
            "eth0",
        ],
    ),
    (
        "dhcpcd",
        "dhcpcd-base",
        &["/sbin/dhcpcd", "-4", "-1", "-B", "--noarp", "--noipv4ll", "-f", "/dhcpcd.conf", "eth0"],
    ),
    ("systemd-networkd", "systemd", &["/lib/systemd/systemd-networkd"]),
    (
        "udhcpc",
        "busybox-static",
        &["/bin/busybox", "udhcpc", "-f", "-q", "-n", "-t", "20", "-T", "1", "-s", "/udhcpc-script", "-i", "eth0"],
    ),
];

/// Returns the floor, the init, and the peers whose name contains `part`.
pub(crate) fn all(folder: &Path, part: Option<&str>) -> Result<Vec<Client>, String> {
    let floor = build_floor()?;
    let init = xtask::init::Init::Whole.build()?;
    let bytes = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    let mut clients = vec![
        Client {
            name: "floor",
            version: format!("{} bytes", bytes(&floor)),
            command: "the bare exchange: no retransmission, no checks, no options used (tools/xtask/bench-dhcp/floor)"
                .to_owned(),
            start: Start::Floor(floor),
        },
        Client {
            name: "whit",
            version: format!("{} bytes", bytes(&init)),
            command: "the whole init as PID 1: its mounts, its record and its other sockets are in the time".to_owned(),
            start: Start::Init,
        },
    ];
    let wanted: Vec<_> = PEERS.into_iter().filter(|(name, ..)| part.is_none_or(|part| name.contains(part))).collect();
    if wanted.is_empty() {
        return Ok(clients);
    }
    let (root, versions) = system::make(folder, &PEERS.map(|(_, package, _)| package))?;
    for (name, package, words) in wanted {
        let version = versions.iter().find(|(found, _)| *found == package).map_or("", |(_, version)| version);
        clients.push(Client {
            name,
            version: format!("{package} {version}"),
            command: words.join(" ") + &system::configuration(words),
            start: Start::Peer { root: root.clone(), words },
        });
    }
    Ok(clients)
}

fn build_floor() -> Result<PathBuf, String> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--profile", "floor", "--package", "floor", "--manifest-path", manifest]);
    let status = cargo.arg("--target-dir").arg(workspace::target()).status();
    let status = status.map_err(|error| format!("cargo: {error}"))?;
    if status.success() {
        Ok(workspace::target().join("floor/floor"))
    } else {
        Err("the floor does not build".to_owned())
    }
}

impl Client {
    pub(crate) fn is_floor(&self) -> bool {
        matches!(self.start, Start::Floor(_))
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.start, Start::Init)
    }

    /// Makes namespaces for the client, which waits in them for [`Waiting::start`].
    pub(crate) fn prepare(&self) -> Result<Waiting, String> {
        let machine = || Machine::new().directory("/rootfs/etc").script("exec sleep 1000");
        Ok(match &self.start {
            Start::Init => Waiting::Machine(machine().prepare()),
            Start::Floor(program) => Waiting::Machine(Machine::new().program("/init", program).prepare()),
            Start::Peer { root, words } => Waiting::Peer(Launched::prepare(root, words)?),
        })
    }
}

/// A client that waits for its start.
pub(crate) enum Waiting {
    Machine(Prepared),
    Peer(Launched),
}

/// A running client. Dropping it kills the client.
#[allow(dead_code, reason = "dropping them kills the client")]
pub(crate) enum Started {
    Machine(Running),
    Peer(Launched),
}

impl Waiting {
    /// Returns the number of its process.
    pub(crate) fn process(&self) -> u32 {
        match self {
            Self::Machine(machine) => machine.init().unsigned_abs(),
            Self::Peer(launched) => launched.process(),
        }
    }

    /// Executes the client.
    pub(crate) fn start(self) -> Result<Started, String> {
        Ok(match self {
            Self::Machine(machine) => Started::Machine(machine.start()),
            Self::Peer(mut launched) => {
                launched.start()?;
                Started::Peer(launched)
            }
        })
    }
}

impl Started {
    /// Returns its output.
    pub(crate) fn output(self) -> String {
        match self {
            Self::Machine(machine) => machine.console().to_owned(),
            Self::Peer(launched) => launched.output(),
        }
    }
}
