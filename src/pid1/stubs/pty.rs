//! Without the feature: the workload has the console, and the shell gets it when the workload's processes have ended.

use whit::time::NEVER;

use crate::console;
use crate::sys::fd::{self, STDERR};

#[derive(Default)]
pub(crate) struct Terminal {
    pub(crate) is_console: bool,
}

impl Terminal {
    pub(crate) fn open(&mut self) {
        self.is_console = fd::is_terminal(&STDERR);
        console::lead_session(&STDERR);
    }

    pub(crate) fn close(&mut self) {}

    pub(crate) fn enter(&self) {}

    pub(crate) fn leave_console(&mut self) {
        console::set_raw(false);
    }

    pub(crate) fn advance(&mut self) -> u64 {
        NEVER
    }

    pub(crate) fn drain(&mut self) {}
}
