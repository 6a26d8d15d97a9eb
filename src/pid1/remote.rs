//! Remote roots: a child of PID 1 makes a local device of one, while PID 1 answers signals, the kernel and the network.

#[cfg_attr(not(feature = "http"), path = "stubs/http.rs")]
#[cfg_attr(feature = "http", path = "remote/http.rs")]
mod http;
#[cfg_attr(not(feature = "nvme-tcp"), path = "stubs/nvme_tcp.rs")]
#[cfg_attr(feature = "nvme-tcp", path = "remote/nvme_tcp.rs")]
mod nvme_tcp;

use linux_raw_sys::general::SIGCHLD;
use whit::contract::LOOP_DEVICE;
use whit::options::Time;
use whit::root::RootSpec;
use whit::text::Text;
use whit::time::{NEVER, after_s};

use crate::boot::wait_for_lease;
use crate::console::log_step;
use crate::end::End;
use crate::machine::{Machine, now_ms, signal};
use crate::message::error;
use crate::supervise;
use crate::sys;
use crate::sys::process::{Fork, fork, kill};

/// Time from one attempt to connect to the next.
#[cfg(any(feature = "http", feature = "nvme-tcp"))]
const GAP_MS: u64 = 1000;
/// The exit code of a child that has logged why it failed.
const FAILED: u8 = 1;

/// Returns the value of `root=` by which the device of a root is found.
pub(crate) fn device(root: &[u8]) -> &[u8] {
    if http::url(root).is_some() { LOOP_DEVICE.to_bytes() } else { root }
}

/// Makes the device of a root, if that is a remote one: after the lease, with attempts to connect for the time of `rootwait=`. Returns
/// whether the boot can go on; a failure is logged.
pub(crate) fn connect(machine: &mut Machine<'_>, root: &[u8], source: &Option<RootSpec<'_>>) -> Result<bool, End> {
    let (url, nqn) = (http::url(root), nvme_tcp::nqn(source));
    if url.is_none() && nqn.is_none() {
        return Ok(true);
    }
    if url.is_some() && !http::is_verified(&machine.options) {
        error!("root={}: needs roothash=HEX", Text(root));
        return Ok(false);
    }
    if !wait_for_lease(machine, now_ms())? {
        return Ok(false);
    }
    let deadline_ms = after_s(now_ms(), machine.options.time(Time::RootWait));
    match fork(SIGCHLD) {
        Ok(Fork::Child) => {
            let attached = match url {
                Some(url) => http::attach(&url, deadline_ms),
                None => nvme_tcp::attach(root, nqn.unwrap_or_default()),
            };
            if let Err(reason) = attached {
                error!("root={}: {}", Text(root), reason);
                sys::exit(FAILED);
            }
            sys::exit(0);
        }
        // Its exit code arrives as that of the workload, which does not run yet.
        Ok(Fork::Parent(child)) => machine.workload = Some(child),
        Err(errno) => log_step(c"fork", errno),
    }
    // A download lasts as long as its server sends; the kernel's attempt to connect to a target may last minutes.
    let deadline_ms = if url.is_some() { NEVER } else { deadline_ms };
    let mut waited = Ok(false);
    while machine.workload.is_some() && waited.is_ok() && now_ms() < deadline_ms {
        waited = supervise::wait_or_end(machine, deadline_ms);
    }
    if let Some(child) = machine.workload.take() {
        let _ = kill(child.as_raw_pid(), signal::KILL);
    }
    let code = machine.ended.take();
    waited?;
    if !matches!(code, Some(0 | FAILED)) {
        // The kernel kills a download that takes all memory.
        let reason = if url.is_some() {
            "killed; has the machine memory for it?"
        } else {
            "no answer; is nvme-tcp in the initramfs?"
        };
        error!("root={}: {}", Text(root), reason);
    }
    Ok(code == Some(0))
}
