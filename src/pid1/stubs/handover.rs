//! Without the feature: an image that is to become PID 1 is not run.

use whit::contract::NOT_STARTED;

use crate::machine::Machine;

/// Fails: the option is logged already as not in this init.
pub(crate) fn hand_over(_: &mut Machine<'_>) -> u8 {
    NOT_STARTED
}
