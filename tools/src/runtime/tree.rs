//! The tree of files that a machine gets as its root: the container's root folder with all mounts in it, in a mount namespace of its
//! own (mount_namespaces(7)), which ends with the machine.
//!
//! The root folder is the image's: its links are followed inside it only (openat2(2), RESOLVE_IN_ROOT).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, unmount};
use rustix::process::{chdir, pivot_root};

use super::config::{Machine, Shared};
use crate::vm::namespace;

/// The mount point, in the container's folder.
const POINT: &str = "tree";
/// The mount points of the init in the root.
const SYSTEM: [&str; 3] = ["dev", "proc", "sys"];

/// Assembles the tree in a new mount namespace of this thread. Returns its path. The working directory is the container's folder.
///
/// # Errors
/// A message of one line.
pub(super) fn assemble(machine: &Machine) -> Result<PathBuf, String> {
    let describe = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    namespace::enter().map_err(|error| format!("a mount namespace: {error}"))?;
    fs::create_dir(POINT).map_err(|error| describe(Path::new(POINT), error))?;
    let point = fs::canonicalize(POINT).map_err(|error| describe(Path::new(POINT), error))?;
    mount_bind_recursive(&machine.root, &point).map_err(|error| describe(&machine.root, error.into()))?;
    for folder in SYSTEM {
        // A read-only root that lacks one is refused by the init.
        let _ = fs::create_dir(point.join(folder));
    }
    add_all(&point, &machine.mounts)?;
    for path in &machine.points {
        // As above.
        let _ = find(&point, path, true);
    }
    if machine.read_only {
        namespace::protect(&point).map_err(|error| describe(&machine.root, error))?;
    }
    Ok(point)
}

/// Makes the tree the root of a further mount namespace of this thread, as it is for a container's process: engines copy files by
/// joining that namespace.
///
/// # Errors
/// Errors of the system calls.
pub(super) fn enter(point: &Path) -> io::Result<()> {
    namespace::enter()?;
    chdir(point)?;
    // The old root is mounted over the new one, and taken away from there (pivot_root(2), "pivot_root(".", ".")").
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}

/// Mounts all sources in the tree. They become read-only at the end: podman mounts secrets in such a folder.
fn add_all(point: &Path, mounts: &[Shared]) -> Result<(), String> {
    let mut protected = Vec::new();
    for shared in mounts {
        let describe = |error: String| format!("mount {}: {error}", shared.path.display());
        for mount in add(point, shared).map_err(describe)? {
            protected.push((shared, mount));
        }
    }
    protected.iter().try_for_each(|(shared, mount)| {
        namespace::protect(&link(mount)).map_err(|error| format!("mount {}: {error}", shared.path.display()))
    })
}

/// Mounts one source in the tree. Returns the mounts that are to be read-only.
fn add(point: &Path, shared: &Shared) -> Result<Vec<OwnedFd>, String> {
    let is_folder = match &shared.source {
        Some(source) => {
            let metadata = source.metadata().map_err(|error| format!("{}: {error}", source.display()))?;
            let kind = std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type())
                || std::os::unix::fs::FileTypeExt::is_char_device(&metadata.file_type());
            if kind {
                return Err(format!("{}: a machine has no devices of its host", source.display()));
            }
            metadata.is_dir()
        }
        None => true,
    };
    let make = || -> io::Result<Vec<OwnedFd>> {
        let target = find(point, &shared.path, is_folder)?;
        match &shared.source {
            Some(source) => mount_bind_recursive(source, link(&target))?,
            None => {
                let data = std::ffi::CString::new(shared.data.as_str())?;
                mount("tmpfs", link(&target), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str())?;
            }
        }
        if !shared.read_only {
            return Ok(Vec::new());
        }
        let mounted = find(point, &shared.path, is_folder)?;
        let mounts = namespace::mounts_below(&fs::read_link(link(&mounted))?)?;
        mounts.iter().map(|mount| Ok(openat(CWD, mount, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)).collect()
    };
    make().map_err(|error| error.to_string())
}

/// Returns a magic link of proc(5), which leads to the file itself, wherever its name leads now.
fn link(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Finds a path in the tree; a missing folder, and a missing file at its end, is created.
fn find(point: &Path, path: &Path, is_folder: bool) -> io::Result<OwnedFd> {
    let root = openat(CWD, point, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let open = |path: &Path| {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let names: Vec<_> = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let (mut walked, mut found) = (PathBuf::from("."), open(Path::new("."))?);
    for (place, name) in names.iter().enumerate() {
        walked.push(name);
        found = match open(&walked) {
            Err(Errno::NOENT) => {
                if is_folder || place + 1 < names.len() {
                    mkdirat(&found, name.as_os_str(), Mode::from_raw_mode(0o755))?;
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    openat(&found, name.as_os_str(), flags, Mode::from_raw_mode(0o644))?;
                }
                open(&walked)?
            }
            opened => opened?,
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::config::Shared;
    use std::thread;

    #[test]
    fn a_read_only_mount_has_no_writable_mount_below_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let (point, source) = (top.path().join("point"), top.path().join("source"));
        fs::create_dir_all(source.join("inner")).unwrap();
        fs::create_dir(&point).unwrap();
        let check = || {
            namespace::enter().unwrap();
            mount("none", source.join("inner"), "tmpfs", MountFlags::NOSUID, None).unwrap();
            let shared = |read_only, path: &str, source: &Path| Shared {
                path: path.into(),
                source: Some(source.into()),
                data: String::new(),
                read_only,
            };
            let is_writable = |read_only, name: &str| {
                add_all(&point, &[shared(read_only, name, &source)]).unwrap();
                ["new", "inner/new"].map(|file| fs::write(point.join(name).join(file), "").is_ok())
            };
            assert_eq!((is_writable(true, "fixed"), is_writable(false, "data")), ([false; 2], [true; 2]));
            // Mounts in it whose mount points are not there yet, and one over it.
            let other = top.path().join("other");
            fs::create_dir(&other).unwrap();
            let mounts = [
                shared(true, "outer", &source),
                shared(false, "outer/later", &other),
                shared(true, "outer/fixed", &other),
                shared(true, "covered", &source),
                shared(false, "covered", &other),
            ];
            add_all(&point, &mounts).unwrap();
            let is_writable = |path: &str| fs::write(point.join(path).join("more"), "").is_ok();
            assert_eq!(
                ["outer", "outer/inner", "outer/later", "outer/fixed", "covered"].map(is_writable),
                [false, false, true, false, true]
            );
            assert!(fs::write(source.join("inner/more"), "").is_ok(), "the source stays writable");
        };
        thread::scope(|scope| scope.spawn(check).join().unwrap());
    }
}
