//! File descriptors that are open for as long as their value lives, and the calls that make and read them.
//!
//! rustix has all of these; but without std its `OwnedFd` asserts at each use that it is not -1, which would link the
//! panic machinery and cost at every call. An [`Fd`] is checked once, when it is made: it is not 0, so that an `Option<Fd>` is one
//! number.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::num::NonZeroI32;

use linux_raw_sys::general::{
    AT_EMPTY_PATH, AT_FDCWD, CREAD, F_GETFD, F_SETFL, F_SETOWN, FASYNC, IUTF8, O_CLOEXEC, O_NONBLOCK, O_PATH, POLLIN,
    POLLOUT, RESOLVE_NO_XDEV, S_IFMT, STATX_ATTR_MOUNT_ROOT, STATX_INO, STATX_TYPE, TCIFLUSH, TCOON, open_how, pollfd,
    statfs, statx, termios,
};
use linux_raw_sys::ioctl::{
    FIFREEZE, RNDADDENTROPY, TCFLSH, TCGETS, TCSETS, TCXONC, TIOCGPTPEER, TIOCGWINSZ, TIOCOUTQ, TIOCSCTTY, TIOCSPGRP,
    TIOCSPTLCK, TIOCSWINSZ,
};
use linux_raw_sys::net::{AF_NETLINK, MSG_DONTWAIT, MSG_PEEK};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketType};
use whit::error::Errno;
use whit::features::Feature;
use whit::ipv4::Address;

use super::net::bind;
use super::{arch, done, result};

/// An open descriptor other than 0; dropping it closes it.
pub(crate) struct Fd(NonZeroI32);

impl Fd {
    /// Descriptor 2, which is never closed: the value must not be dropped.
    pub(super) const fn standard_error() -> Self {
        match NonZeroI32::new(2) {
            Some(number) => Self(number),
            None => panic!("2 is not 0"),
        }
    }

    /// Converts the result of a system call: a new descriptor, or an error. Descriptor 0 is an error, and stays open: it is reserved
    /// from then on, if it was not before ([`reserve`]).
    ///
    /// # Safety
    /// No other value owns the descriptor.
    #[inline(never)]
    pub(super) unsafe fn from_result(returned: usize) -> Result<Self, Errno> {
        NonZeroI32::new(result(returned)? as i32).map(Self).ok_or(Errno::AGAIN)
    }

    /// Returns the number.
    pub(crate) fn number(&self) -> u32 {
        raw(self)
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: this value alone owns the descriptor.
        unsafe { sc::syscall!(CLOSE, raw(self)) };
    }
}

/// Descriptor 2: the console as the kernel opened it, or the terminal that replaced it, in this process or in the one that becomes a
/// workload or a shell.
pub(crate) static STDERR: Fd = Fd::standard_error();

/// Returns the number of a descriptor. It is not negative; as an unsigned number it becomes an argument without an instruction.
pub(super) fn raw(fd: &Fd) -> u32 {
    fd.0.get().cast_unsigned()
}

/// Reserves descriptors 0 to 2: opens `/` until it gets a higher one, or an error.
pub(crate) fn reserve() {
    // SAFETY: the path lives over the call; no value owns the descriptors that stay open, and the last one is closed.
    unsafe {
        while let Ok(descriptor) = result(sc::syscall!(OPENAT, AT_FDCWD, c"/".as_ptr(), O_PATH)) {
            if descriptor > 2 {
                sc::syscall!(CLOSE, descriptor);
                break;
            }
        }
    }
}

/// `int dup2(int old, int new)` — dup2(2), without O_CLOEXEC.
pub(crate) fn duplicate(fd: &Fd, number: u32) {
    // SAFETY: callers pass 0 to 2, which no value that is dropped owns.
    unsafe { arch::dup2(raw(fd), number) };
}

/// `int ioctl(int fd, TIOCGWINSZ, struct winsize *size)` — tty_ioctl(4), as isatty(3): whether it is a terminal.
pub(crate) fn is_terminal(fd: &Fd) -> bool {
    let mut size = [0u8; WINDOW_SIZE];
    // SAFETY: that many bytes are writable over the call.
    done(unsafe { sc::syscall!(IOCTL, raw(fd), TIOCGWINSZ, size.as_mut_ptr()) }).is_ok()
}

