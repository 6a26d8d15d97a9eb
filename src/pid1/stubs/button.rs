//! Without the feature: the power button is ignored.

use crate::sys::fd::Polled;

pub(crate) const MAX_BUTTONS: usize = 2;

/// No buttons are opened.
#[derive(Default)]
pub(crate) struct Buttons {}

impl Buttons {
    pub(crate) fn open(&mut self) {}

    pub(crate) fn descriptors(&self) -> [Polled; MAX_BUTTONS] {
        [Polled::NONE; _]
    }

    pub(crate) fn pressed(&mut self) -> bool {
        false
    }
}
