//! Without the feature: a machine with `overlay=` does not boot.

use whit::options::Value;

use crate::devices::Device;
use crate::end::End;
use crate::machine::Machine;

/// Fails if such an option is given; the error is logged already.
pub(crate) fn mount_overlay(machine: &mut Machine<'_>, _: u64, _: &mut Device) -> Result<bool, End> {
    Ok(machine.options.value(Value::Overlay).is_empty())
}
