//! PID 1 handed to the image's own init: systemd, s6, busybox's. The root is really switched, and the initramfs gives its
//! memory back.

use rustix::fs::{AtFlags, OFlags, unlinkat};
use rustix::mount::{UnmountFlags, unmount};
use rustix::system::RebootCommand;
use whit::dirent::names;
use whit::mounts;

use crate::files;
use crate::filesystems::{self, Root, texts};
use crate::shutdown;
use crate::sys::c_str;
use crate::sys::fd::{self, Fd};

/// Leaves the initramfs: what is mounted in it goes on in the root alone, and of its files none stays. The root is still to be
/// moved to `/`.
pub(crate) fn leave_initramfs(root: &Root) {
    filesystems::mount_all(&mounts::RUN);
    for ours in texts(b"/dev\0/proc\0/sys\0/tmp\0/run\0") {
        let _ = unmount(ours, UnmountFlags::DETACH);
    }
    // A root that is part of the initramfs needs it; a file system that is no initramfs is somebody's.
    if root.on_device
        && let Ok(directory) = fd::open(c"/", OFlags::DIRECTORY)
        && fd::is_in_memory(&directory)
    {
        empty(&directory);
    }
    // As the kernel has it when it starts an init.
    shutdown::reboot(RebootCommand::CadOn);
}

/// Removes all that is in a directory, but for what is mounted there.
fn empty(directory: &Fd) {
    let mut buffer = files::buffer::<1024>();
    while let Ok(entries @ [_, ..]) = fd::entries(directory, &mut buffer) {
        for name in names(entries).map(c_str) {
            if unlinkat(directory, name, AtFlags::empty()).is_err()
                && let Ok(below) = fd::open_below(directory, name)
            {
                empty(&below);
                let _ = unlinkat(directory, name, AtFlags::REMOVEDIR);
            }
        }
    }
}
