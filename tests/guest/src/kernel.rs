//! System calls, one function for each, and the entry point. This is the probe's only unsafe code.

use core::ffi::CStr;
use core::mem::size_of;

/// Starts the program. The stack is aligned as the ABI requires before a call (fs/binfmt_elf.c, create_elf_tables).
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("xor ebp, ebp", "call {entry}", "ud2", entry = sym entry);
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x29, xzr", "mov x30, xzr", "b {entry}", entry = sym entry);
}

extern "C" fn entry() -> ! {
    crate::main()
}

/// Returns a result that is not an error (include/linux/err.h, MAX_ERRNO).
fn ok(value: usize) -> Option<usize> {
    (!(1..=4095).contains(&value.wrapping_neg())).then_some(value)
}

/// Returns the nanoseconds since the kernel started its clock.
pub(crate) fn clock_boottime_ns() -> u64 {
    const CLOCK_BOOTTIME: usize = 7;
    clock_ns(CLOCK_BOOTTIME)
}

/// Returns the nanoseconds since 1970.
pub(crate) fn clock_realtime_ns() -> u64 {
    const CLOCK_REALTIME: usize = 0;
    clock_ns(CLOCK_REALTIME)
}

fn clock_ns(clock: usize) -> u64 {
    let mut time = [0_u64; 2];
    // SAFETY: struct timespec is two 64-bit words.
    unsafe { sc::syscall!(CLOCK_GETTIME, clock, time.as_mut_ptr()) };
    let [seconds, nanoseconds] = time;
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

/// Returns this process's number.
pub(crate) fn pid() -> u64 {
    // SAFETY: getpid takes nothing.
    unsafe { sc::syscall!(GETPID) as u64 }
}

/// Makes the console the standard output: that may be a pty, whose bytes an init moves, and some would be lost at the power-off.
pub(crate) fn take_console() {
    const O_WRONLY: usize = 1;
    const O_NOCTTY: usize = 0o400;
    if let Some(console) = open(c"/dev/console", O_WRONLY | O_NOCTTY) {
        // SAFETY: the descriptors are ours.
        unsafe { sc::syscall!(DUP3, console, 1, 0) };
    }
}

/// Writes to standard output until the first error.
pub(crate) fn write_console(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: pointer and length are a slice's.
        let Some(count) = ok(unsafe { sc::syscall!(WRITE, 1, bytes.as_ptr(), bytes.len()) }) else { return };
        bytes = bytes.get(count..).unwrap_or_default();
    }
}

/// The working directory, in the calls that take a directory: those without one are x86-64's alone.
const AT_FDCWD: isize = -100;

fn open(path: &CStr, flags: usize) -> Option<usize> {
    // SAFETY: the path ends with a NUL.
    ok(unsafe { sc::syscall!(OPENAT, AT_FDCWD, path.as_ptr(), flags, 0) })
}

/// Reads a file, up to the size of the buffer.
fn read(path: &CStr, buffer: &mut [u8]) -> Option<usize> {
    let file = open(path, 0)?;
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        // SAFETY: pointer and length are a slice's.
        let count = ok(unsafe { sc::syscall!(READ, file, rest.as_mut_ptr(), rest.len()) })?;
        if count == 0 {
            break;
        }
        length += count;
    }
    // SAFETY: the descriptor is ours.
    unsafe { sc::syscall!(CLOSE, file) };
    Some(length)
}

/// Reads a file of /proc, and mounts /proc first if it is missing; empty when there is no such file.
pub(crate) fn read_proc<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    let mut length = read(path, buffer);
    if length.is_none() {
        // SAFETY: all strings end with a NUL.
        unsafe {
            sc::syscall!(MKDIRAT, AT_FDCWD, c"/proc".as_ptr(), 0o555);
            sc::syscall!(MOUNT, c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, 0);
        }
        length = read(path, buffer);
    }
    buffer.get(..length.unwrap_or(0)).unwrap_or_default()
}

