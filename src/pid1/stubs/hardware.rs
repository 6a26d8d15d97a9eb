//! No drivers by hardware: modules are those of the list alone.

use crate::machine::{Machine, Phase};

pub(crate) fn load(machine: &mut Machine<'_>) {
    machine.phase = Phase::DriversLoaded;
}
