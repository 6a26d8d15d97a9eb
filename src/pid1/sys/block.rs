//! Block devices, and file systems on several of them.

use core::ffi::CStr;

use linux_raw_sys::ioctl::{BLKGETSIZE64, EXT4_IOC_RESIZE_FS};
use rustix::fs::OFlags;
use whit::error::Errno;

use super::done;
use super::fd::{self, Fd, file_system, raw};

/// `int ioctl(int fd, BLKGETSIZE64, uint64_t *bytes)` — block/ioctl.c; 0 if it is not a block device.
pub(crate) fn device_bytes(device: &Fd) -> u64 {
    let mut bytes = 0u64;
    // SAFETY: the number is writable over the call.
    unsafe { sc::syscall!(IOCTL, raw(device), BLKGETSIZE64, &raw mut bytes) };
    bytes
}

/// `int ioctl(int fd, EXT4_IOC_RESIZE_FS, uint64_t *blocks)` — fs/ext4/ioctl.c: grows a mounted ext4 to that many bytes, online.
pub(crate) fn grow_ext4(mounted: &Fd, bytes: u64) -> Result<(), Errno> {
    let blocks = bytes.checked_div(file_system(mounted)?.block_bytes).unwrap_or_default();
    // SAFETY: the number lives over the call.
    done(unsafe { sc::syscall!(IOCTL, raw(mounted), EXT4_IOC_RESIZE_FS, &raw const blocks) })
}

/// `int ioctl(int fd, BTRFS_IOC_DEVICES_READY, struct btrfs_ioctl_vol_args *device)` — fs/btrfs/super.c, btrfs_control_ioctl(): adds a
/// disk to those that the kernel knows, as BTRFS_IOC_SCAN_DEV does. Returns false if its file system lacks another one.
#[inline(never)] // The 4 KiB are on the stack for a btrfs alone.
pub(crate) fn has_all_disks(disk: &CStr) -> bool {
    /// include/uapi/linux/btrfs.h: `_IOR(0x94, 39, struct btrfs_ioctl_vol_args)`
    const BTRFS_IOC_DEVICES_READY: u32 = 0x9000_9427;
    // struct btrfs_ioctl_vol_args: a descriptor, and the path.
    const START: usize = 8;
    let mut arguments = [0u8; START + 4088];
    let path = disk.to_bytes_with_nul();
    if path.len() > arguments.len() - START {
        return true;
    }
    // SAFETY: the path fits, as was checked.
    unsafe { core::ptr::copy_nonoverlapping(path.as_ptr(), arguments.as_mut_ptr().add(START), path.len()) };
    let Ok(control) = fd::open(c"/dev/btrfs-control", OFlags::RDONLY) else { return true };
    // SAFETY: the struct has its 4096 bytes, and lives over the call; the path in it ends in NUL.
    unsafe { sc::syscall!(IOCTL, raw(&control), BTRFS_IOC_DEVICES_READY, &raw mut arguments) != 1 }
}
