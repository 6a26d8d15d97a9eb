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
    /// An init, as PID 1 of a machine.
    Init(PathBuf),
    /// A program instead of the init.
    Floor(PathBuf),
    /// A command in a Debian system.
    Peer { root: PathBuf, words: &'static [&'static str] },
}

/// A peer's name, Debian's package, and its command.
type Peer = (&'static str, &'static str, &'static [&'static str]);

/// The peers for IPv6 alone.
const PEERS_IPV6: [Peer; 2] = [
    ("dhcpcd -6", "dhcpcd-base", &["/sbin/dhcpcd", "-6", "-1", "-B", "-f", "/dhcpcd.conf", "eth0"]),
    ("systemd-networkd", "systemd", &["/lib/systemd/systemd-networkd"]),
];

const PEERS: [Peer; 5] = [
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
            start: Start::Init(init),
        },
    ];
    let wanted: Vec<_> = PEERS.into_iter().filter(|(name, ..)| part.is_none_or(|part| name.contains(part))).collect();
    add_peers(&mut clients, &wanted, &folder.join("root"), system::IPV4)?;
    Ok(clients)
}

/// Returns the init that has DHCPv6, and the peers that do without IPv4 and whose name contains `part`.
pub(crate) fn all_ipv6(folder: &Path, part: Option<&str>) -> Result<Vec<Client>, String> {
    let init = xtask::init::Init::Fleet.build()?;
    let bytes = init.metadata().map_or(0, |metadata| metadata.len());
    let mut clients = vec![Client {
        name: "whit fleet",
        version: format!("{bytes} bytes"),
        command: "IPv6: the whole init as PID 1, with DHCPv6; it asks for an IPv4 address too".to_owned(),
        start: Start::Init(init),
    }];
    let wanted: Vec<_> =
        PEERS_IPV6.into_iter().filter(|(name, ..)| part.is_none_or(|part| name.contains(part))).collect();
    add_peers(&mut clients, &wanted, &folder.join("root-ipv6"), system::IPV6)?;
    Ok(clients)
}

/// Adds peers with their system, in a new folder.
fn add_peers(clients: &mut Vec<Client>, peers: &[Peer], root: &Path, network: &'static str) -> Result<(), String> {
    if peers.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = peers.iter().map(|(_, package, _)| *package).collect();
    let versions = system::make(root, &packages, network)?;
    for &(name, package, words) in peers {
        let version = versions.iter().find(|(found, _)| *found == package).map_or("", |(_, version)| version);
        clients.push(Client {
            name,
            version: format!("{package} {version}"),
            command: words.join(" ") + &system::configuration(words, network),
            start: Start::Peer { root: root.to_owned(), words },
        });
    }
    Ok(())
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
        matches!(self.start, Start::Init(_))
    }

    /// Makes namespaces for the client, which waits in them for [`Waiting::start`].
    pub(crate) fn prepare(&self) -> Result<Waiting, String> {
        let machine = || Machine::new().directory("/rootfs/etc").script("exec sleep 1000");
        Ok(match &self.start {
            Start::Init(program) => Waiting::Machine(machine().program("/init", program).prepare()),
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
