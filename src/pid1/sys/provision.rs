//! System calls of `put` (the package of that name) that no crate has as safe functions. The init does not have this file.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IO(0x12, 105)` and `_IO(0x12, 95)` of linux/fs.h.
const BLKPG: usize = 0x1269;
const BLKRRPART: usize = 0x125f;
/// Operations of linux/blkpg.h.
const ADD_PARTITION: c_int = 1;
const DELETE_PARTITION: c_int = 2;
/// KEXEC_FILE_NO_INITRAMFS of linux/kexec.h.
const NO_INITRAMFS: usize = 4;

/// `struct blkpg_partition` of linux/blkpg.h.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: c_int,
    names: [[u8; 64]; 2],
}

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
struct Argument {
    operation: c_int,
    flags: c_int,
    length: c_int,
    data: *mut c_void,
}

/// `int ioctl(int fd, BLKPG, struct blkpg_ioctl_arg *arg)` — adds a partition of `length` bytes to the kernel's list.
pub(crate) fn add_partition(disk: BorrowedFd<'_>, number: u32, start: u64, length: u64) -> io::Result<()> {
    change_partition(disk, ADD_PARTITION, number, start, length)
}

/// `int ioctl(int fd, BLKPG, struct blkpg_ioctl_arg *arg)` — removes a partition from the kernel's list.
pub(crate) fn delete_partition(disk: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    change_partition(disk, DELETE_PARTITION, number, 0, 0)
}

fn change_partition(disk: BorrowedFd<'_>, operation: c_int, number: u32, start: u64, length: u64) -> io::Result<()> {
    let (start, length) = (start.cast_signed(), length.cast_signed());
    let mut partition = Partition { start, length, number: number.cast_signed(), names: [[0; 64]; 2] };
    let data = (&raw mut partition).cast();
    let mut argument = Argument { operation, flags: 0, length: size_of::<Partition>() as c_int, data };
    // SAFETY: both structs live over the call, have the kernel's layout, and the length is that of `partition`.
    done(unsafe { sc::syscall!(IOCTL, disk.as_raw_fd(), BLKPG, &raw mut argument) })
}

/// `int ioctl(int fd, BLKRRPART)` — reads the partition table again, of any kind that the kernel knows.
pub(crate) fn read_partitions(disk: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    done(unsafe { sc::syscall!(IOCTL, disk.as_raw_fd(), BLKRRPART, 0) })
}

/// `long kexec_file_load(int kernel_fd, int initrd_fd, unsigned long cmdline_len, const char *cmdline, unsigned long flags)` —
/// kexec_file_load(2).
pub(crate) fn load_kernel(
    kernel: BorrowedFd<'_>,
    initramfs: Option<BorrowedFd<'_>>,
    command_line: &CStr,
) -> io::Result<()> {
    let (initramfs, flags) = initramfs.map_or((-1, NO_INITRAMFS), |file| (file.as_raw_fd(), 0));
    let length = command_line.to_bytes_with_nul().len();
    // SAFETY: the command line ends in NUL, has this length with it, and lives over the call.
    done(unsafe { sc::syscall!(KEXEC_FILE_LOAD, kernel.as_raw_fd(), initramfs, length, command_line.as_ptr(), flags) })
}

/// Returns the error of a system call's result (the kernel's MAX_ERRNO is 4095).
fn done(result: usize) -> io::Result<()> {
    match result.cast_signed() {
        errno @ -4095..0 => Err(io::Error::from_raw_os_error(-(errno as i32))),
        _ => Ok(()),
    }
}
