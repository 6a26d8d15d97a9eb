//! No settings: they are the kernel's own. A workload that was to have others does not start.

use whit::contract::NOT_STARTED;
use whit::options::Sources;

/// The words were complained of.
pub(crate) fn apply(sources: &Sources<'_>) -> Result<(), u8> {
    if sources.any_has(b"sysctl rlimit") { Err(NOT_STARTED) } else { Ok(()) }
}
