//! Debian's engines of containers as tars: servers that run them in a machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;
use whit_tools::kernel::debian::{Error, Store, at, run};

use super::system;

/// An engine, and its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Debian's docker.io: dockerd, used by docker
    Docker,
    /// Debian's containerd, used by ctr in the machine
    Containerd,
    /// Debian's podman: its system service, used by podman
    Podman,
}

/// Files that are left out: documentation, locales, networks of CNI (podman has netavark), a library to link with, and containerd's
/// first two shims, which are deprecated.
const LEFT_OUT: [&str; 7] = [
    "etc/cni",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/lib/x86_64-linux-gnu/libcrun.a",
    "usr/bin/containerd-shim",
    "usr/bin/containerd-shim-runc-v1",
];
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

impl Engine {
    /// Returns the name on the command line, which is that of the tar's folder too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
        }
    }

    /// Returns the packages, that with the server first; libraries follow.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["docker.io", "containerd", "runc", "iptables"],
            Self::Containerd => &["containerd", "runc"],
            Self::Podman => &[
                "podman",
                "conmon",
                "crun",
                "netavark",
                "aardvark-dns",
                "iptables",
                "golang-github-containers-common",
                "golang-github-containers-image",
            ],
        }
    }
}

/// Returns the tar of the engine that apt offers; makes it if it does not exist yet.
///
/// # Errors
/// Packages that cannot be fetched or unpacked.
pub fn tar(store: &mut Store, engine: Engine) -> Result<PathBuf, Error> {
    let packages = engine.packages();
    let root = system::root(store, &packages.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    let name = root.file_name().unwrap_or_default().to_string_lossy().replace("system", packages[0]);
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
    for name in IPTABLES.iter().filter(|_| packages.contains(&"iptables")) {
        let link = programs.join(name);
        symlink("xtables-nft-multi", &link).map_err(at(&link))?;
    }
    let unfinished = temporary.path().join("tar");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=root:0", "--group=root:0", "--mtime=@1735689600"]);
    tar.args(LEFT_OUT.map(|path| format!("--exclude=./{path}")));
    if engine == Engine::Docker {
        tar.arg("--exclude=./usr/bin/ctr");
    }
    tar.arg("--file").arg(&unfinished).arg("--directory").arg(&root).arg(".");
    run("tar", tar.arg("--directory").arg(&more).args([".dockerenv", "etc", "usr"]), packages[0])?;
    fs::rename(&unfinished, &path).map_err(at(&path))?;
    Ok(path)
}
