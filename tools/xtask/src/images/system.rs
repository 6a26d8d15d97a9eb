//! Packages unpacked into one folder that is laid out as a Debian system's root: nothing is installed, no maintainer script
//! runs.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use whit_tools::kernel::debian::{Error, Store, at, run};

/// The links of a merged `/usr`.
const LINKS: [(&str, &str); 4] = [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// Folders that the packages do not bring.
const FOLDERS: [&str; 14] =
    ["boot", "dev/pts", "dev/shm", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var/tmp"];

/// Libraries may need further libraries; a chain of packages longer than this is a mistake.
const MAX_ROUNDS: usize = 8;

/// The root of a system with these packages and the libraries that they need, made when it is not there yet. Programs
/// that others call have to be asked for: what is not a library is not followed.
pub fn root(store: &mut Store, names: &[String]) -> Result<PathBuf, Error> {
    store.fresh(|store| make(store, names))
}

fn make(store: &Store, names: &[String]) -> Result<PathBuf, Error> {
    let names = with_libraries(store, names)?;
    let packages = store.candidates(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let path = store.folder().join(format!("system_{:016x}", hasher.finish()));
    if path.is_dir() {
        return Ok(path);
    }
    let temporary = store.temporary()?;
    let root = temporary.path().join("root");
    lay_out(&root, &[])?;
    unpack(store, &packages.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), &root)?;
    std::fs::rename(&root, &path).map_err(at(&path))?;
    Ok(path)
}

/// What was asked for, and every library that any of it needs. Of alternatives those that are offered are taken.
fn with_libraries(store: &Store, asked: &[String]) -> Result<BTreeSet<String>, Error> {
    let mut all: BTreeSet<String> = asked.iter().cloned().collect();
    let mut round = all.clone();
    for _ in 0..MAX_ROUNDS {
        let names: Vec<&str> = round.iter().map(String::as_str).collect();
        let offered = store.candidates(&names)?;
        let is_offered = |name: &String| offered.iter().any(|(offered, _)| offered == name);
        if let Some(name) = asked.iter().find(|name| round.contains(*name) && !is_offered(name)) {
            return Err(Error::NotOffered(name.clone()));
        }
        let names: Vec<&str> = offered.iter().map(|(name, _)| name.as_str()).collect();
        let needed = store.depends(&names)?;
        let is_library = |name: &String| name.starts_with("lib") || name == "zlib1g";
        round = needed.into_iter().filter(is_library).filter(|name| !all.contains(name)).collect();
        if round.is_empty() {
            return Ok(all);
        }
        all.extend(round.iter().cloned());
    }
    Err(Error::Package { what: asked.join(", "), detail: "their libraries need ever more libraries".into() })
}

/// Makes the folders, `more` of them, and the links that packages are unpacked through; the modes are a system's, not
/// this process's umask.
pub(super) fn lay_out(root: &Path, more: &[&str]) -> Result<(), Error> {
    let merged = LINKS.map(|(_, target)| target);
    for folder in FOLDERS.iter().chain(more).chain(&merged) {
        let folder = root.join(folder);
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        for folder in folder.ancestors().take_while(|folder| *folder != root) {
            std::fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(at(folder))?;
        }
    }
    for (link, target) in LINKS {
        let link = root.join(link);
        symlink(target, &link).map_err(at(&link))?;
    }
    for (folder, mode) in [("root", 0o700), ("tmp", 0o1777), ("var/tmp", 0o1777)] {
        let folder = root.join(folder);
        std::fs::set_permissions(&folder, Permissions::from_mode(mode)).map_err(at(&folder))?;
    }
    Ok(())
}

/// `dpkg-deb --extract` would replace the links of the merged `/usr` by folders; tar is told to follow them.
pub(super) fn unpack(store: &Store, names: &[&str], root: &Path) -> Result<(), Error> {
    let temporary = store.temporary()?;
    for archive in store.archives(names, temporary.path())? {
        let package = archive.display().to_string();
        let content = run("dpkg-deb", Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&archive), &package)?;
        let path = temporary.path().join("content.tar");
        std::fs::write(&path, content).map_err(at(&path))?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--preserve-permissions"]);
        run("tar", tar.arg("--directory").arg(root).arg("--file").arg(&path), &package)?;
    }
    Ok(())
}
