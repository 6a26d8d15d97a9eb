//! No settings: they are the kernel's own. A workload that was to have others does not start.

use whit::options::Sources;
use whit::parts::is_given;
use whit::status::NOT_STARTED;

/// The words were complained of.
pub(crate) fn apply(sources: &Sources<'_>) -> Result<(), u8> {
    if is_given(b"sysctl rlimit", sources) { Err(NOT_STARTED) } else { Ok(()) }
}
