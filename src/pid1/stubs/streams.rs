//! Without the feature: the workload has the console.

use rustix::process::Pid;
use whit::time::NEVER;

use crate::end::End;
use crate::machine::Machine;
use crate::port::Ports;
use crate::sys::fd::Fd;

pub(crate) struct Streams {}

pub(crate) fn open(_: &mut Machine<'_>) -> Result<bool, End> {
    Ok(false)
}

pub(crate) fn refuse(_: &Machine<'_>) {}

pub(crate) fn finish(_: &mut Machine<'_>, _: u8) {}

pub(crate) fn start_session(_: &mut Machine<'_>) {}

impl Streams {
    pub(crate) const fn new() -> Self {
        Self {}
    }

    pub(crate) fn enter(&self, _: usize) {}

    pub(crate) fn open_session(&mut self, _: usize, _: bool) {}

    pub(crate) fn ended(&mut self, _: Pid, _: u8) {}

    pub(crate) fn advance(&mut self, _: &Ports) -> u64 {
        NEVER
    }

    pub(crate) fn blocked_port<'a>(&self, _: &'a Ports) -> Option<&'a Fd> {
        None
    }

    pub(crate) fn take_signals(&mut self) -> u64 {
        0
    }
}
