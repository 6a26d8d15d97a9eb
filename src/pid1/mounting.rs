//! Mounts of volumes whose device may not have appeared yet.

use core::ffi::CStr;

use whit::error::Errno;
use whit::root::RootSpec;
use whit::volume::Volume;

use crate::devices::Device;
use crate::end::End;
use crate::filesystems;
use crate::inside;
use crate::machine::{Machine, now_ms};
use crate::supervise;

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
    loop {
        device.is_late = now_ms() >= deadline_ms;
        let mut entered = Ok(());
        let mounted = device.find(source).and_then(|()| {
            entered = inside::enter(root, volume.path);
            entered.and_then(|()| filesystems::mount_device(device, volume))
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
