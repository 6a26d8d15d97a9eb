//! A root over NVMe/TCP: one write to /dev/nvme-fabrics connects the kernel to a target (drivers/nvme/host/fabrics.c,
//! nvmf_dev_write()), which then has its disks as local ones.
//!
//! The write returns when the target has answered, or after minutes. A child makes it.

use linux_raw_sys::general::SIGCHLD;
use rustix::fs::OFlags;
use whit::contract::NVME_FABRICS;
use whit::error::Errno;
use whit::options::Time;
use whit::root::{Kind, RootSpec, target};
use whit::text::Text;
use whit::time::after_s;

use crate::boot::wait_for_lease;
use crate::console::{self, log_step};
use crate::end::End;
use crate::files;
use crate::machine::{Machine, now_ms, signal};
use crate::message::{error, part};
use crate::supervise;
use crate::sys;
use crate::sys::fd;
use crate::sys::process::{Fork, fork, kill};

/// Time from one attempt to the next.
const GAP_MS: u64 = 1000;

/// Connects to the target of a root, if that is one over NVMe/TCP: after the lease, and with further attempts for the time of
/// `rootwait=`. Returns whether the boot can go on; a failure is logged.
pub(crate) fn connect(machine: &mut Machine<'_>, root: &[u8], source: &Option<RootSpec<'_>>) -> Result<bool, End> {
    let Some(RootSpec { kind: Kind::Subsystem, name, .. }) = source else { return Ok(true) };
    if !wait_for_lease(machine, now_ms())? {
        return Ok(false);
    }
    match fork(SIGCHLD) {
        Ok(Fork::Child) => {
            while attach(root, name).is_err() {
                fd::sleep(GAP_MS);
            }
            sys::exit(0);
        }
        // Its exit code arrives as that of the workload, which does not run yet.
        Ok(Fork::Parent(child)) => machine.workload = Some(child),
        Err(errno) => log_step(c"fork", errno),
    }
    let deadline_ms = after_s(now_ms(), machine.options.time(Time::RootWait));
    let mut waited = Ok(false);
    while machine.workload.is_some() && waited.is_ok() && now_ms() < deadline_ms {
        waited = supervise::wait_or_end(machine, deadline_ms);
    }
    if let Some(child) = machine.workload.take() {
        let _ = kill(child.as_raw_pid(), signal::KILL);
    }
    let is_connected = machine.ended.take().is_some();
    waited?;
    if !is_connected {
        error!("root={}: no answer; is nvme-tcp in the initramfs?", Text(root));
    }
    Ok(is_connected)
}

/// Connects to a target, as the host that nvme-cli makes of the machine's UUID (`nvme gen-hostnqn`).
fn attach(root: &[u8], nqn: &[u8]) -> Result<(), Errno> {
    let fabrics = fd::open(NVME_FABRICS, OFlags::RDWR)?;
    let (address, port) = target(root);
    part!("transport=tcp,traddr={},trsvcid={},nqn={}", Text(address), Text(port), Text(nqn));
    let mut room = [0; 64];
    let id = files::value_of(&mut room, c"/sys/class/dmi/id/product_uuid", 0, b'\n', b"");
    if !id.is_empty() {
        part!(",hostnqn=nqn.2014-08.org.nvmexpress:uuid:{},hostid={}", Text(id), Text(id));
    }
    console::finish(|text| fd::write(&fabrics, text))
}
