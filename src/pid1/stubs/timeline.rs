//! Without the feature: no stage is recorded.

use whit::stage::Stage;

/// A timeline that records nothing.
pub(crate) struct Timeline;

impl Timeline {
    pub(crate) fn new(_: u64) -> Self {
        Self
    }

    pub(crate) fn reach(&mut self, _: Stage) {}

    pub(crate) fn print(&self) {}

    pub(crate) fn write_file(&self) {}
}
