//! An overlay over a root that is not written to: writes go to memory or to another device.

use whit::contract::{LOWER, OVERLAY_DIRECTORIES, OVERLAY_OPTIONS, ROOT, UPPER};
use whit::error::Errno;
use whit::options::Value;
use whit::text::strip_prefix;
use whit::volume::{TMPFS, Volume};

use crate::console::log_failure;
use crate::devices::Device;
use crate::end::End;
use crate::filesystems::texts;
use crate::inside;
use crate::machine::Machine;
use crate::mounting::mount_when_there;
use crate::sys::call::{mount, mount_move};

/// Mounts the overlay of `overlay=` over the root; returns whether the boot can go on. Failures are logged.
pub(crate) fn mount_overlay(machine: &mut Machine<'_>, deadline_ms: u64, device: &mut Device) -> Result<bool, End> {
    let value = machine.options.value(Value::Overlay);
    if value.is_empty() {
        return Ok(true);
    }
    let (source, options) = match strip_prefix(value, TMPFS) {
        Some(options) => (TMPFS, strip_prefix(options, b":").unwrap_or_default()),
        None => (value, &b""[..]),
    };
    let upper = Volume { source, path: UPPER.to_bytes(), fstype: b"", options, flags: 0 };
    let is_mounted = mount_when_there(machine, deadline_ms, device, c"/", &upper.spec(), &upper)?;
    let done = if is_mounted { mount_layers() } else { Err(device.failure) };
    match (done, &mut machine.root) {
        (Ok(()), Some(root)) => root.read_only = device.read_only,
        (Err(errno), _) => log_failure(c"overlay=", value, errno),
        _ => {}
    }
    Ok(done.is_ok())
}

/// Mounts the overlay itself. The device of the upper layer is mounted.
fn mount_layers() -> Result<(), Errno> {
    // No links are followed: one on the upper layer's device would make another directory of the initramfs the layer.
    let all = texts(OVERLAY_DIRECTORIES).try_for_each(inside::enter_plain);
    inside::leave();
    all?;
    mount_move(ROOT, LOWER)?;
    mount(c"overlay", ROOT, c"overlay", 0, OVERLAY_OPTIONS)
}
