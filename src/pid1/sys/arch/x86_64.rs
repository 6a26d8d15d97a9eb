//! x86-64: a call has its oldest form, which is the shortest.

use core::arch::asm;
use core::ffi::c_char;

use linux_raw_sys::general::pollfd;
use whit::error::Errno;

use super::super::{done, entry};

/// The entry point. The kernel has set up the stack: argc, argv, envp, auxv upwards from `rsp` (fs/binfmt_elf.c, create_elf_tables).
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "mov rdi, rsp", // The first argument of `entry`.
        "xor ebp, ebp", // No frame above this one.
        "call {entry}", // `rsp` is 16-byte aligned here; after the call it is as the ABI requires.
        "ud2",
        entry = sym entry,
    )
}

/// `int access(const char *path, int mode)` — access(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn access(path: *const c_char, mode: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(ACCESS, path, mode) }
}

/// `int mkdir(const char *path, mode_t mode)` — mkdir(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn mkdir(path: *const c_char, mode: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(MKDIR, path, mode) }
}

/// `int mknod(const char *path, mode_t mode, dev_t device)` — mknod(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn mknod(path: *const c_char, mode: u32, device: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(MKNOD, path, mode, device) }
}

/// `int symlink(const char *target, const char *path)` — symlink(2).
///
/// # Safety
/// Both texts end in NUL.
#[inline(always)]
pub(crate) unsafe fn symlink(target: *const c_char, path: *const c_char) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(SYMLINK, target, path) }
}

/// `int rename(const char *old, const char *new)` — rename(2).
///
/// # Safety
/// Both paths end in NUL.
#[inline(always)]
pub(crate) unsafe fn rename(old: *const c_char, new: *const c_char) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(RENAME, old, new) }
}

/// `int unlink(const char *path)` — unlink(2).
///
/// # Safety
/// The path ends in NUL.
#[inline(always)]
pub(crate) unsafe fn unlink(path: *const c_char) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(UNLINK, path) }
}

/// `int dup2(int old, int new)` — dup2(2).
///
/// # Safety
/// No value owns the descriptor `new`.
#[inline(always)]
pub(crate) unsafe fn dup2(old: u32, new: u32) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(DUP2, old, new) }
}

/// `int poll(struct pollfd *descriptors, nfds_t count, int timeout)` — poll(2). 48 bytes shorter than ppoll(2).
///
/// # Safety
/// `count` descriptors are writable over the call.
#[inline(always)]
pub(crate) unsafe fn poll(descriptors: *mut pollfd, count: usize, wait_ms: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { sc::syscall!(POLL, descriptors, count, wait_ms) }
}

/// `int ioperm(unsigned long from, unsigned long count, int turn_on)` — ioperm(2); writes one byte to that I/O port. Children would
/// inherit the permission: it is dropped afterwards.
pub(crate) fn write_port(port: u32, byte: u8) -> Result<(), Errno> {
    // SAFETY: ioperm takes no pointers. Its success means that PID 1 may execute the instruction, and that the port has at most 16 bits.
    unsafe {
        done(sc::syscall!(IOPERM, port, 1, 1))?;
        asm!("out dx, al", in("edx") port, in("al") byte, options(nomem, nostack, preserves_flags));
        sc::syscall!(IOPERM, port, 1, 0);
    }
    Ok(())
}
