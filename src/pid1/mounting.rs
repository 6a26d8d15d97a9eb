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

/// Tries to mount a volume, with its parsed source, below `root`: at once, then each time that a device appears or changes, until
/// the deadline. Returns whether it is mounted. If not, [`Device::failure`] is the reason: EINVAL for a source that is `None`, ENOENT
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
        let mut entered = Ok(());
        let mounted = device.find(source).and_then(|()| {
            entered = inside::enter(root, volume.path);
            entered.and_then(|()| filesystems::mount_device(device, volume))
        });
        inside::leave();
        let Err(errno) = mounted else { return Ok(true) };
        device.failure = errno;
        // Other errors are final: the device is there. ENXIO and ENOMEDIUM: the node may appear before the medium.
        if entered.is_err() || !matches!(errno, Errno::NOENT | Errno::NXIO | Errno::NOMEDIUM) {
            return Ok(false);
        }
        device.failure = Errno::NOENT;
        loop {
            if now_ms() >= deadline_ms {
                return Ok(false);
            }
            if supervise::wait_or_end(machine, deadline_ms)? {
                break;
            }
        }
    }
}
