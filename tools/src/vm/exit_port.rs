//! The port on which the init reports the workload's exit codes: a pipe that QEMU writes to. It is always drained, and only the
//! last line is kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::{self, JoinHandle};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};

/// The longest line that can be an exit code.
const MAX_LINE: usize = 8;

/// The host's end of the port.
pub struct ExitPort {
    /// Keeps the pipe open.
    writer: File,
    reader: JoinHandle<Option<u8>>,
}

impl ExitPort {
    /// Creates the pipe, and starts a thread that reads it and calls `report` for each line.
    ///
    /// # Errors
    /// Errors of mkfifo(3) and open(2).
    pub fn listen(path: &Path, report: impl Fn() + Send + 'static) -> io::Result<Self> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Non-blocking, because the writer opens the pipe later.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
        let writer = OpenOptions::new().write(true).open(path)?;
        fcntl_setfl(&reader, OFlags::empty())?;
        Ok(Self { writer, reader: thread::spawn(move || last_code(reader, report)) })
    }

    /// Returns the last exit code, after QEMU has ended; `None` if the machine has no driver for the port, or did not boot so far.
    #[must_use]
    pub fn finish(self) -> Option<u8> {
        drop(self.writer);
        self.reader.join().ok().flatten()
    }
}

/// Returns the last line, if it is an exit code.
fn last_code(mut input: impl Read, report: impl Fn()) -> Option<u8> {
    let (mut line, mut code) = (Vec::new(), None);
    let mut buffer = [0; 4096];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(count @ 1..) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => break,
        };
        for byte in &buffer[..count] {
            if *byte == b'\n' {
                code = parse(&line);
                line.clear();
                report();
            } else if line.len() <= MAX_LINE {
                line.push(*byte);
            }
        }
    }
    if line.is_empty() { code } else { parse(&line) }
}

fn parse(line: &[u8]) -> Option<u8> {
    str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_line_is_used_after_any_amount_of_output() {
        let flood = [&[b'7'; 100_000][..], b"\n1\n"].concat();
        for (text, code) in [
            (&b"3\n7\n"[..], Some(7)),
            (b"255", Some(255)),
            (b"256\n", None),
            (b"1\n\n", None),
            (b"1\nx\n", None),
            (b"", None),
            (&flood, Some(1)),
            (&flood[..100_000], None),
        ] {
            assert_eq!(last_code(text, || ()), code, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_pipe_is_drained_until_its_writers_have_closed_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit");
        let port = ExitPort::listen(&path, || ()).unwrap();
        let mut qemu = OpenOptions::new().write(true).open(&path).unwrap();
        // More than the capacity of a pipe: QEMU must not block.
        for _ in 0..100 {
            qemu.write_all(&[b'\n'; 4096]).unwrap();
        }
        qemu.write_all(b"9\n").unwrap();
        drop(qemu);
        assert_eq!(port.finish(), Some(9));
    }
}
