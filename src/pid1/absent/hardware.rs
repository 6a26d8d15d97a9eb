//! No drivers by hardware: modules are those of the list alone.

use crate::machine::Machine;

pub(crate) fn load(machine: &mut Machine<'_>) {
    machine.drivers_wanted = false;
}
