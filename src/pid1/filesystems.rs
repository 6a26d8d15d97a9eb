//! Mounts: the early ones, the root, and those inside the root.

use core::ffi::CStr;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags, makedev, mknodat, statx, symlink};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};
use whit::error::Errno;
use whit::mounts::{LINKS, MOUNTS, Mount, NODES};
use whit::options::Options;
use whit::probe;
use whit::root::RootSpec;
use whit::text::{Text, parts};

use crate::console::{failed, tell};
use crate::files::{self, Path};
use crate::sys::fd;

/// Where the root is mounted.
pub(crate) const ROOT: &CStr = c"/mnt";
/// An image's files in the initramfs itself: the root when no device is named.
const EMBEDDED_ROOT: &CStr = c"/rootfs";

/// Makes one early mount, its directory first when that is missing. What is a mount already stays as it is.
pub(crate) fn mount_one(wanted: &Mount) {
    if is_mount(wanted.target) {
        return;
    }
    let attempt = || -> Result<(), Errno> {
        Ok(mount(wanted.fstype, wanted.target, wanted.fstype, flags(wanted.flags), wanted.data)?)
    };
    let done = match attempt() {
        Err(Errno::NOENT) => files::make_directory(wanted.target).and_then(|()| attempt()),
        done => done,
    };
    match done {
        Ok(()) | Err(Errno::BUSY) => {}
        Err(Errno::NODEV) => tell!("no {} in this kernel", Text(wanted.fstype.to_bytes())),
        Err(errno) => failed("mount ", wanted.target.to_bytes(), errno),
    }
}

/// Makes the other early mounts, then the device nodes and links that are missing. /proc is mounted.
pub(crate) fn prepare() {
    MOUNTS.iter().for_each(mount_one);
    for node in &NODES {
        let mode = Mode::from_raw_mode(node.mode);
        // devtmpfs has made them: EEXIST.
        let _ = mknodat(CWD, node.path, FileType::CharacterDevice, mode, makedev(node.major, node.minor));
    }
    for (link, target) in &LINKS {
        let _ = symlink(*target, *link);
    }
}

fn flags(bits: u32) -> MountFlags {
    MountFlags::from_bits_retain(bits)
}

/// Whether something is mounted on a directory: the kernel tells since Linux 5.8 (fs/stat.c, vfs_statx).
fn is_mount(path: &CStr) -> bool {
    statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        .is_ok_and(|status| status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Why the root is not mounted.
pub(crate) enum RootProblem {
    /// The device is not there, or not ready: wait for its uevent and try again.
    NotYet,
    /// No file system type would do; the last error.
    Refused(Errno),
}

/// What became the root.
pub(crate) struct Root<'a> {
    /// The device, or the directory.
    pub(crate) source: &'a [u8],
    /// Whether it is a file system of its own.
    pub(crate) on_device: bool,
    /// Whether nothing can be written to it.
    pub(crate) read_only: bool,
}

/// Mounts the device that `root=` names.
pub(crate) fn mount_root<'a>(spec: RootSpec<'a>, options: &Options<'_>) -> Result<Root<'a>, RootProblem> {
    let RootSpec::Device(source) = spec;
    let (mut device, mut data) = (Path::new(), Path::new());
    let device = device.join(&[source]).map_err(RootProblem::Refused)?;
    let mut buffer = files::buffer::<{ probe::HEAD }>();
    let head = match fd::open(device, OFlags::RDONLY).and_then(|file| fd::read(&file, &mut buffer)) {
        Ok(head) => head,
        // The node may come before the medium.
        Err(Errno::NOENT | Errno::NXIO | Errno::NOMEDIUM | Errno::NODEV) => return Err(RootProblem::NotYet),
        Err(errno) => return Err(RootProblem::Refused(errno)),
    };
    let flags = options.root_flags.filter(|flags| *flags != b"defaults").unwrap_or_default();
    let data = data.join(&[flags]).map_err(RootProblem::Refused)?;
    let mut last = Errno::INVAL;
    let mut attempt = |fstype: &[u8]| {
        let mut name = Path::new();
        let fstype = name.join(&[fstype]).ok()?;
        for read_only in [options.read_only, true] {
            let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
            match mount(device, ROOT, fstype, flags, data) {
                Ok(()) => return Some(Root { source, on_device: true, read_only }),
                Err(errno) => last = errno.into(),
            }
            // As the kernel does (init/do_mounts.c, mount_root_generic): once more without writing.
            if !matches!(last, Errno::ACCESS | Errno::ROFS) {
                break;
            }
        }
        None
    };
    let mut buffer = files::buffer::<4096>();
    let mounted = if let Some(wanted) = options.root_fstype {
        parts(wanted, b',').find_map(&mut attempt)
    } else if let Some(found) = probe::fstype(head) {
        attempt(found.as_bytes())
    } else {
        // Lines of the kernel's types; those that need a device have no "nodev" in front of the tab.
        let list: &[u8] = files::read(c"/proc/filesystems", &mut buffer).unwrap_or_default();
        parts(list, b'\n').filter_map(|line| line.strip_prefix(b"\t")).find_map(&mut attempt)
    };
    mounted.ok_or(RootProblem::Refused(last))
}

/// Binds the image that is part of the initramfs, when there is one.
pub(crate) fn bind_embedded_root() -> Option<Root<'static>> {
    mount_bind(EMBEDDED_ROOT, ROOT).ok()?;
    Some(Root { source: EMBEDDED_ROOT.to_bytes(), on_device: false, read_only: false })
}

/// Gives the root our /dev, /proc and /sys, with all that is mounted in them.
pub(crate) fn furnish_root() {
    for (ours, inside) in &[(c"/dev", c"/mnt/dev"), (c"/proc", c"/mnt/proc"), (c"/sys", c"/mnt/sys")] {
        let attempt = || -> Result<(), Errno> { Ok(mount_bind_recursive(*ours, *inside)?) };
        let done = match attempt() {
            Err(Errno::NOENT) => files::make_directory(inside).and_then(|()| attempt()),
            done => done,
        };
        if let Err(errno) = done {
            failed("mount ", inside.to_bytes(), errno);
        }
    }
}