/// `int ioctl(int fd, TIOCSPGRP, const pid_t *group)` — tty_ioctl(4): sets the foreground process group.
pub(crate) fn set_foreground(terminal: &Fd, group: i32) {
    // SAFETY: the number lives over the call.
    unsafe { sc::syscall!(IOCTL, raw(terminal), TIOCSPGRP, &raw const group) };
}

/// `int openat(int directory, const char *path, int flags, mode_t mode)` — open(2), with O_CLOEXEC and mode 0644.
pub(crate) fn open(path: &CStr, flags: OFlags) -> Result<Fd, Errno> {
    // SAFETY: the path ends in NUL and lives over the call; the descriptor is new.
    unsafe { Fd::from_result(sc::syscall!(OPENAT, AT_FDCWD, path.as_ptr(), flags.bits() | O_CLOEXEC, 0o644)) }
}

/// Opens a file in a directory; links are followed.
pub(crate) fn open_at(directory: &Fd, name: &CStr, flags: OFlags) -> Result<Fd, Errno> {
    openat2(Some(directory), name, flags, 0)
}

/// Opens a directory in a directory, with RESOLVE_NO_XDEV: a mount point is EXDEV.
pub(crate) fn open_below(directory: &Fd, name: &CStr) -> Result<Fd, Errno> {
    openat2(Some(directory), name, OFlags::DIRECTORY | OFlags::NOFOLLOW, RESOLVE_NO_XDEV)
}

/// Limit on tries after EAGAIN: a rename or mount anywhere on the machine happened while the kernel followed `..` (fs/namei.c,
/// handle_dots()). A workload that renames all the time must not block PID 1.
const MAX_TRIES: u8 = 64;

/// `int openat2(int directory, const char *path, const struct open_how *how, size_t size)` — openat2(2); from the working directory
/// without `directory`.
#[inline(never)]
pub(crate) fn openat2(directory: Option<&Fd>, path: &CStr, flags: OFlags, resolve: u32) -> Result<Fd, Errno> {
    let mode = if flags.contains(OFlags::CREATE) { 0o644 } else { 0 };
    let how = open_how { flags: u64::from(flags.bits() | O_CLOEXEC), mode, resolve: u64::from(resolve) };
    let directory = directory.map_or(AT_FDCWD, |directory| raw(directory).cast_signed());
    let mut tries = 0;
    loop {
        // SAFETY: path and struct live over the call; the descriptor is new.
        let opened = unsafe {
            let size = size_of::<open_how>();
            Fd::from_result(sc::syscall!(OPENAT2, directory, path.as_ptr(), &raw const how, size))
        };
        tries += 1;
        if tries == MAX_TRIES || !matches!(opened, Err(Errno::AGAIN)) {
            return opened;
        }
    }
}

/// `ssize_t readlink(const char *path, char *buffer, size_t size)` — readlink(2), through readlinkat: the text of a link, cut to the
/// buffer; EINVAL for another file.
pub(crate) fn read_link<'a>(path: &CStr, buffer: &'a mut [MaybeUninit<u8>]) -> Result<&'a [u8], Errno> {
    // SAFETY: the path lives over the call, and the buffer is writable.
    let length =
        result(unsafe { sc::syscall!(READLINKAT, AT_FDCWD, path.as_ptr(), buffer.as_mut_ptr(), buffer.len()) })?;
    // SAFETY: the call returns how many bytes it has written, which is not more than it was to write.
    Ok(unsafe { written(buffer, length) })
}

/// `ssize_t getdents64(int fd, void *entries, size_t count)` — getdents64(2): reads the next entries, none at the end.
pub(crate) fn entries<'a>(directory: &Fd, buffer: &'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], Errno> {
    // SAFETY: the buffer is writable over the call.
    let length = result(unsafe { sc::syscall!(GETDENTS64, raw(directory), buffer.as_mut_ptr(), buffer.len()) })?;
    // SAFETY: the call returns how many bytes it has written, which is not more than it was to write.
    Ok(unsafe { written(buffer, length) })
}

