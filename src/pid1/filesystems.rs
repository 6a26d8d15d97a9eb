//! Mounts: the early ones, the root, and those inside the root.

use core::ffi::CStr;

use linux_raw_sys::general::{MS_RDONLY, S_IFCHR};
use rustix::fs::Mode;
use rustix::process::umask;
use whit::contract::ROOT;
use whit::error::Errno;
use whit::mounts::{LINKS, MOUNTS, NODES};
use whit::text::{Text, position, split, strip_prefix};
use whit::volume::{MountOption, Volume, mount_option};

use crate::console::log_failure;
use crate::devices::Device;
use crate::files::{self, MAX_PATH, Path};
use crate::inside;
use crate::message::info;
use crate::sys::c_str;
use crate::sys::call::{chdir, mknod, mount, mount_bind_recursive, symlink};
use crate::sys::fd;

/// Mounts the entries of a packed table, creating missing directories. A directory that is a mount already is skipped.
pub(crate) fn mount_table(mut packed: &'static [u8]) {
    while mount_next(&mut packed) {}
}

/// Mounts the next entry of the table; returns `false` at its end.
fn mount_next(rest: &mut &'static [u8]) -> bool {
    let Some((flags, texts)) = rest.split_first() else { return false };
    *rest = texts;
    let (target, fstype, data) = (next_text(rest), next_text(rest), next_text(rest));
    let made = match fd::status(target) {
        Some(status) if status.is_mount => return true,
        Some(_) => Ok(()),
        None => files::make_directory(target),
    };
    match made.and_then(|()| mount(fstype, target, fstype, (*flags).into(), data)) {
        Ok(()) | Err(Errno::BUSY) => {}
        Err(Errno::NODEV) => info!("no {} in this kernel", Text(fstype.to_bytes())),
        Err(errno) => log_failure(c"mount ", target.to_bytes(), errno),
    }
    true
}

/// Removes the first text from a packed list, and returns it.
#[inline(never)]
pub(crate) fn next_text<'a>(rest: &mut &'a [u8]) -> &'a CStr {
    let text = c_str(rest);
    *rest = rest.get(text.count_bytes() + 1..).unwrap_or_default();
    text
}

/// Iterates over the texts of a packed list, each with its NUL.
pub(crate) fn texts(packed: &[u8]) -> impl Iterator<Item = &CStr> {
    let mut rest = packed;
    core::iter::from_fn(move || (!rest.is_empty()).then(|| next_text(&mut rest)))
}

/// Mounts the other early file systems, then creates the device nodes and links that are missing. Calls `between` after each mount.
/// /proc is mounted.
pub(crate) fn prepare(mut between: impl FnMut()) {
    let mut rest: &'static [u8] = &MOUNTS;
    while mount_next(&mut rest) {
        between();
    }
    if chdir(c"/dev").is_err() {
        return;
    }
    let kernel_umask = umask(Mode::empty()); // 022 would remove write permission from the nodes.
    for node in &NODES {
        // Numbers below 256 (include/linux/kdev_t.h, new_encode_dev()).
        let device = u32::from(node.major) << 8 | u32::from(node.minor);
        // EEXIST where devtmpfs has made them.
        let _ = mknod(c_str(&node.name), S_IFCHR | u32::from(node.mode), device);
    }
    umask(kernel_umask);
    let mut links = LINKS;
    while !links.is_empty() {
        let (name, target) = (next_text(&mut links), next_text(&mut links));
        let _ = symlink(target, name);
    }
    let _ = chdir(c"/");
}

/// The mounted root.
pub(crate) struct Root {
    /// Whether it is a file system of its own, and not part of the initramfs.
    pub(crate) on_device: bool,
    /// Whether it is mounted read-only.
    pub(crate) read_only: bool,
}

/// Mounts a volume's device on `target`, trying its file system types in turn; read-only if the device is
/// write-protected.
///
/// # Errors
/// ENOENT for a tag that the host does not have (yet), and the errors of mount(2).
#[inline(never)]
pub(crate) fn mount_device(device: &mut Device, volume: &Volume<'_>, target: &CStr) -> Result<(), Errno> {
    let Volume { fstype, options, mut flags, .. } = *volume;
    let fstypes = device.fstypes(fstype);
    let (list, separator, prefix) = if fstypes.is_empty() {
        // Lines of the kernel's types; those that need a device have no "nodev" in front of the tab.
        (files::value_of(&mut device.place, c"/proc/filesystems", 0, 0, b""), b'\n', &b"\t"[..])
    } else {
        (fstypes, b',', &b""[..])
    };
    let mut data = whit::bounded::Vec::<u8, MAX_PATH>::new();
    let _ = data.extend_from_slice(match position(b"9p tmpfs", b' ', fstypes) {
        Some(0) => DATA_9P,
        Some(_) => DATA_TMPFS,
        None => b"",
    });
    for word in split(options, b',') {
        match mount_option(word) {
            MountOption::Set(bits) => flags |= bits,
            MountOption::Clear(bits) => flags &= !bits,
            MountOption::Nothing => {}
            MountOption::Data(word) => data
                .extend_from_slice(word)
                .and_then(|()| data.extend_from_slice(b","))
                .map_err(|_| Errno::NAMETOOLONG)?,
        }
    }
    // The kernel ignores a trailing comma. A full buffer has no room for the NUL.
    data.push(0).map_err(|_| Errno::NAMETOOLONG)?;
    let mut last = Errno::INVAL;
    for fstype in split(list, separator).filter_map(|line| strip_prefix(line, prefix)) {
        let mut name = Path::new();
        let fstype = name.set(fstype);
        for flags in [flags, flags | MS_RDONLY] {
            match mount(device.path.text(), target, fstype, flags, c_str(&data)) {
                Ok(()) => {
                    device.read_only = flags & MS_RDONLY != 0;
                    return Ok(());
                }
                Err(errno) => last = errno,
            }
            // Retries read-only, as the kernel does (init/do_mounts.c, mount_root_generic).
            if !matches!(last, Errno::ACCESS | Errno::ROFS) {
                break;
            }
        }
    }
    // EINVAL of virtiofs: no such tag (fs/fuse/virtio_fs.c, virtio_fs_get_tree), or an unknown option. 9P returns ENOENT for a
    // missing tag (net/9p/trans_virtio.c, p9_virtio_create).
    Err(if last == Errno::INVAL && fstypes == b"virtiofs" { Errno::NOENT } else { last })
}

/// The options for QEMU's 9p server (Documentation/filesystems/9p.rst). The default message size before Linux 5.16, 8 KiB, makes
/// every transfer slow.
const DATA_9P: &[u8] = b"trans=virtio,version=9p2000.L,msize=262144,";
/// A directory that every user may write to, as docker makes it.
const DATA_TMPFS: &[u8] = b"mode=1777,";

/// Binds /dev, /proc and /sys, with the mounts in them, into the root. Returns whether the boot can go on. Failures are logged.
///
/// A link or a file of the image in the place of a directory ends the boot, as runc refuses such an image (libcontainer,
/// mountToRootfs()), and so does a directory that is missing in a read-only root.
pub(crate) fn bind_system_mounts() -> bool {
    for target in texts(b"/mnt/dev\0/mnt/proc\0/mnt/sys\0") {
        let source = c_str(target.to_bytes_with_nul().get(ROOT.count_bytes()..).unwrap_or_default());
        let bound = inside::enter_plain(target).and_then(|()| mount_bind_recursive(source, c"."));
        inside::leave();
        if let Err(errno) = bound {
            log_failure(c"mount ", target.to_bytes(), errno);
            return false;
        }
    }
    true
}
