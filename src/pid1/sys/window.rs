//! A window of a file: bytes that were read from an offset on.

use core::mem::MaybeUninit;

use super::fd::{Fd, raw};
use super::result;

/// Bytes of a file, in memory that is not cleared before.
pub(crate) struct Window<const SIZE: usize> {
    length: usize,
    room: [MaybeUninit<u8>; SIZE],
}

impl<const SIZE: usize> Window<SIZE> {
    pub(crate) const fn new() -> Self {
        Self { length: 0, room: [MaybeUninit::uninit(); SIZE] }
    }

    /// `ssize_t pread64(int fd, void *buffer, size_t count, loff_t offset)` — pread(2): reads the bytes from an offset on; none after an
    /// error.
    pub(crate) fn read_at(&mut self, file: &Fd, offset: u64) {
        // SAFETY: the room is writable over the call.
        let read = unsafe { sc::syscall!(PREAD64, raw(file), self.room.as_mut_ptr(), SIZE, offset) };
        self.length = result(read).unwrap_or_default();
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the last call has written that many bytes, which is not more than it was to write.
        unsafe { core::slice::from_raw_parts(self.room.as_ptr().cast(), self.length) }
    }
}