/// Writes a line into the kernel's log; returns the time. Where no /dev is mounted, the image has a node for the log.
pub(crate) fn mark(line: &[u8]) -> u64 {
    const O_WRONLY: usize = 1;
    let log = open(c"/dev/kmsg", O_WRONLY).or_else(|| open(c"/kmsg", O_WRONLY));
    let now_ns = clock_boottime_ns();
    if let Some(log) = log {
        // SAFETY: pointer and length are a slice's.
        unsafe { sc::syscall!(WRITE, log, line.as_ptr(), line.len()) };
    }
    now_ns
}

/// Reads the kernel's log.
pub(crate) fn log(buffer: &mut [u8]) -> &[u8] {
    const SYSLOG_ACTION_READ_ALL: usize = 3;
    // SAFETY: pointer and length are a slice's.
    let length = ok(unsafe { sc::syscall!(SYSLOG, SYSLOG_ACTION_READ_ALL, buffer.as_mut_ptr(), buffer.len()) });
    buffer.get(..length.unwrap_or(0)).unwrap_or_default()
}

/// Opens a socket.
pub(crate) fn socket(family: usize, kind: usize, protocol: usize) -> Option<usize> {
    // SAFETY: socket takes no pointers.
    ok(unsafe { sc::syscall!(SOCKET, family, kind, protocol) })
}

/// Calls ioctl(2) with the structure that belongs to `request`.
pub(crate) fn ioctl<T>(file: usize, request: usize, argument: &mut T) -> Option<usize> {
    // SAFETY: the one caller passes the structure that netdevice(7) gives for its request.
    ok(unsafe { sc::syscall!(IOCTL, file, request, argument as *mut T) })
}

/// Sends a packet; `to` is a socket address.
pub(crate) fn send_to<T>(socket: usize, packet: &[u8], to: &T) -> Option<usize> {
    // SAFETY: pointers and lengths are those of a slice and of a structure.
    ok(unsafe { sc::syscall!(SENDTO, socket, packet.as_ptr(), packet.len(), 0, to as *const T, size_of::<T>()) })
}

/// Waits until there is something to read.
pub(crate) fn wait_readable(socket: usize, timeout_ms: usize) -> Option<()> {
    // struct pollfd (poll(2)): the descriptor, the requested events and the returned ones; POLLIN is 1.
    let mut descriptor = [socket as u32, 1];
    let mut timeout = [timeout_ms / 1000, timeout_ms % 1000 * 1_000_000];
    // SAFETY: the first array has the structure's layout on a little-endian machine; struct timespec is two 64-bit words, to which the
    // kernel writes the rest of the time. There is no signal mask.
    let count = ok(unsafe { sc::syscall!(PPOLL, descriptor.as_mut_ptr(), 1, timeout.as_mut_ptr(), 0, 0) })?;
    (count > 0).then_some(())
}

/// Receives a packet.
pub(crate) fn receive(socket: usize, buffer: &mut [u8]) -> Option<&[u8]> {
    // SAFETY: pointer and length are a slice's.
    let length = ok(unsafe { sc::syscall!(RECVFROM, socket, buffer.as_mut_ptr(), buffer.len(), 0, 0, 0) })?;
    buffer.get(..length)
}

/// Powers the machine off once all output has left the serial port.
pub(crate) fn power_off() -> ! {
    const TCSBRK: usize = 0x5409;
    const MAGIC: (usize, usize) = (0xfee1_dead, 672_274_793);
    const POWER_OFF: usize = 0x4321_fedc;
    loop {
        // SAFETY: no pointers: TCSBRK with 1 is tcdrain(3), and reboot ignores its fourth argument.
        unsafe {
            sc::syscall!(IOCTL, 1, TCSBRK, 1);
            sc::syscall!(REBOOT, MAGIC.0, MAGIC.1, POWER_OFF, 0);
        }
    }
}