/// The file system that a file is in.
pub(super) struct FileSystem {
    magic: i64,
    pub(super) block_bytes: u64,
}

/// `int fstatfs(int fd, struct statfs *status)` — statfs(2).
pub(super) fn file_system(file: &Fd) -> Result<FileSystem, Errno> {
    let mut status = MaybeUninit::<statfs>::uninit();
    // SAFETY: the struct lives over the call; when it succeeds the kernel has written the whole of it.
    let status = unsafe {
        done(sc::syscall!(FSTATFS, raw(file), status.as_mut_ptr()))?;
        status.assume_init_ref()
    };
    Ok(FileSystem { magic: status.f_type, block_bytes: status.f_bsize as u64 })
}

/// Whether a file is in a ramfs or a tmpfs, as those of an initramfs are.
pub(crate) fn is_in_memory(file: &Fd) -> bool {
    /// include/uapi/linux/magic.h
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    file_system(file).is_ok_and(|found| matches!(found.magic, RAMFS_MAGIC | TMPFS_MAGIC))
}

/// `int ioctl(int fd, FIFREEZE)` — fs/ioctl.c: writes everything back and blocks all later writes, even to open files. The journal
/// has nothing to replay afterwards (fs/ext4/super.c, ext4_freeze()).
pub(crate) fn freeze(mounted: &Fd) {
    // SAFETY: the kernel does not read the argument.
    unsafe { sc::syscall!(IOCTL, raw(mounted), FIFREEZE, 0) };
}

/// Properties of a file.
pub(crate) struct Status {
    /// It is the root of a mount (Linux 5.8; fs/stat.c, vfs_statx).
    pub(crate) is_mount: bool,
    /// Its type, S_IFREG or another (inode(7)).
    pub(crate) kind: u32,
    /// The file system that it is in: major and minor number.
    pub(crate) device: [u32; 2],
    /// Its inode number in the file system.
    pub(crate) inode: u64,
}

/// Returns the status of the file at a path.
pub(crate) fn status(path: &CStr) -> Option<Status> {
    status_at(AT_FDCWD, path)
}

/// Returns the status of an open file.
pub(crate) fn status_of(file: &Fd) -> Option<Status> {
    status_at(raw(file).cast_signed(), c"")
}

/// `int statx(int directory, const char *path, int flags, unsigned mask, struct statx *status)` — statx(2), of the file `directory` itself
/// when the path is empty. rustix's version first checks whether the kernel has the call.
#[inline(never)]
fn status_at(directory: i32, path: &CStr) -> Option<Status> {
    let (mut status, mask) = (MaybeUninit::<statx>::uninit(), STATX_TYPE | STATX_INO);
    // SAFETY: path and struct live over the call; when it succeeds the kernel has written the whole struct.
    let status = unsafe {
        let returned = sc::syscall!(STATX, directory, path.as_ptr(), AT_EMPTY_PATH, mask, status.as_mut_ptr());
        done(returned).ok()?;
        status.assume_init_ref()
    };
    Some(Status {
        is_mount: status.stx_attributes & u64::from(STATX_ATTR_MOUNT_ROOT) != 0,
        kind: u32::from(status.stx_mode) & S_IFMT,
        device: [status.stx_dev_major, status.stx_dev_minor],
        inode: status.stx_ino,
    })
}

/// `int socket(int family, int type, int protocol)` — socket(2), with SOCK_CLOEXEC and SOCK_NONBLOCK.
pub(crate) fn socket(family: AddressFamily, kind: SocketType, protocol: u32) -> Result<Fd, Errno> {
    use linux_raw_sys::general::{O_CLOEXEC, O_NONBLOCK}; // SOCK_CLOEXEC and SOCK_NONBLOCK are the same bits
    // SAFETY: socket takes no pointers; the descriptor is new.
    unsafe {
        let kind = kind.as_raw() | O_CLOEXEC | O_NONBLOCK;
        Fd::from_result(sc::syscall!(SOCKET, family.as_raw(), kind, protocol))
    }
}

