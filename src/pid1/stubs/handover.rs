//! No handing over. An image that was to have PID 1 is not run.

use whit::contract::NOT_STARTED;

use crate::machine::Machine;

/// The word was complained of.
pub(crate) fn hand_over(_: &mut Machine<'_>) -> u8 {
    NOT_STARTED
}
