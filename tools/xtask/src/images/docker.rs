//! Debian's docker.io as a tar: a server whose API is on the network.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use whit_tools::kernel::debian::{Error, Store, at, run};

use super::system;

/// The packages; libraries follow.
const PACKAGES: [&str; 4] = ["docker.io", "containerd", "runc", "iptables"];
/// Files that are left out: documentation, and containerd's client.
const LEFT_OUT: [&str; 4] = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/bin/ctr"];
/// The links of iptables' maintainer script (update-alternatives).
const IPTABLES: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];
/// Small files, those of an engine first.
const FILES: [(&str, &str); 7] = [
    (".dockerenv", ""),
    ("etc/hostname", ""),
    ("etc/hosts", ""),
    ("etc/resolv.conf", ""),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\ndocker:x:999:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// Returns the tar of the docker.io that apt offers; makes it if it does not exist yet.
///
/// # Errors
/// Packages that cannot be fetched or unpacked.
pub fn tar(store: &mut Store) -> Result<PathBuf, Error> {
    let root = system::root(store, &PACKAGES.map(str::to_owned))?;
    let name = root.file_name().unwrap_or_default().to_string_lossy().replace("system", "docker.io");
    let path = store.folder().join(format!("{name}.tar"));
    if path.is_file() {
        return Ok(path);
    }
    let temporary = store.temporary()?;
    let more = temporary.path().join("more");
    let programs = more.join("usr/sbin");
    for folder in [&programs, &more.join("etc")] {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    for (name, content) in FILES {
        let path = more.join(name);
        fs::write(&path, content).map_err(at(&path))?;
    }
    for name in IPTABLES {
        let link = programs.join(name);
        symlink("xtables-nft-multi", &link).map_err(at(&link))?;
    }
    let unfinished = temporary.path().join("tar");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=root:0", "--group=root:0", "--mtime=@1735689600"]);
    tar.args(LEFT_OUT.map(|path| format!("--exclude=./{path}"))).arg("--file").arg(&unfinished);
    tar.arg("--directory").arg(&root).arg(".");
    run("tar", tar.arg("--directory").arg(&more).args([".dockerenv", "etc", "usr"]), "docker.io")?;
    fs::rename(&unfinished, &path).map_err(at(&path))?;
    Ok(path)
}
