//! Without the feature: only the modules of the list are loaded.

use crate::machine::{Machine, Phase};

pub(crate) fn load(machine: &mut Machine<'_>) {
    machine.phase = Phase::DriversLoaded;
}
