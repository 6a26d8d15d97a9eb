//! A writing thread, so that the archive is read at the same time: both spend most of their time in the kernel's copies.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Bytes of a buffer. Measured with 128 KiB to 1 MiB: smaller ones cost more calls, larger ones exceed the cache.
pub(super) const BUFFER: usize = 512 << 10;
/// The number of buffers: one being filled, one being written, one spare.
const BUFFERS: usize = 3;

/// Writes buffers in sequence.
pub(super) struct Writer {
    full: Option<Sender<Filled>>,
    written: Receiver<io::Result<Box<[u8]>>>,
    /// Buffers in circulation, without the one being filled.
    buffers: usize,
    /// The number of these that the thread has.
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

/// A filled buffer, with its length and its offset in the file.
pub(super) struct Filled {
    pub(super) buffer: Box<[u8]>,
    pub(super) length: usize,
    pub(super) offset: u64,
}

impl Writer {
    /// Starts a thread for this file.
    pub(super) fn start(file: File) -> Self {
        let (full, filled) = channel::<Filled>();
        let (sender, written) = channel();
        let thread = std::thread::spawn(move || {
            for Filled { buffer, length, offset } in filled {
                let result = file.write_all_at(&buffer[..length], offset).map(|()| buffer);
                if sender.send(result).is_err() {
                    break;
                }
            }
        });
        Self { full: Some(full), written, buffers: 0, under_way: 0, thread: Some(thread) }
    }

    /// Passes a buffer to the thread. Returns one to fill.
    ///
    /// # Errors
    /// Errors of an earlier write.
    pub(super) fn write(&mut self, filled: Filled) -> io::Result<Box<[u8]>> {
        self.full.as_ref().and_then(|full| full.send(filled).ok()).ok_or_else(gone)?;
        self.under_way += 1;
        if self.buffers < BUFFERS - 1 {
            self.buffers += 1;
            return Ok(new_buffer());
        }
        self.take()
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// Errors of writing.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        while self.under_way > 0 {
            self.take()?;
            self.buffers -= 1;
        }
        Ok(())
    }

    /// Waits for a buffer that was written.
    fn take(&mut self) -> io::Result<Box<[u8]>> {
        let buffer = self.written.recv().map_err(|_| gone())?;
        self.under_way -= 1;
        buffer
    }
}

impl Drop for Writer {
    /// Ends the thread: after an error, the caller may use the file for another purpose.
    fn drop(&mut self) {
        drop(self.full.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // errors came through the channel
        }
    }
}

/// Allocates a buffer; its pages are allocated when they are filled.
pub(super) fn new_buffer() -> Box<[u8]> {
    vec![0; BUFFER].into_boxed_slice()
}

/// Returns the error for a thread that has ended early, which happens only if it panicked.
fn gone() -> io::Error {
    io::Error::other("the writing thread is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_returned_and_buffers_are_written_in_order() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let read_only = File::open(file.path()).unwrap();
        let filled = |byte, offset| Filled { buffer: vec![byte; 10].into_boxed_slice(), length: 5, offset };
        let mut writer = Writer::start(read_only);
        let result = writer.write(filled(1, 0)).map(drop).and_then(|()| writer.wait());
        assert_eq!(result.unwrap_err().raw_os_error(), Some(9)); // EBADF
        let mut writer = Writer::start(file.as_file().try_clone().unwrap());
        for number in 0..10 {
            drop(writer.write(filled(number, u64::from(number) * 5)).unwrap());
        }
        writer.wait().unwrap();
        drop(writer);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        assert_eq!(bytes, (0..10).flat_map(|number| [number; 5]).collect::<Vec<u8>>());
    }
}
