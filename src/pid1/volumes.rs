//! What `mount=` and `tmpfs=` bring into the root beside itself.

use rustix::fs::OFlags;
use rustix::mount::MountFlags;
use rustix::process::{chroot, fchdir};
use whit::error::Errno;
use whit::options::{Given, Source, Sources};
use whit::text::{Text, parts, split_once};
use whit::volume::{MountOption, Volume, mount_option, parse};

use crate::console::say;
use crate::files::{MAX_PATH, Path, make_directories};
use crate::filesystems::{ROOT, mount_texts};
use crate::sys::fd;

/// How the kernel and QEMU's 9p server agree (Documentation/filesystems/9p.rst); the default message size before Linux 5.16,
/// 8 KiB, makes every transfer slow.
const DATA_9P: &[u8] = b"trans=virtio,version=9p2000.L,msize=131072";
/// A directory that everybody may write to, as docker makes it.
const DATA_TMPFS: &[u8] = b"mode=1777";

/// The boot cannot go on; why was said.
pub(crate) struct Missing;

/// Mounts all of them, the weakest source's first.
pub(crate) fn mount_all(sources: &Sources<'_>) -> Result<(), Missing> {
    for &source in Source::STRONGEST_FIRST.iter().rev() {
        for Given { name, text, .. } in sources.each(source) {
            let is_tmpfs = name == b"tmpfs";
            if !is_tmpfs && name != b"mount" {
                continue;
            }
            let mut may_fail = false;
            let volume = parse(text, is_tmpfs).ok_or(Errno::INVAL);
            if let Err(errno) = volume.and_then(|volume| mount_one(&volume, &mut may_fail)) {
                say!("{}={}: {}", Text(name), Text(text), errno);
                if !may_fail {
                    return Err(Missing);
                }
            }
        }
    }
    Ok(())
}

fn mount_one(volume: &Volume<'_>, may_fail: &mut bool) -> Result<(), Errno> {
    let (mut flags, mut data) = (volume.flags, heapless::Vec::<u8, MAX_PATH>::new());
    let (fstype, source) = split_once(volume.source, b':').unwrap_or((volume.fstype, volume.source));
    let _ = data.extend_from_slice(match fstype {
        b"9p" => DATA_9P,
        b"tmpfs" => DATA_TMPFS,
        _ => b"",
    });
    for word in parts(volume.options, b',') {
        match mount_option(word) {
            MountOption::Set(bits) => flags |= bits,
            MountOption::Clear(bits) => flags &= !bits,
            MountOption::NoFail => *may_fail = true,
            MountOption::Nothing => {}
            MountOption::Data(word) => {
                // What is too long is refused by the kernel, which knows no such option.
                let _ = data.extend_from_slice(b",").and_then(|()| data.extend_from_slice(word));
            }
        }
    }
    // Links in the path lead where they lead in the root: PID 1 goes there meanwhile.
    let outside = fd::open(c"/", OFlags::PATH)?;
    chroot(ROOT)?;
    let mounted = make_directories(volume.path).and_then(|()| {
        let mut room = Path::new();
        mount_texts(source, room.join(&[volume.path])?, fstype, MountFlags::from_bits_retain(flags), &data)
    });
    fchdir(&outside)?;
    chroot(c".")?;
    mounted
}
