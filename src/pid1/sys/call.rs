//! System calls that succeed or fail, and return nothing else.
//!
//! rustix has them too, but with an errno and flags of its own, whose conversion costs at every call.

use core::ffi::{CStr, c_char};
use core::ptr;

use linux_raw_sys::general::{MS_BIND, MS_MOVE, MS_REC, MS_REMOUNT};
use whit::error::Errno;

use super::fd::{Fd, raw};
use super::{arch, done};

/// `int chdir(const char *path)` — chdir(2).
pub(crate) fn chdir(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL and lives over the call.
    done(unsafe { sc::syscall!(CHDIR, path.as_ptr()) })
}

/// `int fchdir(int fd)` — fchdir(2).
pub(crate) fn fchdir(directory: &Fd) -> Result<(), Errno> {
    // SAFETY: fchdir takes no pointers.
    done(unsafe { sc::syscall!(FCHDIR, raw(directory)) })
}

/// `int chroot(const char *path)` — chroot(2).
pub(crate) fn chroot(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL and lives over the call.
    done(unsafe { sc::syscall!(CHROOT, path.as_ptr()) })
}

/// `int access(const char *path, int mode)` — access(2), with F_OK.
#[inline(never)]
pub(crate) fn exists(path: &CStr) -> bool {
    // SAFETY: the path ends in NUL and lives over the call.
    done(unsafe { arch::access(path.as_ptr(), 0) }).is_ok()
}

/// `int mkdir(const char *path, mode_t mode)` — mkdir(2), with mode 0755.
pub(crate) fn mkdir(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL and lives over the call.
    done(unsafe { arch::mkdir(path.as_ptr(), 0o755) })
}

/// `int mknod(const char *path, mode_t mode, dev_t device)` — mknod(2).
pub(crate) fn mknod(path: &CStr, mode: u32, device: u32) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL and lives over the call.
    done(unsafe { arch::mknod(path.as_ptr(), mode, device) })
}

/// `int symlink(const char *target, const char *path)` — symlink(2).
pub(crate) fn symlink(target: &CStr, path: &CStr) -> Result<(), Errno> {
    // SAFETY: both texts end in NUL and live over the call.
    done(unsafe { arch::symlink(target.as_ptr(), path.as_ptr()) })
}

/// `int rename(const char *old, const char *new)` — rename(2).
pub(crate) fn rename(old: &CStr, new: &CStr) -> Result<(), Errno> {
    // SAFETY: both paths end in NUL and live over the call.
    done(unsafe { arch::rename(old.as_ptr(), new.as_ptr()) })
}

/// `int unlink(const char *path)` — unlink(2). An error is ignored.
pub(crate) fn unlink(path: &CStr) {
    // SAFETY: the path ends in NUL and lives over the call.
    unsafe { arch::unlink(path.as_ptr()) };
}

/// `int unlinkat(int directory, const char *path, int flags)` — unlink(2).
pub(crate) fn unlink_at(directory: &Fd, path: &CStr, flags: u32) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL and lives over the call.
    done(unsafe { sc::syscall!(UNLINKAT, raw(directory), path.as_ptr(), flags) })
}

/// `int ftruncate(int fd, off_t length)` — truncate(2).
pub(crate) fn truncate(file: &Fd, length: usize) -> Result<(), Errno> {
    // SAFETY: ftruncate takes no pointers.
    done(unsafe { sc::syscall!(FTRUNCATE, raw(file), length) })
}

/// `int fchown(int fd, uid_t owner, gid_t group)` — chown(2), of the owner of the standard streams alone. A failure is ignored.
pub(crate) fn own_streams(uid: u32) {
    const SAME: u32 = u32::MAX;
    for number in 0..3u32 {
        // SAFETY: fchown takes no pointers.
        unsafe { sc::syscall!(FCHOWN, number, uid, SAME) };
    }
}

/// `int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)` — setxattr(2).
pub(crate) fn set_attribute(path: &CStr, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: path and name end in NUL; `value.len()` bytes can be read over the call.
    done(unsafe { sc::syscall!(LSETXATTR, path.as_ptr(), name.as_ptr(), value.as_ptr(), value.len(), 0) })
}

/// `int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)` — mount(2).
#[inline(never)]
pub(crate) fn mount(source: &CStr, target: &CStr, fstype: &CStr, flags: u32, data: &CStr) -> Result<(), Errno> {
    let (source, target) = (source.as_ptr(), target.as_ptr());
    // SAFETY: the texts end in NUL and live over the call.
    done(unsafe { sc::syscall!(MOUNT, source, target, fstype.as_ptr(), flags, data.as_ptr()) })
}

/// mount(2) of an existing mount or directory, which needs no type.
#[inline(never)]
fn mount_again(source: *const c_char, target: &CStr, flags: u32) -> Result<(), Errno> {
    // SAFETY: the texts end in NUL and live over the call; the kernel accepts null for one that it does not need.
    done(unsafe { sc::syscall!(MOUNT, source, target.as_ptr(), ptr::null::<c_char>(), flags, ptr::null::<c_char>()) })
}

/// mount(2) with MS_BIND.
pub(crate) fn mount_bind(source: &CStr, target: &CStr) -> Result<(), Errno> {
    mount_again(source.as_ptr(), target, MS_BIND)
}

/// mount(2) with MS_BIND and MS_REC: includes the mounts inside.
pub(crate) fn mount_bind_recursive(source: &CStr, target: &CStr) -> Result<(), Errno> {
    mount_again(source.as_ptr(), target, MS_BIND | MS_REC)
}

/// mount(2) with MS_MOVE.
pub(crate) fn mount_move(source: &CStr, target: &CStr) -> Result<(), Errno> {
    mount_again(source.as_ptr(), target, MS_MOVE)
}

/// mount(2) with MS_REMOUNT.
pub(crate) fn remount(target: &CStr, flags: u32) -> Result<(), Errno> {
    mount_again(ptr::null(), target, MS_REMOUNT | flags)
}

/// `int umount2(const char *target, int flags)` — umount(2).
pub(crate) fn unmount(target: &CStr, flags: u32) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL and lives over the call.
    done(unsafe { sc::syscall!(UMOUNT2, target.as_ptr(), flags) })
}

/// `int finit_module(int fd, const char *parameters, int flags)` — init_module(2).
pub(crate) fn load_module(file: &Fd, parameters: &CStr, flags: u32) -> Result<(), Errno> {
    // SAFETY: the text ends in NUL and lives over the call.
    done(unsafe { sc::syscall!(FINIT_MODULE, raw(file), parameters.as_ptr(), flags) })
}

/// `int sethostname(const char *name, size_t length)` — sethostname(2).
pub(crate) fn set_hostname(name: &[u8]) -> Result<(), Errno> {
    // SAFETY: that many bytes can be read over the call.
    done(unsafe { sc::syscall!(SETHOSTNAME, name.as_ptr(), name.len()) })
}
