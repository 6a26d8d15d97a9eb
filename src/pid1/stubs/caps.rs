//! Privileges are not bounded. A workload that was to have fewer does not start.

use whit::contract::NOT_STARTED;
use whit::options::{Options, Sources};

/// The options were complained of.
pub(crate) fn apply(sources: &Sources<'_>, _: &Options<'_>) -> Result<(), u8> {
    if sources.any_has(b"caps no_new_privs") { Err(NOT_STARTED) } else { Ok(()) }
}