/// Opens a socket of a netlink protocol (netlink(7)), in multicast groups, a bit each.
pub(crate) fn netlink_socket(protocol: u32, groups: u32) -> Result<Fd, Errno> {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, protocol)?;
    // The kernel's choice for the first socket of a protocol is the process's number; for another it is random (af_netlink.c,
    // netlink_autobind()), which takes long before there is entropy. Requests are sent from a socket in no group; a network namespace
    // has one such init.
    let port = if groups == 0 { u32::MAX } else { 0 };
    bind(&socket, &[AF_NETLINK, port, groups])?;
    Ok(socket)
}

/// `int ioctl(int socket, SIOCGIFADDR, struct ifreq *request)` and similar — netdevice(7): returns an IPv4 property of an interface.
pub(crate) fn interface_value(name: &[u8], command: u32) -> Option<Address> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, 0).ok()?;
    // struct ifreq: the name, with its NUL; struct sockaddr_in: family, port, address; to the length of the longest union member
    let mut request = [0u8; 40];
    for (place, byte) in request.iter_mut().zip(name).take(IFNAMSIZ - 1) {
        *place = *byte;
    }
    // SAFETY: the request is writable over the call, and as long as a struct ifreq.
    done(unsafe { sc::syscall!(IOCTL, raw(&socket), command, request.as_mut_ptr()) }).ok()?;
    request.get(IFNAMSIZ + 4..)?.first_chunk().copied().map(Address)
}

/// `ssize_t read(int fd, void *buffer, size_t count)` — read(2), into uninitialized memory.
pub(crate) fn read<'a>(fd: &Fd, buffer: &'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], Errno> {
    // SAFETY: the buffer is writable over the call.
    let length = result(unsafe { sc::syscall!(READ, raw(fd), buffer.as_mut_ptr(), buffer.len()) })?;
    // SAFETY: the call returns how many bytes it has written, which is not more than it was to write.
    Ok(unsafe { written(buffer, length) })
}

/// `ssize_t read(int fd, void *buffer, size_t count)` — read(2). Returns the number of bytes.
pub(crate) fn read_into(fd: &Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer is writable over the call.
    result(unsafe { sc::syscall!(READ, raw(fd), buffer.as_mut_ptr(), buffer.len()) })
}

/// `int posix_fadvise(int fd, off_t offset, off_t length, int advice)` — posix_fadvise(2), POSIX_FADV_RANDOM: each read is of its own pages
/// alone, and not of those after them.
pub(crate) fn read_at_random(fd: &Fd) {
    const POSIX_FADV_RANDOM: usize = 1;
    // SAFETY: the call takes no pointers.
    unsafe { sc::syscall!(FADVISE64, raw(fd), 0, 0, POSIX_FADV_RANDOM) };
}

/// `ssize_t pread64(int fd, void *buffer, size_t count, loff_t offset)` — pread(2). Returns the number of bytes that were read; 0 after
/// an error.
#[inline(never)]
pub(crate) fn read_at(fd: &Fd, buffer: &mut [u8], offset: u64) -> usize {
    // SAFETY: the buffer is writable over the call.
    result(unsafe { sc::syscall!(PREAD64, raw(fd), buffer.as_mut_ptr(), buffer.len(), offset) }).unwrap_or_default()
}

/// `ssize_t write(int fd, const void *buffer, size_t count)` — write(2), to a non-blocking descriptor: `None` after EAGAIN. After any
/// other error the text counts as written.
#[inline(never)]
pub(crate) fn write_some(fd: &Fd, text: &[u8]) -> Option<usize> {
    // SAFETY: that many bytes can be read over the call.
    match result(unsafe { sc::syscall!(WRITE, raw(fd), text.as_ptr(), text.len()) }) {
        Ok(length) => Some(length),
        Err(Errno::AGAIN) => None,
        Err(_) => Some(text.len()),
    }
}

/// `ssize_t write(int fd, const void *buffer, size_t count)` — write(2), to a file that takes all bytes or none.
pub(crate) fn write(fd: &Fd, text: &[u8]) -> Result<(), Errno> {
    // SAFETY: that many bytes can be read over the call.
    result(unsafe { sc::syscall!(WRITE, raw(fd), text.as_ptr(), text.len()) }).map(drop)
}

