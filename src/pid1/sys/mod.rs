//! The only unsafe code of whit: the entry point, and the system calls that rustix lacks.
//!
//! Three levels, as in the kernel's nolibc: `sc::syscall!` makes the call, one function here wraps it with types, and
//! everything outside this folder is safe.

mod arch;
pub(crate) mod argument;
pub(crate) mod block;
pub(crate) mod call;
pub(crate) mod fd;
#[cfg(feature = "verity")]
pub(crate) mod mapper;
mod mem;
pub(crate) mod memory;
pub(crate) mod net;
#[cfg(feature = "dhcpv6")]
pub(crate) mod net6;
pub(crate) mod packet;
pub(crate) mod process;
#[cfg(feature = "http")]
pub(crate) mod ram_disk;
pub(crate) mod rooms;
pub(crate) mod stream;
pub(crate) mod vsock;
pub(crate) mod window;

use core::ffi::{CStr, c_char};
use core::num::NonZeroI32;

use linux_raw_sys::auxvec::{AT_NULL, AT_RANDOM};
use linux_raw_sys::general::{CLOCK_BOOTTIME, CLOCK_REALTIME};
use whit::error::Errno;

#[cfg(feature = "notify")]
pub(crate) use arch::write_port;

/// The first function in Rust, called by the entry point of [`arch`].
extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the stack pointer as it was at the entry.
    let (seed, request) = unsafe { (random_seed(stack), request(stack)) };
    // SAFETY: there is one entry point, and the kernel calls it once.
    crate::main(seed, request, unsafe { rooms::rooms() })
}

/// Returns the module that the kernel requests: the last word of `/sbin/modprobe -q -- NAME` (kernel/module/kmod.c, call_modprobe()).
/// Empty with another number of words.
///
/// # Safety
/// `stack` is the stack pointer at the entry point.
unsafe fn request(stack: *const usize) -> &'static CStr {
    const WORDS: usize = 4;
    // SAFETY: after argc there are that many pointers to texts, which stay.
    unsafe { if stack.read() == WORDS { CStr::from_ptr(stack.add(WORDS).read() as *const c_char) } else { c"" } }
}

/// Returns four of the 16 random bytes that the kernel gives every program (getauxval(3), AT_RANDOM): they cost no system call,
/// and getrandom(2) may block at boot.
///
/// # Safety
/// `stack` is the stack pointer at the entry point.
unsafe fn random_seed(stack: *const usize) -> u32 {
    // SAFETY: after argc there are that many pointers and a null, environment pointers and a null, then pairs up to
    // AT_NULL.
    unsafe {
        let mut word = stack.add(stack.read().wrapping_add(2));
        while word.read() != 0 {
            word = word.add(1);
        }
        word = word.add(1);
        loop {
            let (kind, value) = (word.read(), word.add(1).read());
            if kind == AT_RANDOM as usize {
                return (value as *const u32).read_unaligned();
            }
            if kind == AT_NULL as usize {
                return 0;
            }
            word = word.add(2);
        }
    }
}

/// `void exit_group(int status)` — `_exit(2)`. From PID 1 of a machine it is a kernel panic.
pub(crate) fn exit(status: u8) -> ! {
    loop {
        // SAFETY: exit_group takes no pointers.
        unsafe { sc::syscall!(EXIT_GROUP, status) };
    }
}

/// Returns a text up to its first NUL, when it ends in one; else an empty text. strlen, which is short, finds the length:
/// core's checked conversions search with half a kilobyte of code.
pub(crate) fn c_str(text: &[u8]) -> &CStr {
    match text.last() {
        // SAFETY: there is a NUL in the slice, at its end at the latest.
        Some(0) => unsafe { CStr::from_ptr(text.as_ptr().cast()) },
        _ => c"",
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// `int clock_gettime(clockid_t clock, struct timespec *tp)` — clock_gettime(2), in nanoseconds. Not through the vDSO, whose lookup
/// costs more than it saves.
#[inline(never)]
fn time_ns(clock: u32) -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: struct timespec is two words on a 64-bit machine.
    unsafe { sc::syscall!(CLOCK_GETTIME, clock, time.as_mut_ptr()) };
    let [seconds, nanoseconds] = time;
    seconds.wrapping_mul(SECOND_NS).wrapping_add(nanoseconds)
}

/// CLOCK_BOOTTIME: since the kernel started to keep time, suspended time included.
pub(crate) fn boot_time_ns() -> u64 {
    time_ns(CLOCK_BOOTTIME)
}

/// CLOCK_REALTIME: since 1970.
pub(crate) fn clock_ns() -> u64 {
    time_ns(CLOCK_REALTIME)
}

/// `int clock_settime(clockid_t clock, const struct timespec *tp)` — clock_settime(2), of CLOCK_REALTIME.
pub(crate) fn set_clock_ns(time_ns: u64) -> Result<(), Errno> {
    let time = [time_ns / SECOND_NS, time_ns % SECOND_NS];
    // SAFETY: struct timespec is two words on a 64-bit machine.
    done(unsafe { sc::syscall!(CLOCK_SETTIME, CLOCK_REALTIME, time.as_ptr()) })
}

/// Converts the result of a system call: a value, or a negative errno. (No call here returns an address, which may be in the upper
/// half.)
fn result(value: usize) -> Result<usize, Errno> {
    match value as isize {
        0.. => Ok(value),
        // SAFETY: it is below 0, and not below -4095.
        errno => Err(Errno(unsafe { NonZeroI32::new_unchecked(errno.wrapping_neg() as i32) })),
    }
}

/// Converts the result of a system call that returns nothing: 0, or a negative errno.
fn done(value: usize) -> Result<(), Errno> {
    Errno::check(value as i32)
}
