//! A root over NVMe/TCP: one write to /dev/nvme-fabrics connects the kernel to a target (drivers/nvme/host/fabrics.c,
//! nvmf_dev_write()), which then has its disks as local ones.
//!
//! The write returns when the target has answered, or after minutes.

use rustix::fs::OFlags;
use whit::contract::NVME_FABRICS;
use whit::error::Errno;
use whit::root::{Kind, RootSpec, target};
use whit::text::Text;

use super::GAP_MS;
use crate::console;
use crate::files;
use crate::message::part;
use crate::sys::fd;

/// Returns the name of the subsystem of a root over NVMe/TCP.
pub(super) fn nqn<'a>(source: &Option<RootSpec<'a>>) -> Option<&'a [u8]> {
    source.filter(|source| source.kind == Kind::Subsystem).map(|source| source.name)
}

/// Connects to the target of a root, with further attempts until one succeeds.
pub(super) fn attach(root: &[u8], nqn: &[u8]) -> Result<(), &'static str> {
    while connect(root, nqn).is_err() {
        fd::sleep(GAP_MS);
    }
    Ok(())
}

/// Connects to a target, as the host that nvme-cli makes of the machine's UUID (`nvme gen-hostnqn`).
fn connect(root: &[u8], nqn: &[u8]) -> Result<(), Errno> {
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
