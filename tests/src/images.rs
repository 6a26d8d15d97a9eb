//! Container images that were made without docker: packages of Debian's and the files below `tests/images/NAME` as the tar
//! that `docker export` would write, and the configuration that `docker inspect` would show.
//!
//! A tar is made once and kept below `target/images`, under a hash of its content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use whit_tools::kernel::debian::Error;
use whit_tools::runrecord::RunRecord;
use xtask::workspace;

use crate::debian::store;
use crate::whole::{make_disk, once};

/// A container image.
pub struct Image {
    name: &'static str,
    /// Sets of packages, one per Debian release: the first that apt offers is used. Empty for an image without packages.
    packages: &'static [&'static [&'static str]],
    /// Symbolic links and their targets.
    links: &'static [(&'static str, &'static str)],
    /// A program from a package that is not part of the image: the package, the path in it, and the path in the image.
    program: Option<(&'static str, &'static str, &'static str)>,
}

/// nginx with the stock image's configuration: its entrypoint, its user, its logs linked to /dev/stdout and /dev/stderr.
pub const NGINX: Image = Image {
    name: "nginx",
    packages: &[&["nginx", "nginx-common", "dash", "coreutils", "findutils", "grep", "sed"]],
    links: &[("var/log/nginx/access.log", "/dev/stdout"), ("var/log/nginx/error.log", "/dev/stderr")],
    program: None,
};

/// redis, whose entrypoint drops root after it has changed the owner of the data.
pub const REDIS: Image = Image {
    name: "redis",
    packages: &[&["redis-server", "redis-tools", "dash", "coreutils", "findutils", "util-linux"]],
    links: &[],
    program: None,
};

/// A Python program that reports its environment. The image has env(1) and no shell.
pub const PYTHON: Image = Image {
    name: "python",
    packages: &[
        &["python3-minimal", "python3.11-minimal", "libpython3.11-stdlib", "coreutils"],
        &["python3-minimal", "python3.13-minimal", "libpython3.13-stdlib", "coreutils"],
    ],
    links: &[],
    program: None,
};

/// PostgreSQL, which creates its cluster at the first start.
pub const POSTGRES: Image = Image {
    name: "postgres",
    packages: &[
        &["postgresql-15", "tzdata", "libc-bin", "dash", "coreutils", "util-linux"],
        &["postgresql-17", "tzdata", "libc-bin", "dash", "coreutils", "util-linux"],
    ],
    links: &[],
    program: None,
};

/// busybox, with no directory except its own.
pub const BUSYBOX: Image = Image {
    name: "busybox",
    packages: &[],
    links: &[("bin/sh", "busybox"), ("bin/cat", "busybox"), ("bin/mount", "busybox"), ("bin/grep", "busybox")],
    program: Some(("busybox-static", "bin/busybox", "bin/busybox")),
};

/// One static program.
pub const STATIC: Image =
    Image { name: "static", packages: &[], links: &[], program: Some(("bash-static", "bin/bash-static", "bash")) };

/// Debian with systemd and a login prompt on the console.
pub const SYSTEMD: Image = Image {
    name: "systemd",
    packages: &[&[
        "systemd",
        "systemd-sysv",
        "udev",
        "dbus",
        "dbus-daemon",
        "dbus-system-bus-common",
        "kmod",
        "bash",
        "dash",
        "coreutils",
        "util-linux",
        "mount",
        "login",
        "libc-bin",
        "libpam-modules",
        "libpam-runtime",
    ]],
    links: &[
        ("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target"),
        ("etc/systemd/system/multi-user.target.wants/report.service", "../report.service"),
    ],
    program: None,
};

/// The empty files that container engines leave in an image as mount points.
const ENGINES: [&str; 5] = [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Paths left out of packages: documentation, and the compiler of 110 MB that PostgreSQL does not need.
const LEFT_OUT: [&str; 5] =
    ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/llvm-*", "usr/lib/*/libLLVM-*"];

/// The time of every entry: the same packages and files make the same tar.
const MTIME: &str = "--mtime=@1735689600";

/// A file of an image.
#[derive(Hash)]
enum Entry {
    /// Its content, and whether it is executable.
    File(Vec<u8>, bool),
    Link(&'static str),
}

impl Image {
    /// Returns a disk with the image's files and its run record, as mkraw makes it.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        let tar = self.tar();
        once(&format!("image-{}.img", self.name), |path| make_disk(File::open(&tar).unwrap(), &self.record(), path))
    }

    /// Returns the run record of what `docker inspect` would show.
    fn record(&self) -> RunRecord {
        let path = self.folder().join("config.json");
        RunRecord::parse(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(self.name)
    }

    /// Returns the image's files, as `docker export` would write them.
    #[must_use]
    pub fn tar(&self) -> PathBuf {
        let (system, entries) = (self.system(), self.entries());
        let mut hasher = DefaultHasher::new();
        (&system, &entries, LEFT_OUT, MTIME).hash(&mut hasher);
        let folder = workspace::target().join("images");
        let path = folder.join(format!("{}-{:016x}.tar", self.name, hasher.finish()));
        if !path.is_file() {
            fs::create_dir_all(&folder).unwrap();
            // It gets its name when it is complete.
            let temporary = tempfile::tempdir_in(&folder).unwrap();
            let unfinished = temporary.path().join("tar");
            pack(system.as_deref(), &entries, &temporary.path().join("files"), &unfinished);
            fs::rename(&unfinished, &path).unwrap();
        }
        path
    }

    /// Unpacks the packages.
    fn system(&self) -> Option<PathBuf> {
        let mut last = None;
        for packages in self.packages {
            let packages: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
            match xtask::images::system::root(&mut store(), &packages) {
                Err(Error::NotOffered(name)) => last = Some(name),
                system => return Some(system.unwrap_or_else(|error| panic!("{error}"))),
            }
        }
        assert!(last.is_none(), "{}: apt offers no {}", self.name, last.unwrap_or_default());
        None
    }

    /// Returns the image's own files by their paths.
    fn entries(&self) -> BTreeMap<PathBuf, Entry> {
        let mut entries = BTreeMap::new();
        if !self.packages.is_empty() {
            entries.extend(ENGINES.map(|path| (path.into(), Entry::File(Vec::new(), false))));
        }
        if let Some((package, from, to)) = self.program {
            let package = store().package(package).unwrap_or_else(|error| panic!("{error}"));
            // Since Debian 13 packages have nothing in /bin.
            let merged = package.join("usr").join(from);
            let from = if merged.is_file() { merged } else { package.join(from) };
            entries.insert(to.into(), Entry::File(fs::read(from).unwrap(), true));
        }
        add_files(&self.folder().join("files"), Path::new(""), &mut entries);
        entries.extend(self.links.iter().map(|(path, target)| (path.into(), Entry::Link(target))));
        entries
    }
}

/// Reads a folder's files. Of their modes only the executable bit counts, as in git.
fn add_files(folder: &Path, below: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    let Ok(found) = fs::read_dir(folder) else { return };
    for file in found.map(Result::unwrap) {
        let below = below.join(file.file_name());
        let metadata = file.metadata().unwrap();
        if metadata.is_dir() {
            add_files(&file.path(), &below, entries);
        } else {
            let is_program = metadata.permissions().mode() & 0o100 != 0;
            entries.insert(below, Entry::File(fs::read(file.path()).unwrap(), is_program));
        }
    }
}

/// Writes the tar: the packages, then the image's own files, which are put into `folder` first.
fn pack(system: Option<&Path>, entries: &BTreeMap<PathBuf, Entry>, folder: &Path, path: &Path) {
    for (below, entry) in entries {
        let file = folder.join(below);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        match entry {
            Entry::Link(target) => symlink(target, file).unwrap(),
            Entry::File(content, is_program) => {
                fs::write(&file, content).unwrap();
                fs::set_permissions(&file, Permissions::from_mode(if *is_program { 0o755 } else { 0o644 })).unwrap();
            }
        }
    }
    let tar = |operation: &str, folder: &Path| {
        let mut tar = Command::new("tar");
        tar.arg(operation).arg("--file").arg(path).args(["--sort=name", "--owner=root:0", "--group=root:0", MTIME]);
        tar.args(["--format=posix", "--pax-option=delete=atime,delete=ctime"]).arg("--directory").arg(folder);
        tar
    };
    if let Some(system) = system {
        // Replaced files are left out: no path is in the tar twice.
        let left_out = LEFT_OUT.iter().map(Path::new).chain(entries.keys().map(PathBuf::as_path));
        let left_out = left_out.map(|path| format!("--exclude={}", path.display()));
        let mut names: Vec<_> = fs::read_dir(system).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let status = tar("--create", system).arg("--anchored").args(left_out).args(names).status();
        assert!(status.unwrap().success(), "{}", path.display());
    }
    // The files, and directories that are not there yet: the others have the modes that the packages give them.
    let is_new = |path: &&Path| *path != Path::new("") && !system.is_some_and(|system| system.join(path).exists());
    let directories: BTreeSet<&Path> =
        entries.keys().flat_map(|path| path.ancestors().skip(1)).filter(is_new).collect();
    for directory in &directories {
        fs::set_permissions(folder.join(directory), Permissions::from_mode(0o755)).unwrap();
    }
    let names = directories.into_iter().chain(entries.keys().map(PathBuf::as_path));
    let operation = if system.is_some() { "--append" } else { "--create" };
    let status = tar(operation, folder).arg("--no-recursion").args(names).status();
    assert!(status.unwrap().success(), "{}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_is_valid() {
        for image in [NGINX, REDIS, PYTHON, POSTGRES, BUSYBOX, STATIC, SYSTEMD] {
            assert!(!image.record().is_empty(), "{}", image.name);
        }
    }
}
