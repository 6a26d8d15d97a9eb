//! Mounts of volumes whose device may not have appeared yet.

use core::ffi::CStr;

use linux_raw_sys::general::{MNT_DETACH, S_IFREG};
use whit::contract::{ROOT, SHARED_FILE};
use whit::error::Errno;
use whit::features::Feature;
use whit::root::RootSpec;
use whit::volume::{FILE, Volume};

use crate::devices::{Device, verity};
use crate::end::End;
use crate::filesystems;
use crate::inside::{self, Walk};
use crate::machine::{Machine, now_ms};
use crate::supervise;
use crate::sys::call::{mknod, mount_bind, unmount};

/// Tries to mount a volume, with its parsed source, below `root`: at once, then each time that a device appears or changes, and at the
/// deadline: then although its file system lacks a disk, which needs the option `degraded`. Returns whether it is mounted. If not, [`Device::failure`] is the reason: EINVAL for a source that is `None`, ENOENT
/// for a device that did not appear.
pub(crate) fn mount_when_there(
    machine: &mut Machine<'_>,
    deadline_ms: u64,
    device: &mut Device,
    root: &CStr,
    source: &Option<RootSpec<'_>>,
    volume: &Volume<'_>,
) -> Result<bool, End> {
    let Some(source) = source else {
        device.failure = Errno::INVAL;
        return Ok(false);
    };
    let is_file = volume.fstype == FILE;
    loop {
        device.is_late = now_ms() >= deadline_ms;
        let mut entered = Ok(());
        let is_root = machine.root.is_none();
        let found = device.find(source);
        let found = if is_root { found.and_then(|()| verity::protect(device, &machine.options)) } else { found };
        let mounted = found.and_then(|()| {
            if !Feature::Volumes.is_enabled() {
                entered = inside::enter(root, volume.path);
                return entered.and_then(|()| filesystems::mount_device(device, volume, c"."));
            }
            let mut walk = Walk::new(root, is_file);
            entered = walk.to(volume.path);
            entered?;
            // A single file's share is mounted over the root, in which the working directory stays.
            filesystems::mount_device(device, volume, if is_file { ROOT } else { c"." })?;
            if is_file {
                // EEXIST for a file of the image, which may be a device: it is not opened.
                let _ = mknod(walk.name(), S_IFREG | 0o644, 0);
                entered = mount_bind(SHARED_FILE, walk.name());
                let _ = unmount(ROOT, MNT_DETACH);
            }
            entered
        });
        inside::leave();
        let Err(errno) = mounted else { return Ok(true) };
        if device.lacks_a_disk() {
            device.failure = Errno::LACKS_A_DISK;
        } else {
            device.failure = errno;
            // Other errors are final: the device is there. ENXIO and ENOMEDIUM: the node may appear before the medium.
            if entered.is_err() || !matches!(errno, Errno::NOENT | Errno::NXIO | Errno::NOMEDIUM) {
                return Ok(false);
            }
            device.failure = Errno::NOENT;
        }
        if device.is_late {
            return Ok(false);
        }
        while !supervise::wait_or_end(machine, deadline_ms)? && now_ms() < deadline_ms {}
    }
}
