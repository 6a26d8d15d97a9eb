//! Without the feature: only the modules of the list are loaded.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use whit::error::Errno;

use crate::end::End;
use crate::machine::Machine;
use crate::sys::fd;

pub(crate) const fn has_index() -> bool {
    false
}

pub(crate) fn load(_: &mut Machine<'_>) {}

pub(crate) fn answer(_: &CStr) -> bool {
    false
}

pub(crate) const fn is_loading() -> bool {
    false
}

pub(crate) const fn may_load_network() -> bool {
    false
}

pub(crate) fn ended() {}

pub(crate) fn finish(_: &mut Machine<'_>) -> Result<(), End> {
    Ok(())
}

pub(crate) fn handle_events(machine: &mut Machine<'_>) -> bool {
    let mut received = false;
    let mut buffer = [MaybeUninit::uninit(); 64];
    while let Some(uevents) = &machine.uevents {
        match fd::receive(uevents, &mut buffer) {
            // ENOBUFS: events were lost, any device may have changed.
            Ok(_) | Err(Errno::NOBUFS) => received = true,
            Err(_) => break,
        }
    }
    received
}
