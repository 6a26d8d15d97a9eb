//! Read-ahead: one thread decompresses while another writes the image.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

/// The size of a buffer: it fits the second-level cache, and is large enough that the cost of waking a thread is negligible.
const BUFFER: usize = 256 << 10;
/// The number of buffers: one being filled, one being read, and two spare.
const BUFFERS: usize = 4;

/// Reads from a reader that runs in another thread.
pub(crate) struct Ahead {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

/// Starts a thread that reads `reader`. The thread stops at the end of the input, or when the result is dropped.
pub(crate) fn ahead<'scope>(scope: &'scope Scope<'scope, '_>, mut reader: impl Read + Send + 'scope) -> Ahead {
    let (full_sender, full) = channel();
    let (empty, empty_receiver) = channel::<Vec<u8>>();
    for _ in 0..BUFFERS {
        // It cannot fail: the receiver exists.
        let _ = empty.send(Vec::new());
    }
    scope.spawn(move || {
        while let Ok(mut buffer) = empty_receiver.recv() {
            buffer.clear();
            buffer.reserve_exact(BUFFER);
            let result = reader.by_ref().take(BUFFER as u64).read_to_end(&mut buffer);
            let is_last = !matches!(result, Ok(1..));
            // A failed send means that the result was dropped.
            if full_sender.send(result.map(|_| buffer)).is_err() || is_last {
                break;
            }
        }
    });
    Ahead { full, empty, current: Vec::new(), position: 0 }
}

impl Read for Ahead {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            // The thread stops after it has sent the end or an error.
            let Ok(next) = self.full.recv() else { return Ok(0) };
            let used = std::mem::replace(&mut self.current, next?);
            self.position = 0;
            let _ = self.empty.send(used);
        }
        let rest = &self.current[self.position..];
        let count = rest.len().min(target.len());
        target[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_ahead_returns_all_bytes_of_the_input() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
        for length in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, bytes.len()] {
            let read = std::thread::scope(|scope| {
                let mut output = Vec::new();
                ahead(scope, &bytes[..length]).read_to_end(&mut output).unwrap();
                output
            });
            assert!(read == bytes[..length], "{length} bytes");
        }
    }

    #[test]
    fn an_error_follows_the_bytes_before_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        std::thread::scope(|scope| {
            let mut reader = ahead(scope, (&[7; BUFFER][..]).chain(Broken));
            let mut output = vec![0; BUFFER];
            reader.read_exact(&mut output).unwrap();
            assert_eq!(output, [7; BUFFER]);
            assert_eq!(reader.read(&mut output).unwrap_err().to_string(), "broken");
        });
    }

    #[test]
    fn dropping_the_reader_stops_the_thread() {
        std::thread::scope(|scope| {
            let mut reader = ahead(scope, io::repeat(1));
            reader.read_exact(&mut [0; 10]).unwrap();
        });
    }
}
