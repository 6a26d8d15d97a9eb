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

/// Folders that are not in the packages.
const FOLDERS: [&str; 14] =
    ["boot", "dev/pts", "dev/shm", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var/tmp"];

/// Libraries may need further libraries; a chain of packages longer than this is a mistake.
const MAX_ROUNDS: usize = 8;

/// Returns the root of a system with these packages and the libraries that they need; makes it if it does not exist yet. Other
/// dependencies than libraries are not followed, so programs that others call have to be named.
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

/// Returns the requested packages, and every library that they need. Of alternatives, the offered ones are taken.
fn with_libraries(store: &Store, requested: &[String]) -> Result<BTreeSet<String>, Error> {
    let mut all: BTreeSet<String> = requested.iter().cloned().collect();
    let mut round = all.clone();
    for _ in 0..MAX_ROUNDS {
        let names: Vec<&str> = round.iter().map(String::as_str).collect();
        let offered = store.candidates(&names)?;
        let is_offered = |name: &String| offered.iter().any(|(offered, _)| offered == name);
        if let Some(name) = requested.iter().find(|name| round.contains(*name) && !is_offered(name)) {
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
    Err(Error::Package { what: requested.join(", "), detail: "the chain of their libraries is too long".into() })
}

/// Makes the folders, those of `more` too, and the links that packages are unpacked through, with the modes of a system
/// whatever the umask.
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

/// Unpacks packages. `dpkg-deb --extract` would replace the links of the merged `/usr` by folders; tar follows them by an option.
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
