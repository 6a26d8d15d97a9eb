//! Without the feature: privileges are not bounded. A workload with `caps=` or `no_new_privs` does not start.

use whit::contract::NOT_STARTED;
use whit::options::{Options, Sources};

/// Fails if such an option is given; the error is logged already.
pub(crate) fn apply(sources: &Sources<'_>, _: &Options<'_>) -> Result<(), u8> {
    if sources.any_has(b"caps no_new_privs") { Err(NOT_STARTED) } else { Ok(()) }
}
