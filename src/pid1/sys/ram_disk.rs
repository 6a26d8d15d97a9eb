//! A disk in memory: a file without a name, and the loop device over it.

use rustix::fs::OFlags;
use whit::contract::{LOOP_CONTROL, LOOP_DEVICE};
use whit::error::Errno;

use super::call::truncate;
use super::done;
use super::fd::{self, Fd, raw};

/// `int memfd_create(const char *name, unsigned flags)` — memfd_create(2): a file of that many bytes, all zeros. It cannot be executed,
/// which kernels before 6.3 do not know, and later ones ask for.
pub(crate) fn make_file(bytes: u64) -> Result<Fd, Errno> {
    const MFD_CLOEXEC: u32 = 1;
    const MFD_NOEXEC_SEAL: u32 = 8;
    // SAFETY: the text ends in NUL and lives over the call; the descriptor is new.
    let make = |flags: u32| unsafe { Fd::from_result(sc::syscall!(MEMFD_CREATE, c"root".as_ptr(), flags)) };
    let file = make(MFD_CLOEXEC | MFD_NOEXEC_SEAL).or_else(|_| make(MFD_CLOEXEC))?;
    truncate(&file, bytes as usize)?;
    Ok(file)
}

/// Makes the read-only device [`LOOP_DEVICE`] of a file, which it keeps open (drivers/block/loop.c).
///
/// # Errors
/// ENOENT without the driver; EBUSY if the device is in use.
pub(crate) fn make_loop(file: &Fd) -> Result<(), Errno> {
    /// include/uapi/linux/loop.h
    const LOOP_SET_FD: u32 = 0x4c00;
    const LOOP_CTL_ADD: u32 = 0x4c80;
    let control = fd::open(LOOP_CONTROL, OFlags::RDWR)?;
    // SAFETY: the call takes a number. It fails if the device exists.
    unsafe { sc::syscall!(IOCTL, raw(&control), LOOP_CTL_ADD, 0) };
    let device = fd::open(LOOP_DEVICE, OFlags::RDONLY)?;
    // SAFETY: the call takes a descriptor.
    done(unsafe { sc::syscall!(IOCTL, raw(&device), LOOP_SET_FD, raw(file)) })
}
