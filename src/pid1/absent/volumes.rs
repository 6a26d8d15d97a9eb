//! No volumes. A root that was to have some is not run.

use whit::parts::is_given;

use crate::devices::Device;
use crate::end::End;
use crate::machine::Machine;

/// The words were complained of.
pub(crate) fn mount_all(machine: &mut Machine<'_>, _: u64, _: &mut Device) -> Result<bool, End> {
    Ok(!is_given(b"mount tmpfs", &machine.sources))
}
