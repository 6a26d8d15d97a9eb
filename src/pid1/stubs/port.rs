//! Without the feature: host and init communicate only by the console.

use crate::sys::fd::Fd;

/// No ports are opened or waited for.
#[derive(Default)]
pub(crate) struct Ports {
    pub(crate) streams: Option<Fd>,
    pub(crate) may_appear: bool,
}

impl Ports {
    pub(crate) fn open(&mut self) {}

    pub(crate) fn send_exit_code(&self, _: u8) {}

    pub(crate) fn update_window_size(&self) {}
}
