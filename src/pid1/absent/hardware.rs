//! No drivers by hardware: modules are those of the list alone.

use crate::machine::Machine;

/// None is tried.
pub(crate) struct Tried;

impl Tried {
    pub(crate) const fn new() -> Self {
        Self
    }
}

pub(crate) fn load(machine: &mut Machine<'_>) {
    machine.drivers_wanted = false;
}
