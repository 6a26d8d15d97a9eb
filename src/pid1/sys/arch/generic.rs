//! Calls of include/uapi/asm-generic/unistd.h, in place of the older ones that it lacks.

use core::ffi::c_char;

use linux_raw_sys::general::{AT_FDCWD, pollfd};
use whit::error::Errno;

/// `int faccessat(int directory, const char *path, int mode)` — access(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn access(path: *const c_char, mode: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(FACCESSAT, AT_FDCWD, path, mode) }
}

/// `int mkdirat(int directory, const char *path, mode_t mode)` — mkdir(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn mkdir(path: *const c_char, mode: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(MKDIRAT, AT_FDCWD, path, mode) }
}

/// `int mknodat(int directory, const char *path, mode_t mode, dev_t device)` — mknod(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn mknod(path: *const c_char, mode: u32, device: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(MKNODAT, AT_FDCWD, path, mode, device) }
}

/// `int symlinkat(const char *target, int directory, const char *path)` — symlink(2).
///
/// # Safety
/// Both texts end in NUL.
#[inline(always)]
pub(crate) unsafe fn symlink(target: *const c_char, path: *const c_char) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(SYMLINKAT, target, AT_FDCWD, path) }
}

/// `int renameat2(int old_directory, const char *old, int new_directory, const char *new, unsigned flags)` — rename(2). riscv64 lacks
/// renameat.
///
/// # Safety
/// Both paths end in NUL.
#[inline(always)]
pub(crate) unsafe fn rename(old: *const c_char, new: *const c_char) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(RENAMEAT2, AT_FDCWD, old, AT_FDCWD, new, 0) }
}

/// `int unlinkat(int directory, const char *path, int flags)` — unlink(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn unlink(path: *const c_char) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(UNLINKAT, AT_FDCWD, path, 0) }
}

/// `int dup3(int old, int new, int flags)` — dup2(2). For two equal descriptors it is EINVAL, where dup2 does nothing as well.
///
/// # Safety
/// No value owns the descriptor `new`.
#[inline(always)]
pub(crate) unsafe fn dup2(old: u32, new: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(DUP3, old, new, 0) }
}

/// `int ppoll(struct pollfd *descriptors, nfds_t count, struct timespec *timeout, const sigset_t *mask, size_t size)` — poll(2). The
/// kernel writes the rest of the time back. A negative wait is the longest one.
///
/// # Safety
/// `count` descriptors are writable over the call.
#[inline(never)]
pub(crate) unsafe fn poll(descriptors: *mut pollfd, count: usize, wait_ms: usize) -> usize {
    let wait_ms = wait_ms as u32; // An `int`, as poll(2) takes it.
    let mut timeout = [u64::from(wait_ms / 1000), u64::from(wait_ms % 1000 * 1_000_000)];
    // SAFETY: the caller's; the time is writable over the call, and no mask is passed.
    unsafe { sc::syscall!(PPOLL, descriptors, count, timeout.as_mut_ptr(), 0, 0) }
}

/// There are no I/O ports on these machines.
pub(crate) fn write_port(_: u32, _: u8) -> Result<(), Errno> {
    Err(Errno::NODEV)
}
