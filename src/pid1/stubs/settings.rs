//! Without the feature: settings and limits are the kernel's. A workload with `sysctl=` or `rlimit=` does not start.

use whit::contract::NOT_STARTED;
use whit::options::Sources;

/// Fails if such an option is given; the error is logged already.
pub(crate) fn apply(sources: &Sources<'_>) -> Result<(), u8> {
    if sources.any_has(b"sysctl rlimit") { Err(NOT_STARTED) } else { Ok(()) }
}
