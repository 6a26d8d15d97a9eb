//! A stream of bytes from one descriptor to another, through a small buffer.
//!
//! Both are non-blocking, and raise SIGIO when they are ready ([`signal_when_ready`](super::fd::signal_when_ready)). The source is
//! read when the buffer is empty: a sink that takes nothing stops the source, and never PID 1. A descriptor that is hung up raises no
//! further signals; poll(2) would return at once each time.

use core::cell::UnsafeCell;

use whit::error::Errno;
use whit::frame::{self, HEADER_BYTES, Kind, MAX_DATA};
use whit::time::NEVER;

use super::fd::{Fd, raw};
use super::result;

/// Bytes of a buffer: a frame.
const BUFFER: usize = HEADER_BYTES + MAX_DATA;
/// Buffers that are moved before signals, devices and children have their turn: a flood must not starve them.
pub(crate) const MAX_MOVED: u8 = 16;
/// The longest time until a sink is tried again: its signal is lost when it becomes ready before the kernel notes that a signal is
/// wanted (drivers/tty/n_tty.c, n_tty_write(), TTY_DO_WRITE_WAKEUP).
pub(crate) const RETRY_MS: u64 = 1000;

/// A stream, in static memory.
pub(crate) struct Stream(UnsafeCell<Pending>);

/// From the workload to the console, or to the host's port.
pub(crate) static OUTPUT: Stream = Stream::new();
/// From the console's keyboard, or the host's port, to the workload or a program beside it.
pub(crate) static INPUT: Stream = Stream::new();

/// The bytes that were read, and not written yet.
#[repr(C)] // Code that reaches small fields is shorter when they come first.
struct Pending {
    start: usize,
    length: usize,
    buffer: [u8; BUFFER],
}

// SAFETY: the init has one thread, and no function below calls another of the same stream while it uses the bytes.
unsafe impl Sync for Stream {}

impl Stream {
    const fn new() -> Self {
        Self(UnsafeCell::new(Pending { start: 0, length: 0, buffer: [0; _] }))
    }

    #[allow(clippy::mut_from_ref, reason = "see above")]
    fn pending(&self) -> &mut Pending {
        // SAFETY: see above.
        unsafe { &mut *self.0.get() }
    }

    /// Returns whether all bytes were written.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending().length == 0
    }

    /// `ssize_t read(int fd, void *buffer, size_t count)` — read(2): appends at most `limit` bytes of the source. Returns how many; 0
    /// also at its end, after an error, and when the buffer is full.
    #[inline(never)]
    pub(crate) fn fill(&self, source: &Fd, limit: usize) -> usize {
        let pending = self.pending();
        if pending.length == 0 {
            pending.start = HEADER_BYTES;
        }
        let room = pending.buffer.get_mut(pending.start + pending.length..).unwrap_or_default();
        let limit = limit.min(room.len());
        // SAFETY: that many bytes are writable over the call.
        let read = result(unsafe { sc::syscall!(READ, raw(source), room.as_mut_ptr(), limit) }).unwrap_or_default();
        pending.length += read;
        read
    }

    /// Puts a header before the bytes of one [`Stream::fill`], or before none.
    pub(crate) fn frame(&self, kind: Kind, session: usize, number: u32) {
        let pending = self.pending();
        for (place, byte) in pending.buffer.iter_mut().zip(frame::header(kind, session as u8, number)) {
            *place = byte;
        }
        pending.start = 0;
        pending.length += HEADER_BYTES;
    }

    /// `ssize_t write(int fd, const void *buffer, size_t count)` — write(2): writes the bytes; discards them after an error of the sink
    /// other than EAGAIN. Returns `false` when the sink takes no more bytes now. A virtio port may also take none without an error.
    #[inline(never)]
    pub(crate) fn flush(&self, sink: &Fd) -> bool {
        let pending = self.pending();
        while pending.length > 0 {
            let rest = pending.buffer.as_ptr().wrapping_add(pending.start);
            // SAFETY: from `start` on, `length` bytes of the buffer were read and not written yet.
            match result(unsafe { sc::syscall!(WRITE, raw(sink), rest, pending.length) }) {
                Ok(0) | Err(Errno::AGAIN) => return false,
                Ok(length) => {
                    pending.start += length;
                    pending.length -= length;
                }
                Err(_) => pending.length = 0,
            }
        }
        true
    }

    /// Moves the bytes that can be moved now. Returns in how many milliseconds to call this again if there is no signal before:
    /// [`NEVER`] when the source has no bytes.
    #[inline(never)]
    pub(crate) fn advance(&self, source: &Fd, sink: &Fd) -> u64 {
        for _ in 0..MAX_MOVED {
            if !self.flush(sink) {
                return RETRY_MS;
            }
            if self.fill(source, MAX_DATA) == 0 {
                return NEVER;
            }
        }
        0
    }

    /// Returns the bytes that were read, and not written yet.
    pub(crate) fn text(&self) -> &[u8] {
        let Pending { start, length, buffer } = self.pending();
        buffer.get(*start..).and_then(|rest| rest.get(..*length)).unwrap_or_default()
    }

    /// Discards the bytes that were read and not written yet.
    pub(crate) fn clear(&self) {
        self.pending().length = 0;
    }
}
