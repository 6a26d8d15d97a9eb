//! The output of a machine's serial port: stored as text, with waiting for a condition.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes of a console that are stored; of a longer one, the end. A boot with all debug output has less than 1 MiB.
const TRANSCRIPT_MAX_BYTES: usize = 16 << 20;

/// A console's text, filled by one thread and waited on by others.
#[derive(Default)]
pub(super) struct Console {
    text: Mutex<Text>,
    changed: Condvar,
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// The number of bytes dropped before `bytes`.
    dropped: usize,
    cleaner: Cleaner,
    ended: bool,
}

/// Why waiting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The machine ended.
    Ended,
    /// The timeout expired.
    Late,
}

impl Console {
    /// Adds bytes from the serial port.
    pub(super) fn push(&self, raw: &[u8]) {
        let mut text = self.lock();
        let Text { bytes, dropped, cleaner, .. } = &mut *text;
        bytes.extend(raw.iter().filter_map(|byte| cleaner.clean(*byte)));
        if bytes.len() > TRANSCRIPT_MAX_BYTES {
            let excess = bytes.len() - TRANSCRIPT_MAX_BYTES / 2;
            bytes.drain(..excess);
            *dropped += excess;
        }
        self.changed.notify_all();
    }

    /// Marks the end of the output.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Returns the output so far, without terminal control.
    pub(super) fn transcript(&self) -> String {
        let text = self.lock();
        let cut = if text.dropped > 0 { format!("[{} bytes before this]\n", text.dropped) } else { String::new() };
        cut + &String::from_utf8_lossy(&text.bytes)
    }

    /// Waits until `find` succeeds. `find` gets the output after `position`, again after each change. It returns the number of
    /// bytes to advance, and the result.
    pub(super) fn wait<T>(
        &self,
        position: &mut usize,
        within: Option<Duration>,
        mut find: impl FnMut(&[u8], bool) -> Option<(usize, T)>,
    ) -> Result<T, Lost> {
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let mut text = self.lock();
        loop {
            *position = (*position).max(text.dropped);
            let unread = text.bytes.get(*position - text.dropped..).unwrap_or_default();
            if let Some((step, found)) = find(unread, text.ended) {
                *position += step;
                return Ok(found);
            }
            if text.ended {
                return Err(Lost::Ended);
            }
            text = match deadline {
                None => self.changed.wait(text).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Lost::Late);
                    }
                    self.changed.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Locks the text; it is valid even if a thread has panicked.
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes terminal control (ECMA-48) from a stream of bytes.
#[derive(Debug, Default)]
struct Cleaner {
    state: State,
    /// Whether the last line has text.
    line_is_open: bool,
}

/// The state of the parser of control sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte, as in ESC ( B.
    Intermediate,
    /// In a control sequence, ESC [ … final byte.
    Control,
    /// In a string, as ESC ] … BEL.
    String,
}

impl Cleaner {
    /// Returns the byte, if it is text.
    fn clean(&mut self, byte: u8) -> Option<u8> {
        const ESCAPE: u8 = 0x1b;
        const BELL: u8 = 0x07;
        // A newline ends an incomplete sequence, so that a crash in the middle of one stays readable.
        if byte == b'\n' {
            *self = Self::default();
            return Some(byte);
        }
        if byte == ESCAPE {
            self.state = State::Escape;
            return None;
        }
        let intermediate = (0x20..=0x2f).contains(&byte);
        self.state = match self.state {
            State::Text => {
                let is_text = matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
                self.line_is_open |= is_text;
                return is_text.then_some(byte);
            }
            State::Escape => match byte {
                b'[' => State::Control,
                b']' | b'P' | b'X' | b'^' | b'_' => State::String,
                _ if intermediate => State::Intermediate,
                // A reset clears the screen, so the following text starts a new line.
                b'c' if self.line_is_open => {
                    *self = Self::default();
                    return Some(b'\n');
                }
                _ => State::Text,
            },
            State::Intermediate if intermediate => State::Intermediate,
            State::Control if (0x20..=0x3f).contains(&byte) => State::Control,
            State::String if byte != BELL => State::String,
            State::Intermediate | State::Control | State::String => State::Text,
        };
        None
    }
}

/// Returns the offset of `needle` in `haystack`.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn clean(raw: &[u8]) -> String {
        let console = Console::default();
        console.push(raw);
        console.transcript()
    }

    #[test]
    fn terminal_control_is_removed_and_text_stays() {
        for (raw, expected) in [
            (&b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16)\r\n"[..], "SeaBIOS (version 1.16)\n"),
            (b"Booting from ROM..\x1bc\x1b[?7l\x1b[2J6.1\r\n\x1bc", "Booting from ROM..\n6.1\n"),
            (b"~ # \x1b[6nls\r\n\x1b[1;34mbin\x1b[m", "~ # ls\nbin"),
            (b"\x1b]0;title\x07a\x1b]0;title\x1b\\b\x1b(Bc", "abc"),
            (b"broken \x1b[12\nKernel panic\x1b]0;\nsee", "broken \nKernel panic\nsee"),
            (b"a\x08\x00\x7fb\tc", "ab\tc"),
            ("Grüße \u{2026}".as_bytes(), "Grüße …"),
        ] {
            assert_eq!(clean(raw), expected);
        }
    }

    #[test]
    fn sequences_may_arrive_byte_by_byte() {
        let raw = b"\x1b[1;31mred\x1b[0m\r\n";
        let console = Console::default();
        raw.iter().for_each(|byte| console.push(&[*byte]));
        assert_eq!(console.transcript(), clean(raw));
    }

    #[test]
    fn waiting_ends_with_a_match_the_end_of_the_machine_or_a_timeout() {
        let console = Arc::new(Console::default());
        let mut position = 0;
        let marker = |unread: &[u8], _| find(unread, b"go").map(|at| (at + 2, at));
        let wait =
            |console: &Console, position: &mut usize| console.wait(position, Some(Duration::from_secs(60)), marker);
        let writer = std::thread::spawn({
            let console = Arc::clone(&console);
            move || {
                console.push(b"..g");
                console.push(b"o, go");
                console.end();
            }
        });
        assert_eq!(wait(&console, &mut position), Ok(2));
        assert_eq!(wait(&console, &mut position), Ok(2));
        assert_eq!(wait(&console, &mut position), Err(Lost::Ended));
        writer.join().unwrap();
        let silent = Console::default();
        assert_eq!(silent.wait(&mut 0, Some(Duration::ZERO), marker), Err(Lost::Late));
    }

    #[test]
    fn a_long_console_keeps_its_end() {
        let console = Console::default();
        let mut position = 0;
        for _ in 0..=TRANSCRIPT_MAX_BYTES / 1024 {
            console.push(&[b'x'; 1024]);
        }
        console.push(b"end");
        let transcript = console.transcript();
        assert!(transcript.len() < TRANSCRIPT_MAX_BYTES && transcript.ends_with("xend"));
        assert!(transcript.starts_with('['));
        let found = console.wait(&mut position, None, |unread, _| find(unread, b"end").map(|at| (at, ())));
        assert_eq!(found, Ok(()));
        assert_eq!(position, (TRANSCRIPT_MAX_BYTES / 1024 + 1) * 1024);
    }
}
