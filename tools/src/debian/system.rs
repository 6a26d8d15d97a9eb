//! Packages unpacked into one folder that is laid out as a Debian system's root: nothing is installed, no maintainer script
//! runs.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::{Error, Store, at, run};

/// The links of a merged `/usr`.
const LINKS: [(&str, &str); 4] = [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// Folders that the packages do not bring.
const FOLDERS: [&str; 14] =
    ["boot", "dev/pts", "dev/shm", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var/tmp"];

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
