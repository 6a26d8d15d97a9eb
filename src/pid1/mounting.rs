//! Mounts of volumes whose device may appear later than the mount is asked for.

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
/// the deadline. Returns whether it is read-only; EINVAL for a source that is `None`, ENOENT for a device that did not appear.
pub(crate) fn mount_when_there(
    machine: &mut Machine<'_>,
    deadline_ms: u64,
    device: &mut Device,
    root: &CStr,
    source: &Option<RootSpec<'_>>,
    volume: &Volume<'_>,
) -> Result<Result<bool, Errno>, End> {
    let Some(source) = source else { return Ok(Err(Errno::INVAL)) };
    loop {
        let mut entered = Ok(());
        let mounted = device.find(source).and_then(|()| {
            entered = inside::enter(root, volume.path);
            entered.and_then(|()| filesystems::mount_device(device, volume))
        });
        inside::leave();
        if entered.is_err() {
            return Ok(mounted); // Not the device is missing.
        }
        match mounted {
            // The node may appear before the medium.
            Err(Errno::NOENT | Errno::NXIO | Errno::NOMEDIUM) => {}
            done => return Ok(done),
        }
        loop {
            if now_ms() >= deadline_ms {
                return Ok(Err(Errno::NOENT));
            }
            if supervise::wait_or_end(machine, deadline_ms)? {
                break;
            }
        }
    }
}
