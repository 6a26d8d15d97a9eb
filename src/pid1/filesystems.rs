//! Mounts: the early ones, the root, and those inside the root.

use core::ffi::CStr;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, symlink};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};
use rustix::process::umask;
use whit::error::Errno;
use whit::mounts::{LINKS, MOUNTS, NODES};
use whit::options::Options;
use whit::probe;
use whit::root::RootSpec;
use whit::text::{Text, parts, strip_prefix};

use crate::console::{failed, tell};
use crate::files::{self, Path};
use crate::sys::{c_str, fd};

/// Where the root is mounted.
pub(crate) const ROOT: &CStr = c"/mnt";
/// An image's files in the initramfs itself: the root when no device is named.
const EMBEDDED_ROOT: &CStr = c"/rootfs";

/// Makes the mounts of a packed table, each directory first when it is missing. What is a mount already stays as it is.
pub(crate) fn mount_all(packed: &'static [u8]) {
    let mut rest = packed;
    while let Some((flags, texts)) = rest.split_first() {
        rest = texts;
        let (target, fstype, data) = (next_text(&mut rest), next_text(&mut rest), next_text(&mut rest));
        if fd::status(target).is_some_and(|status| status.is_mount()) {
            continue;
        }
        let flags = MountFlags::from_bits_retain(u32::from(*flags));
        match make_and(target, || mount(fstype, target, fstype, flags, data)) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(Errno::NODEV) => tell!("no {} in this kernel", Text(fstype.to_bytes())),
            Err(errno) => failed("mount ", target.to_bytes(), errno),
        }
    }
}

#[inline(never)]
fn next_text(rest: &mut &'static [u8]) -> &'static CStr {
    let text = c_str(rest);
    *rest = rest.get(text.count_bytes() + 1..).unwrap_or_default();
    text
}

/// Mounts on a directory, and once more when it had to be made first.
fn make_and(target: &CStr, attempt: impl Fn() -> rustix::io::Result<()>) -> Result<(), Errno> {
    match attempt() {
        Err(rustix::io::Errno::NOENT) => {
            files::make_directory(target)?;
            Ok(attempt()?)
        }
        done => Ok(done?),
    }
}

/// Makes the other early mounts, then the device nodes and links that are missing. /proc is mounted.
pub(crate) fn prepare() {
    mount_all(&MOUNTS);
    let kernels = umask(Mode::empty()); // 022: it would take write permission off the nodes.
    for node in &NODES {
        let (mode, device) = (Mode::from_raw_mode(node.mode.into()), makedev(node.major.into(), node.minor.into()));
        // devtmpfs has made them: EEXIST.
        let _ = mknodat(CWD, c_str(&node.path), FileType::CharacterDevice, mode, device);
    }
    umask(kernels);
    for link in &LINKS {
        let _ = symlink(c_str(&link.target), c_str(&link.path));
    }
}

/// `int mount(const char *source, …)` — mount(2), of texts that do not end in NUL yet.
#[inline(never)]
pub(crate) fn mount_texts(
    source: &[u8],
    target: &CStr,
    fstype: &[u8],
    flags: MountFlags,
    data: &[u8],
) -> Result<(), Errno> {
    let (mut room, mut type_room, mut data_room) = (Path::new(), Path::new(), Path::new());
    let (source, fstype, data) = (room.join(&[source])?, type_room.join(&[fstype])?, data_room.join(&[data])?);
    Ok(mount(source, target, fstype, flags, data)?)
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
    let mut room = Path::new();
    let device = room.join(&[source]).map_err(RootProblem::Refused)?;
    let mut buffer = files::buffer::<{ probe::HEAD }>();
    let head = match fd::open(device, OFlags::RDONLY).and_then(|file| fd::read(&file, &mut buffer)) {
        Ok(head) => head,
        // The node may come before the medium.
        Err(Errno::NOENT | Errno::NXIO | Errno::NOMEDIUM | Errno::NODEV) => return Err(RootProblem::NotYet),
        Err(errno) => return Err(RootProblem::Refused(errno)),
    };
    let data = options.root_flags.filter(|flags| *flags != b"defaults").unwrap_or_default();
    let mut last = Errno::INVAL;
    let attempt = |fstype: &[u8]| {
        for read_only in [options.read_only, true] {
            let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
            match mount_texts(source, ROOT, fstype, flags, data) {
                Ok(()) => return Some(Root { source, on_device: true, read_only }),
                Err(errno) => last = errno,
            }
            // As the kernel does (init/do_mounts.c, mount_root_generic): once more without writing.
            if !matches!(last, Errno::ACCESS | Errno::ROFS) {
                break;
            }
        }
        None
    };
    let mut buffer = files::buffer::<4096>();
    let (list, separator, prefix) = match (options.root_fstype, probe::fstype(head)) {
        (Some(wanted), _) => (wanted, b',', &b""[..]),
        (None, Some(found)) => (found.as_bytes(), b',', &b""[..]),
        // Lines of the kernel's types; those that need a device have no "nodev" in front of the tab.
        (None, None) => {
            let list = files::read(c"/proc/filesystems", &mut buffer).unwrap_or_default();
            (&*list, b'\n', &b"\t"[..])
        }
    };
    let mounted = parts(list, separator).filter_map(|line| strip_prefix(line, prefix)).find_map(attempt);
    mounted.ok_or(RootProblem::Refused(last))
}

/// Binds the image that is part of the initramfs, when there is one.
pub(crate) fn bind_embedded_root() -> Option<Root<'static>> {
    mount_bind(EMBEDDED_ROOT, ROOT).ok()?;
    Some(Root { source: EMBEDDED_ROOT.to_bytes(), on_device: false, read_only: false })
}

/// Gives the root our /dev, /proc and /sys, with all that is mounted in them.
pub(crate) fn furnish_root() {
    for inside in &[c"/mnt/dev", c"/mnt/proc", c"/mnt/sys"] {
        let ours = c_str(inside.to_bytes_with_nul().get(ROOT.count_bytes()..).unwrap_or_default());
        if let Err(errno) = make_and(inside, || mount_bind_recursive(ours, *inside)) {
            failed("mount ", inside.to_bytes(), errno);
        }
    }
}
