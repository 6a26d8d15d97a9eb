//! The Debian system of the peers: their packages and libraries, and a few configuration files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use whit_tools::kernel::debian::Store;
use whit_tools::programs;
use xtask::{images, workspace};

/// Files of the system: those of maintainer scripts, and configurations that make each peer as fast as possible.
const FILES: [(&str, &str); 8] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/:/bin/sh\nsystemd-network:x:998:998::/:/usr/sbin/nologin\n\
         nobody:x:65534:65534::/:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nsystemd-network:x:998:\nnogroup:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("dhclient.conf", "initial-interval 1;\ntimeout 60;\n"),
    ("dhcpcd.conf", "nodelay\nnodev\nscript /dev/null\n"),
    (
        "dhclient-script",
        "#!/bin/busybox sh\n[ \"$reason\" != BOUND ] || exec /bin/busybox ifconfig \"$interface\" \"$new_ip_address\" \
         netmask \"$new_subnet_mask\"\n",
    ),
    (
        "udhcpc-script",
        "#!/bin/busybox sh\n[ \"$1\" != bound ] || exec /bin/busybox ifconfig \"$interface\" \"$ip\" netmask \"$subnet\"\n",
    ),
];

const NETWORK: &str = "etc/systemd/network/eth0.network";

/// systemd-networkd's configuration for IPv4, and for IPv6.
pub(crate) const IPV4: &str = "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n";
pub(crate) const IPV6: &str =
    "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv6\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\n";

/// Packages, and their versions.
pub(crate) type Versions = Vec<(&'static str, String)>;

/// Makes the system in a new folder, with the configuration of systemd-networkd; returns the versions of the packages.
pub(crate) fn make(root: &Path, packages: &[&'static str], network: &str) -> Result<Versions, String> {
    let mut store = Store::open(&workspace::target().join("debian"), |line| eprintln!("{line}")).map_err(text)?;
    let mut versions = Vec::new();
    for package in packages {
        versions.push((*package, store.version(package).map_err(text)?));
    }
    let names: Vec<String> = packages.iter().map(|&package| package.to_owned()).collect();
    let system = images::system::root(&mut store, &names).map_err(text)?;
    let at = |error: std::io::Error| format!("{}: {error}", root.display());
    if root.exists() {
        fs::remove_dir_all(root).map_err(at)?;
    }
    run(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(&system).arg(root))?;
    for (path, contents) in FILES.into_iter().chain([(NETWORK, network)]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root)).map_err(at)?;
        fs::write(&path, contents).map_err(at)?;
        let mode = if contents.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at)?;
    }
    // With a cache the loader need not search for libraries.
    let ldconfig = programs::find("ldconfig").ok_or("no ldconfig")?;
    run(Command::new(ldconfig).arg("-r").arg(root))?;
    Ok(versions)
}

/// Returns the configuration files that a command names, as text to append to it.
pub(crate) fn configuration(words: &[&str], network: &str) -> String {
    let is_named = |path: &str| words.iter().any(|word| word.trim_start_matches('/') == path);
    let is_networkd = words.iter().any(|word| word.ends_with("systemd-networkd"));
    let all = FILES.into_iter().chain([(NETWORK, network)]);
    let files = all.filter(|(path, _)| is_named(path) || is_networkd && *path == NETWORK);
    files
        .map(|(path, contents)| format!("\n    /{path}: {}", contents.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn text(error: whit_tools::kernel::debian::Error) -> String {
    error.to_string()
}