/// `ssize_t pwrite64(int fd, const void *buffer, size_t count, loff_t offset)` — pwrite(2), to a file that takes all bytes or none.
pub(crate) fn write_at(fd: &Fd, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    // SAFETY: that many bytes can be read over the call.
    result(unsafe { sc::syscall!(PWRITE64, raw(fd), bytes.as_ptr(), bytes.len(), offset) }).map(drop)
}

/// `ssize_t recvfrom(int fd, void *buffer, size_t length, int flags, …)` — recv(2), without waiting.
pub(crate) fn receive<'a>(fd: &Fd, buffer: &'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], Errno> {
    // SAFETY: the buffer is writable over the call; the sender is not requested.
    let received = unsafe { sc::syscall!(RECVFROM, raw(fd), buffer.as_mut_ptr(), buffer.len(), MSG_DONTWAIT, 0, 0) };
    let length = result(received)?;
    // SAFETY: the call returns how many bytes it has written, which is not more than it was to write.
    Ok(unsafe { written(buffer, length) })
}

/// Returns whether a socket has a message: recv(2) of no bytes with MSG_PEEK. EAGAIN: it has none. The socket reports an error once.
pub(crate) fn peek(fd: &Fd) -> Result<(), Errno> {
    // SAFETY: no bytes are written.
    let received = unsafe { sc::syscall!(RECVFROM, raw(fd), 0, 0, MSG_DONTWAIT | MSG_PEEK, 0, 0) };
    result(received).map(drop)
}

/// An interface's name with its NUL (include/uapi/linux/if.h).
pub(crate) const IFNAMSIZ: usize = 16;

/// Descriptors that [`poll`] waits for. The last one is waited for until it can be written to, the others until they can be read.
const MAX_POLLED: usize = if Feature::Dhcpv6.is_enabled() { 10 } else { 9 };

/// A descriptor for [`poll`]: its number, or 0 for none. A reference would be an address and a comparison.
#[derive(Clone, Copy)]
pub(crate) struct Polled(u32);

impl Polled {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(fd: Option<&Fd>) -> Self {
        Self(fd.map_or(0, raw))
    }
}

/// `int poll(struct pollfd *descriptors, nfds_t count, int timeout)` — poll(2): waits until one of the present descriptors
/// is ready, and not much longer than `wait_ms`; a wait that does not fit an `int` ends after 24 days. rustix's version cannot
/// express an absent descriptor, which is -1 to the kernel.
///
/// # Errors
/// EINVAL, at once, when PID 1's limit on descriptors is below the number that is listed (fs/select.c, do_sys_poll()).
pub(crate) fn poll(descriptors: [Polled; MAX_POLLED], wait_ms: u64) -> Result<(), Errno> {
    let mut polled = [pollfd { fd: -1, events: POLLIN as i16, revents: 0 }; MAX_POLLED];
    for (place, Polled(number)) in polled.iter_mut().zip(&descriptors) {
        if *number != 0 {
            place.fd = number.cast_signed();
        }
    }
    let [.., sink] = &mut polled;
    sink.events = POLLOUT as i16;
    let timeout = i32::try_from(wait_ms).unwrap_or(i32::MAX);
    // SAFETY: the array is writable over the call and has that many members.
    result(unsafe { arch::poll(polled.as_mut_ptr(), MAX_POLLED, timeout as usize) }).map(drop)
}

/// poll(2) of no descriptor: sleeps for `wait_ms`.
pub(crate) fn sleep(wait_ms: u64) {
    // SAFETY: the kernel reads no array of no members.
    unsafe { arch::poll(core::ptr::null_mut(), 0, wait_ms as usize) };
}

/// poll(2) of one descriptor: returns whether it can be written to.
pub(crate) fn wait_writable(fd: &Fd, wait_ms: u64) -> bool {
    wait(fd, POLLOUT, wait_ms)
}

/// poll(2) of one descriptor: returns whether it can be read.
#[cfg(feature = "http")]
pub(crate) fn wait_readable(fd: &Fd, wait_ms: u64) -> bool {
    wait(fd, POLLIN, wait_ms)
}

