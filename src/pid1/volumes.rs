//! What `mount=` and `tmpfs=` bring into the root beside itself.

use rustix::fs::OFlags;
use rustix::process::{chroot, fchdir};
use whit::error::Errno;
use whit::options::{Given, Source};
use whit::root::{self, Kind, RootSpec};
use whit::text::{Text, parts};
use whit::volume::{Volume, parse};

use crate::boot::when_there;
use crate::console::say;
use crate::devices::Device;
use crate::files::{Path, make_directories};
use crate::filesystems::{ROOT, mount_found};
use crate::machine::Machine;
use crate::shutdown::End;
use crate::sys::fd;

/// Mounts all of them, the weakest source's first, and waits for their devices; returns whether the boot can go on. What went
/// wrong was said.
pub(crate) fn mount_all(machine: &mut Machine<'_>, deadline_ms: u64, device: &mut Device) -> Result<bool, End> {
    let sources = machine.sources;
    for &source in Source::STRONGEST_FIRST.iter().rev() {
        for Given { name, text, .. } in sources.each(source) {
            let is_tmpfs = name == b"tmpfs";
            if !is_tmpfs && name != b"mount" {
                continue;
            }
            let mut may_fail = false;
            let mounted = match parse(text, is_tmpfs).and_then(|volume| Some((volume, spec(&volume)?))) {
                Some((volume, spec)) => {
                    may_fail = parts(volume.options, b',').any(|word| word == b"nofail");
                    let deadline_ms = if may_fail { 0 } else { deadline_ms };
                    when_there(machine, deadline_ms, &mut || {
                        device.find(&spec)?;
                        mount_inside(device, &volume)
                    })?
                }
                None => Err(Errno::INVAL),
            };
            if let Err(errno) = mounted {
                say!("{}={}: {}", Text(name), Text(text), errno);
                if !may_fail {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// What is mounted: in the forms of a root, or memory.
fn spec<'a>(volume: &Volume<'a>) -> Option<RootSpec<'a>> {
    let tmpfs = RootSpec { kind: Kind::Tmpfs, name: volume.source, number: None, offset: 0 };
    if volume.source == Kind::Tmpfs.tag() { Some(tmpfs) } else { root::parse(volume.source, volume.fstype) }
}

/// Mounts it on a directory of the root, made when it is missing.
fn mount_inside(device: &Device, volume: &Volume<'_>) -> Result<bool, Errno> {
    // Links in the path lead where they lead in the root: PID 1 goes there meanwhile.
    let outside = fd::open(c"/", OFlags::PATH)?;
    chroot(ROOT)?;
    let mounted = make_directories(volume.path).and_then(|()| {
        let mut room = Path::new();
        mount_found(device, room.join(&[volume.path])?, volume.fstype, volume.options, volume.flags)
    });
    fchdir(&outside)?;
    chroot(c".")?;
    mounted
}
