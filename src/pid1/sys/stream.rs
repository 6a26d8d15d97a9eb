//! A stream of bytes from one descriptor to another, through a small buffer.
//!
//! Both are non-blocking, and raise SIGIO when they are ready ([`signal_when_ready`](super::fd::signal_when_ready)). The source is
//! read when the buffer is empty: a sink that takes nothing stops the source, and never PID 1. A descriptor that is hung up raises no
//! further signals; poll(2) would return at once each time.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use whit::error::Errno;
use whit::time::NEVER;

use super::fd::{Fd, raw};
use super::result;

/// Bytes of a buffer.
const BUFFER: usize = 1024;
/// Buffers that are moved before signals, devices and children have their turn: a flood must not starve them.
const MAX_MOVED: u8 = 16;
/// The longest time until a sink is tried again: its signal is lost when it becomes ready before the kernel notes that a signal is
/// wanted (drivers/tty/n_tty.c, n_tty_write(), TTY_DO_WRITE_WAKEUP).
const RETRY_MS: u64 = 1000;

/// A stream, in static memory.
pub(crate) struct Stream(UnsafeCell<Pending>);

/// The bytes that were read, and not written yet.
#[repr(C)] // Code that reaches small fields is shorter when they come first.
struct Pending {
    start: usize,
    length: usize,
    buffer: [MaybeUninit<u8>; BUFFER],
}

// SAFETY: the init has one thread, and no function below calls one of them.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Pending { start: 0, length: 0, buffer: [MaybeUninit::uninit(); _] }))
    }

    /// `ssize_t read(int fd, void *buffer, size_t count)` and `ssize_t write(int fd, const void *buffer, size_t count)` — read(2),
    /// write(2): moves the bytes that can be moved now; discards them after an error of the sink other than EAGAIN. Returns in how many
    /// milliseconds to call this again if there is no signal before: [`NEVER`] when the source has no bytes.
    #[inline(never)]
    pub(crate) fn advance(&self, source: &Fd, sink: &Fd) -> u64 {
        // SAFETY: see above.
        let pending = unsafe { &mut *self.0.get() };
        let buffer = pending.buffer.as_mut_ptr();
        for _ in 0..MAX_MOVED {
            if pending.length == 0 {
                // SAFETY: the buffer is writable over the call.
                let read = result(unsafe { sc::syscall!(READ, raw(source), buffer, BUFFER) });
                (pending.start, pending.length) = (0, read.unwrap_or_default());
                if pending.length == 0 {
                    return NEVER;
                }
            }
            // SAFETY: from `start` on, `length` bytes of the buffer were read and not written yet.
            match result(unsafe { sc::syscall!(WRITE, raw(sink), buffer.wrapping_add(pending.start), pending.length) })
            {
                Ok(length) => {
                    pending.start += length;
                    pending.length -= length;
                }
                Err(Errno::AGAIN) => return RETRY_MS,
                Err(_) => pending.length = 0,
            }
        }
        0
    }

    /// Discards the bytes that were read and not written yet.
    pub(crate) fn clear(&self) {
        // SAFETY: see above.
        unsafe { &mut *self.0.get() }.length = 0;
    }
}