fn wait(fd: &Fd, events: u32, wait_ms: u64) -> bool {
    let mut polled = pollfd { fd: raw(fd).cast_signed(), events: events as i16, revents: 0 };
    // SAFETY: the struct is writable over the call.
    result(unsafe { arch::poll(&raw mut polled, 1, wait_ms as usize) }) != Ok(0)
}

/// `int fcntl(int fd, int command, …)` — F_GETFD of fcntl(2): whether the descriptor is open.
pub(crate) fn is_open(fd: &Fd) -> bool {
    // SAFETY: fcntl takes no pointers here.
    result(unsafe { sc::syscall!(FCNTL, raw(fd), F_GETFD) }).is_ok()
}

/// `int fcntl(int fd, int command, …)` — F_SETOWN and O_ASYNC of fcntl(2): PID 1 gets SIGIO when the file is ready. It was opened
/// non-blocking: a call that fails for lack of memory changes nothing.
pub(crate) fn signal_when_ready(fd: &Fd) {
    let own = 1; // PID 1
    // SAFETY: fcntl takes numbers here.
    unsafe {
        sc::syscall!(FCNTL, raw(fd), F_SETOWN, own);
        sc::syscall!(FCNTL, raw(fd), F_SETFL, O_NONBLOCK | FASYNC);
    }
}

/// sizeof(struct winsize).
pub(crate) const WINDOW_SIZE: usize = 8;

/// `int ioctl(int fd, TIOCSWINSZ, const struct winsize *size)` — tty_ioctl(4). A truncated size is ignored.
pub(crate) fn set_window_size(terminal: &Fd, size: &[u8]) {
    if size.len() == WINDOW_SIZE {
        // SAFETY: that many bytes can be read over the call, and every value of them is a size.
        unsafe { sc::syscall!(IOCTL, raw(terminal), TIOCSWINSZ, size.as_ptr()) };
    }
}

/// `int ioctl(int fd, TIOCGWINSZ, struct winsize *size)` — tty_ioctl(4); zeros if it is not a terminal.
pub(crate) fn window_size(terminal: &Fd) -> [u8; WINDOW_SIZE] {
    let mut size = [0; WINDOW_SIZE];
    // SAFETY: that many bytes are writable over the call.
    unsafe { sc::syscall!(IOCTL, raw(terminal), TIOCGWINSZ, size.as_mut_ptr()) };
    size
}

/// `int ioctl(int fd, TIOCOUTQ, int *bytes)` — tty_ioctl(4): the bytes that a terminal has not sent yet.
pub(crate) fn unsent(terminal: &Fd) -> i32 {
    let mut bytes = 0;
    // SAFETY: the number is writable over the call.
    unsafe { sc::syscall!(IOCTL, raw(terminal), TIOCOUTQ, &raw mut bytes) };
    bytes
}

/// `int ioctl(int fd, TCGETS, struct termios *settings)` and `int ioctl(int fd, TCSETS, const struct termios *settings)` —
/// tty_ioctl(4): sets the modes of input, output and line discipline at once, without waiting for unsent output. The encoding of a
/// screen stays (IUTF8), the control characters are the kernel's. With a line discipline, stopped output continues and pending input
/// is discarded: a workload may have put it there by TIOCSTI. Returns IUTF8 or 0; `None` when it is not a terminal.
pub(crate) fn set_modes(terminal: &Fd, [input, output, local]: [u32; 3]) -> Option<u32> {
    let mut settings = MaybeUninit::<termios>::uninit();
    // SAFETY: the struct lives over the calls; when the first succeeds the kernel has written the whole of it.
    unsafe {
        if done(sc::syscall!(IOCTL, raw(terminal), TCGETS, settings.as_mut_ptr())).is_err() {
            return None;
        }
        let settings = settings.assume_init_mut();
        let encoding = settings.c_iflag & IUTF8;
        settings.c_iflag = encoding | input;
        (settings.c_oflag, settings.c_lflag) = (output, local);
        settings.c_cflag |= CREAD;
        // include/linux/tty.h, INIT_C_CC
        settings.c_cc = *b"\x03\x1c\x7f\x15\x04\0\x01\0\x11\x13\x1a\0\x12\x0f\x17\x16\0\0\0";
        sc::syscall!(IOCTL, raw(terminal), TCSETS, &raw const *settings);
        if local != 0 {
            sc::syscall!(IOCTL, raw(terminal), TCXONC, TCOON);
            sc::syscall!(IOCTL, raw(terminal), TCFLSH, TCIFLUSH);
        }
        Some(encoding)
    }
}

