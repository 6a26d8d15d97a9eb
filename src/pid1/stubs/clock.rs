//! Without the feature: the time of day is the kernel's.

use whit::dhcp::lease::Lease;
use whit::options::Sources;
use whit::time::NEVER;

use crate::sys::fd::Fd;

/// An SNTP client that sends no queries.
pub(crate) struct Clock;

impl Clock {
    pub(crate) fn new(_: u32) -> Self {
        Self
    }

    pub(crate) fn advance(&mut self, _: &Sources<'_>) {}

    pub(crate) fn awaits_answer(&self, _: &[u8]) -> bool {
        false
    }

    pub(crate) fn descriptor(&self) -> Option<&Fd> {
        None
    }

    pub(crate) fn deadline_ms(&self) -> u64 {
        NEVER
    }

    pub(crate) fn handle(&mut self, _: u64, _: &[u8], _: Option<&Lease>) {}
}
