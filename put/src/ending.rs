//! After a disk is written: reboot, power off, or another kernel by kexec_file_load(2).

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, sync};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};
use rustix::system::{RebootCommand, reboot, sysinfo};

use crate::options::{Options, Then};
use crate::sys;

/// File systems that are tried for a partition.
const FILE_SYSTEMS: [&str; 7] = ["ext4", "xfs", "btrfs", "vfat", "erofs", "squashfs", "f2fs"];

/// A file that is loaded: of the running system, or of a partition of the written disk.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    File(&'a str),
    Partition(u32, &'a str),
}

impl<'a> Place<'a> {
    /// Parses `FILE` or `NUMBER:PATH`; 0 is the disk itself.
    fn parse(text: &'a str) -> Self {
        let parts = text.split_once(':').and_then(|(number, path)| Some((number.parse().ok()?, path)));
        parts.map_or(Self::File(text), |(number, path)| Self::Partition(number, path))
    }

    fn open(&self, disk: &Path, folder: Option<&Path>) -> Result<File, String> {
        match self {
            Self::File(path) => File::open(path).map_err(|error| format!("{path}: {error}")),
            Self::Partition(number, path) => in_partition(disk, folder, *number, path),
        }
    }
}

/// Loads the kernel of `--then kexec`. The kernel reads the files, and nothing stays mounted. `folder` is the disk's in /sys. The disk
/// is not held exclusively any more: the kernel would not mount a partition of it.
///
/// # Errors
/// One line.
pub fn load(options: &Options, disk: &Path, folder: Option<&Path>) -> Result<(), String> {
    let Some(kernel_name) = &options.kernel else { return Ok(()) };
    let kernel = Place::parse(kernel_name).open(disk, folder)?;
    let initramfs = options.initrd.as_deref().map(|name| Place::parse(name).open(disk, folder)).transpose()?;
    let append = CString::new(options.append.as_str()).map_err(|_| "--append: a NUL character")?;
    let loaded = sys::load_kernel(kernel.as_fd(), initramfs.as_ref().map(|file| file.as_fd()), &append);
    loaded.map_err(|error| {
        let mut header = [0; HEADER];
        let size = |file: &File| file.metadata().map_or(0, |status| status.len());
        let advice = match kernel.read_exact_at(&mut header, 0) {
            Ok(()) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                too_large(&header, initramfs.as_ref().map_or(0, size), memory())
            }
            _ => None,
        };
        format!("{kernel_name}: kexec_file_load: {error}{}", advice.unwrap_or_default())
    })
}

/// Bytes of a bzImage up to the end of `init_size` (Documentation/arch/x86/boot.rst).
const HEADER: usize = 0x264;

/// Describes a kernel that, unpacked and with its initramfs, takes more than half of the memory: the kernel refuses it by EINVAL
/// (kernel/kexec_core.c, sanity_check_segment_list()).
fn too_large(header: &[u8; HEADER], initramfs: u64, memory: u64) -> Option<String> {
    let size =
        header.get(0x260..).and_then(|bytes| bytes.first_chunk()).filter(|_| &header[0x202..0x206] == b"HdrS")?;
    let needed = u64::from(u32::from_le_bytes(*size)) + initramfs;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let what = || {
        format!(
            "; kernel and initramfs take {} MiB, and may take half of the {} MiB of memory",
            mib(needed),
            mib(memory)
        )
    };
    (needed > memory / 2).then(what)
}

/// Returns the bytes of memory.
fn memory() -> u64 {
    let information = sysinfo();
    information.totalram as u64 * u64::from(information.mem_unit)
}

/// Opens a file in a partition. Its file system is mounted read-only, at no place, and goes with the file.
fn in_partition(disk: &Path, in_sys: Option<&Path>, number: u32, path: &str) -> Result<File, String> {
    let device = device(disk, in_sys, number)?;
    let root = FILE_SYSTEMS.iter().find_map(|kind| mount(&device, kind).ok());
    let root = root.ok_or_else(|| format!("{}: no file system of {}", device.display(), FILE_SYSTEMS.join(", ")))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path.trim_start_matches('/'), OFlags::RDONLY, Mode::empty(), resolve);
    file.map(File::from).map_err(|error| format!("{number}:{path}: {error}"))
}

/// Mounts a device as one kind of file system; returns its root.
fn mount(device: &Path, kind: &str) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Returns the device of a partition, by the name that the kernel gives it.
fn device(disk: &Path, in_sys: Option<&Path>, number: u32) -> Result<PathBuf, String> {
    let missing = || format!("{}: there is no partition {number}", disk.display());
    let folder = in_sys.and_then(|folder| fs::canonicalize(folder).ok()).ok_or_else(missing)?;
    let name = folder.file_name().ok_or_else(missing)?.to_string_lossy().into_owned();
    if number == 0 {
        return Ok(Path::new("/dev").join(name));
    }
    // block/genhd.c, disk_name(): a `p` after a name that ends in a digit.
    let separator = if name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    let device = Path::new("/dev").join(format!("{name}{separator}{number}"));
    if device.exists() { Ok(device) } else { Err(missing()) }
}

/// Ends the machine as requested; returns if the program just ends, or with an error.
///
/// # Errors
/// One line.
pub fn end(then: Then) -> Result<(), String> {
    let command = match then {
        Then::Exit => return Ok(()),
        Then::Reboot => RebootCommand::Restart,
        Then::PowerOff => RebootCommand::PowerOff,
        Then::Kexec => RebootCommand::Kexec,
    };
    sync();
    reboot(command).map_err(|error| format!("reboot: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_takes_more_than_half_of_the_memory_is_described() {
        let mut header = [0; HEADER];
        assert_eq!(too_large(&header, 1 << 30, 1 << 20), None, "no bzImage");
        header[0x202..0x206].copy_from_slice(b"HdrS");
        header[0x260..].copy_from_slice(&(50u32 << 20).to_le_bytes());
        assert_eq!(too_large(&header, 2 << 20, 104 << 20), None);
        let text = too_large(&header, 2 << 20, 90 << 20).unwrap();
        assert_eq!(text, "; kernel and initramfs take 52 MiB, and may take half of the 90 MiB of memory");
    }

    #[test]
    fn places_are_files_or_partitions() {
        assert_eq!(Place::parse("/boot/vmlinuz"), Place::File("/boot/vmlinuz"));
        assert_eq!(Place::parse("2:/boot/vmlinuz"), Place::Partition(2, "/boot/vmlinuz"));
        assert_eq!(Place::parse("a:b"), Place::File("a:b"));
    }
}