/// `int ioctl(int fd, TIOCSCTTY, int force)` — tty_ioctl(4): makes a terminal the controlling terminal of the session that this
/// process leads, even if another session has it.
pub(crate) fn control_terminal(terminal: &Fd) {
    // SAFETY: it takes a number.
    unsafe { sc::syscall!(IOCTL, raw(terminal), TIOCSCTTY, 1) };
}

/// Opens a new pty, master and slave: `int ioctl(int master, TIOCSPTLCK, const int *locked)` and `int ioctl(int master,
/// TIOCGPTPEER, int flags)` — pty(7), ioctl_tty(2) (Linux 4.13). Opened by name, the slave could be any file in /dev/pts.
pub(crate) fn open_pty() -> Result<[Fd; 2], Errno> {
    let master = open(c"/dev/ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK)?;
    signal_when_ready(&master);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let locked = 0;
    // SAFETY: the number, an int, lives over the call; the descriptor is new.
    let slave = unsafe {
        sc::syscall!(IOCTL, raw(&master), TIOCSPTLCK, &raw const locked);
        Fd::from_result(sc::syscall!(IOCTL, raw(&master), TIOCGPTPEER, flags.bits()))?
    };
    Ok([master, slave])
}

/// `int pipe2(int descriptors[2], int flags)` — pipe(2): opens a pipe. The first side that is returned is for PID 1, which writes if
/// `is_input`, and reads otherwise: it does not block, and raises SIGIO. The other side is for the workload. `None` after an error.
pub(crate) fn open_pipe(is_input: bool) -> [Option<Fd>; 2] {
    let mut numbers = [0i32; 2];
    // SAFETY: two numbers are writable over the call; when it succeeds the descriptors are new.
    unsafe { sc::syscall!(PIPE2, numbers.as_mut_ptr(), O_CLOEXEC) };
    let [read, write] = numbers.map(|number| NonZeroI32::new(number).map(Fd));
    let sides = if is_input { [write, read] } else { [read, write] };
    if let [Some(own), _] = &sides {
        // SAFETY: fcntl takes numbers here. This call cannot fail, and the next one may for lack of memory.
        unsafe { sc::syscall!(FCNTL, raw(own), F_SETFL, O_NONBLOCK) };
        signal_when_ready(own);
    }
    sides
}

/// Bytes of a seed that are passed to the kernel.
pub(crate) const MAX_SEED: usize = 512;

/// `int ioctl(int fd, RNDADDENTROPY, const struct rand_pool_info *info)` — random(4): credits secret bytes with four bits of entropy
/// each, at most the 256 bits that the kernel needs.
pub(crate) fn add_entropy(seed: &[u8]) {
    /// struct rand_pool_info: bits of entropy, bytes, the bytes.
    #[repr(C)]
    struct Pool {
        bits: u32,
        length: u32,
        bytes: [u8; MAX_SEED],
    }
    let length = seed.len().min(MAX_SEED);
    let mut pool = Pool { bits: (4 * length as u32).min(256), length: length as u32, bytes: [0; MAX_SEED] };
    for (place, byte) in pool.bytes.iter_mut().zip(seed) {
        *place = *byte;
    }
    if let Ok(random) = open(c"/dev/random", OFlags::WRONLY) {
        // SAFETY: the struct lives over the call, and `bytes` has room for `length` bytes.
        unsafe { sc::syscall!(IOCTL, raw(&random), RNDADDENTROPY, &raw const pool) };
    }
}

/// Returns the part of a buffer that the kernel wrote.
///
/// # Safety
/// The kernel has written that many bytes, from the first on.
pub(super) unsafe fn written(buffer: &mut [MaybeUninit<u8>], length: usize) -> &mut [u8] {
    // SAFETY: as above.
    unsafe { core::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), length) }
}
