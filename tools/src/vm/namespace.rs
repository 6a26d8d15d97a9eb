//! Mount namespaces (mount_namespaces(7)), and programs with a read-only folder or a single file: bind mounts in the program's own
//! namespace.
//! No other process sees such a mount. It ends with the last process in the namespace.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_bind_recursive, mount_change, mount_remount};
use rustix::thread::UnshareFlags;

/// Runs `start` in a thread whose mount namespace has `folder`, with all mounts below it, read-only at `point`. Processes
/// started by `start` stay in that namespace.
///
/// # Errors
/// Errors of the system calls, which need root, and of `start`.
pub(crate) fn with_folder<T: Send>(
    folder: &Path,
    point: &Path,
    start: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    in_own(|| {
        mount_bind_recursive(folder, point)?;
        mounts_below(point)?.iter().try_for_each(|mount| protect(mount))?;
        start()
    })
}

/// Runs `start` in a thread whose mount namespace has `file` at `name` in the folder `point`, which is read-only; with `read_only` the file
/// is, too.
///
/// # Errors
/// Errors of the system calls, which need root, and of `start`.
pub(crate) fn with_file<T: Send>(
    file: &Path,
    point: &Path,
    name: &str,
    read_only: bool,
    start: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let target = point.join(name);
    fs::File::create(&target)?;
    in_own(|| {
        mount_bind(point, point)?;
        protect(point)?;
        mount_bind(file, &target)?;
        if read_only {
            protect(&target)?;
        }
        start()
    })
}

/// Runs a function in a thread with a mount namespace of its own.
fn in_own<T: Send>(run: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let run = || enter().and_then(|()| run());
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|_| Err(io::Error::other("a thread failed")))
}

/// Makes a mount read-only; it keeps its other flags.
pub(crate) fn protect(mount: &Path) -> io::Result<()> {
    Ok(mount_remount(mount, MountFlags::BIND | MountFlags::RDONLY | kept_flags(mount)?, "")?)
}

/// Moves this thread to a new mount namespace with private propagation.
pub(crate) fn enter() -> io::Result<()> {
    // Deprecated because it can also unshare descriptor tables; this call does not.
    #[expect(deprecated, reason = "the other function is unsafe for flags that are not used here")]
    rustix::thread::unshare(UnshareFlags::NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Returns the mount points at and below `point`, in mount order (proc_pid_mountinfo(5)).
pub(crate) fn mounts_below(point: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/thread-self/mountinfo")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.map(|point| PathBuf::from(unescaped(point))).filter(|path| path.starts_with(point)).collect())
}

/// Decodes a path of mountinfo: space, tab, newline and backslash are escaped as three octal digits.
fn unescaped(path: &[u8]) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *byte == b'\\') {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Returns the flags of a mount that a remount would clear.
fn kept_flags(mount: &Path) -> io::Result<MountFlags> {
    let has = statvfs(mount.as_os_str().as_bytes())?.f_flag;
    let flags = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept = flags.into_iter().filter(|(flag, _)| has.contains(*flag));
    Ok(kept.fold(MountFlags::empty(), |all, (_, flag)| all | flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(unescaped(br"/a\040b\134c\012d\0"), OsString::from("/a b\\c\nd\\0"));
    }

    #[test]
    fn a_folder_and_mounts_below_it_are_read_only_in_the_namespace() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let (folder, point) = (top.path().join("a folder,\nof two lines"), top.path().join("point"));
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::create_dir(&point).unwrap();
        fs::write(folder.join("file"), "content").unwrap();
        let script = format!(
            "cd '{}' && cat file && ! touch new && ! touch inner/new && ! rm file && mount -t tmpfs none /mnt && touch /mnt/x",
            point.display()
        );
        // Runs in a separate namespace, because it mounts a file system below the folder.
        let output = thread::scope(|scope| {
            let run = || {
                enter()?;
                rustix::mount::mount("none", folder.join("inner"), "tmpfs", MountFlags::NOSUID, None)?;
                with_folder(&folder, &point, || Command::new("sh").arg("-c").arg(script).output())
            };
            scope.spawn(run).join().unwrap().unwrap()
        });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, b"content");
        // Outside of the namespace, the folder is unchanged.
        fs::write(folder.join("new"), "").unwrap();
        assert_eq!(fs::read_dir(&point).unwrap().count(), 0);
    }
}
