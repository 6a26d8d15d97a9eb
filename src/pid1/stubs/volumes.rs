//! Without the feature: a machine with `mount=` or `tmpfs=` does not boot.

use crate::devices::Device;
use crate::end::End;
use crate::machine::Machine;

/// Fails if such an option is given; the error is logged already.
pub(crate) fn mount_volumes(machine: &mut Machine<'_>, _: u64, _: &mut Device) -> Result<bool, End> {
    Ok(!machine.sources.any_has(b"mount tmpfs"))
}
