//! A rootfs, which is a root inside the initramfs: it needs no disk and no copy.

use linux_raw_sys::general::{MS_BIND, MS_RDONLY};
use rustix::fs::OFlags;
use whit::contract::{ROOT, ROOTFS, ROOTFS_ATTRIBUTES, ROOTFS_END, ROOTFS_NEEDS, join, joined_len};
use whit::error::Errno;
use whit::rootfs::{BLOCK, MAX_NEEDS, take_value};
use whit::text::Text;

use crate::console::log_failure;
use crate::files;
use crate::filesystems::{Root, next_text};
use crate::message::error;
use crate::sys::call::{exists, mount_bind, remount, set_attribute};
use crate::sys::fd;

/// Mounts the rootfs as the root. Returns `None` when it is missing or incomplete; the reason is logged.
#[inline(never)]
pub(crate) fn mount(read_only: bool) -> Option<Root> {
    let mut room = files::buffer::<{ MAX_NEEDS + 1 }>();
    if !exists(ROOTFS_END)
        && let Ok(text) = files::read(ROOTFS_NEEDS, &mut room)
    {
        error!("{}", Text(text));
        return None;
    }
    restore_attributes();
    // A bind mount can be moved to /, and pivot_root(2) accepts it as the old root. The kernel's initial root allows neither.
    let mut mounted = mount_bind(ROOTFS, ROOT);
    if read_only && mounted.is_ok() {
        mounted = remount(ROOT, MS_BIND | MS_RDONLY);
    }
    match mounted {
        Ok(()) => return Some(Root { on_device: false, read_only }),
        Err(Errno::NOENT) => {
            const TEXTS: &[&[u8]] =
                &[b"no root: neither a device as root= nor an image in the initramfs at ", ROOTFS.to_bytes()];
            error!("{}", Text(const { &join::<{ joined_len(TEXTS) }>(TEXTS) }));
        }
        Err(errno) => log_failure(c"mount ", ROOTFS.to_bytes(), errno),
    }
    None
}

/// Sets the extended attributes, which cpio cannot store, one block of the table at a time.
fn restore_attributes() {
    let Ok(table) = fd::open(ROOTFS_ATTRIBUTES, OFlags::RDONLY) else { return };
    let mut room = files::buffer::<BLOCK>();
    while let Ok(mut rest @ [_, ..]) = fd::read(&table, &mut room).map(|block| &*block) {
        loop {
            let (path, name, text) = (next_text(&mut rest), next_text(&mut rest), next_text(&mut rest));
            let Some(value) = take_value(&mut rest).filter(|_| !path.is_empty()) else { break };
            if set_attribute(path, name, value).is_err() && !text.is_empty() {
                error!("{}", Text(text.to_bytes()));
            }
        }
    }
}
