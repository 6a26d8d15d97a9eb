//! No overlay. A root that was to stay as it is, is not run.

use whit::options::Value;

use crate::devices::Device;
use crate::end::End;
use crate::machine::Machine;

/// The word was complained of.
pub(crate) fn mount_overlay(machine: &mut Machine<'_>, _: u64, _: &mut Device) -> Result<bool, End> {
    Ok(machine.options.value(Value::Overlay).is_empty())
}
