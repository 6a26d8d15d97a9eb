//! Kernel settings and resource limits, as a container engine sets them: `sysctl=` and `rlimit=`.

use whit::contract::NOT_STARTED;
use whit::error::Errno;
use whit::options::{Given, Source, Sources};
use whit::rlimit::{self, Limit};
use whit::text::split_once;

use crate::console::log_failure;
use crate::files::{self, Path};
use crate::sys::process;

/// Applies all settings and limits, those of the weakest source first; an error is logged, and returned as the exit code.
pub(crate) fn apply(sources: &Sources<'_>) -> Result<(), u8> {
    for Given { source, text, place, .. } in sources.weakest_first(b"sysctl rlimit") {
        let (step, done) = if place == 0 { (c"sysctl ", set_sysctl(text)) } else { (c"rlimit ", set_limit(text)) };
        // A kernel may lack a setting of docker's, and a machine that is itself a container may not raise limits.
        if source != Source::Docker
            && let Err(errno) = done
        {
            log_failure(step, text, errno);
            return Err(NOT_STARTED);
        }
    }
    Ok(())
}

/// Writes one setting, `NAME=VALUE`, as sysctl(8) does: dots in the name are slashes of its path.
#[inline(never)]
fn set_sysctl(text: &[u8]) -> Result<(), Errno> {
    let (name, value) = split_once(text, b'=').ok_or(Errno::INVAL)?;
    let mut path = Path::new();
    path.join(b"/proc/sys", name);
    path.replace(b'.', b'/');
    files::write(path.text(), value)
}

/// Sets one limit.
#[inline(never)]
fn set_limit(text: &[u8]) -> Result<(), Errno> {
    let Limit { resource, soft_hard } = rlimit::parse(text).ok_or(Errno::INVAL)?;
    process::set_limit(resource, soft_hard)
}
