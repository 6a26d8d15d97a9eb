//! Volumes: the mounts of `mount=` and `tmpfs=` in the root.

use whit::contract::ROOT;
use whit::error::Errno;
use whit::options::Given;
use whit::text::position;
use whit::volume::parse;

use crate::console::log_failure;
use crate::devices::Device;
use crate::end::End;
use crate::machine::Machine;
use crate::mounting::mount_when_there;

/// Mounts all volumes, those of the weakest source first, and waits for their devices; returns whether the boot can go on. Failures
/// are logged.
pub(crate) fn mount_volumes(machine: &mut Machine<'_>, deadline_ms: u64, device: &mut Device) -> Result<bool, End> {
    let sources = machine.sources;
    for Given { text, place, .. } in sources.weakest_first(b"mount tmpfs") {
        let is_tmpfs = place > 0;
        let (mut may_fail, mut errno) = (false, Errno::INVAL);
        if let Some(volume) = parse(text, is_tmpfs) {
            may_fail = position(volume.options, b',', b"nofail").is_some();
            let deadline_ms = if may_fail { 0 } else { deadline_ms };
            if mount_when_there(machine, deadline_ms, device, ROOT, &volume.spec(), &volume)? {
                continue;
            }
            errno = device.failure;
        }
        log_failure(if is_tmpfs { c"tmpfs=" } else { c"mount=" }, text, errno);
        if !may_fail {
            return Ok(false);
        }
    }
    Ok(true)
}
