//! A root that stays as it is, with an overlay that takes what is written: memory, or another device.

use rustix::mount::{MountFlags, mount, mount_move};
use whit::error::Errno;
use whit::options::Value;
use whit::root::{self, Kind, RootSpec};
use whit::text::{Text, strip_prefix};

use crate::boot::when_there;
use crate::console::say;
use crate::devices::Device;
use crate::files::make_directory;
use crate::filesystems::{ROOT, mount_found};
use crate::machine::Machine;
use crate::shutdown::End;

/// What takes the writing.
pub(crate) const UPPER: &core::ffi::CStr = c"/run/whit/upper";
/// The root itself.
const LOWER: &core::ffi::CStr = c"/run/whit/lower";

/// Lays the overlay that was asked for over the root; returns whether the boot can go on. What went wrong was said.
pub(crate) fn lay_over(machine: &mut Machine<'_>, deadline_ms: u64, device: &mut Device) -> Result<bool, End> {
    let value = machine.options.value(Value::Overlay);
    if value.is_empty() {
        return Ok(true);
    }
    let (spec, options) = match strip_prefix(value, b"tmpfs") {
        Some(options) => {
            let spec = RootSpec { kind: Kind::Tmpfs, name: Kind::Tmpfs.tag(), number: None, offset: 0 };
            (Some(spec), strip_prefix(options, b":").unwrap_or_default())
        }
        None => (root::parse(value, b""), &b""[..]),
    };
    let laid = match spec {
        Some(spec) => when_there(machine, deadline_ms, &mut || {
            device.find(&spec)?;
            lay(device, options)
        })?,
        None => Err(Errno::INVAL),
    };
    match (laid, &mut machine.root) {
        (Ok(read_only), Some(root)) => root.read_only = read_only,
        (Err(errno), _) => say!("overlay={}: {}", Text(value), errno),
        _ => {}
    }
    Ok(laid.is_ok())
}

fn lay(device: &Device, options: &[u8]) -> Result<bool, Errno> {
    for directory in [c"/run/whit", UPPER, LOWER] {
        make_directory(directory)?;
    }
    let read_only = mount_found(device, UPPER, b"", options, 0)?;
    for directory in [c"/run/whit/upper/upper", c"/run/whit/upper/work"] {
        make_directory(directory)?;
    }
    mount_move(ROOT, LOWER)?;
    mount(
        c"overlay",
        ROOT,
        c"overlay",
        MountFlags::empty(),
        c"lowerdir=/run/whit/lower,upperdir=/run/whit/upper/upper,workdir=/run/whit/upper/work",
    )?;
    Ok(read_only)
}
