//! Filters a machine's console for its user: shows the output of the workload, and errors.
//!
//! The init's lines for tools (timeline, exit code) and the kernel's last line are left out. These are whole lines, except
//! after a workload whose last line has no newline. Everything else is shown at once.

use whit::contract::{EXIT_LINE, TIMELINE_LINE};

/// The line with the exit code; [`crate::vm::qemu::exit_line`] parses it.
const EXIT: &[u8] = EXIT_LINE.as_bytes();
/// Lines that are left out: their start, and a text after it.
const LINES: [(&[u8], &[u8]); 2] = [(TIMELINE, b""), (b"[", b"reboot: ")];
const TIMELINE: &[u8] = TIMELINE_LINE.as_bytes();

/// Filters the bytes of a console.
#[derive(Default)]
pub struct Clean {
    /// Bytes that may be the start of a line to leave out.
    held: Vec<u8>,
    /// Whether a part of the line before `held` was shown.
    inside_line: bool,
    /// The init's timeline, once received.
    timeline: Option<String>,
}

impl Clean {
    /// Adds `bytes` and returns the bytes to show.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for byte in bytes {
            self.held.push(*byte);
            self.settle(&mut shown);
        }
        shown
    }

    /// Returns the line with the timeline, once.
    pub fn take_timeline(&mut self) -> Option<String> {
        self.timeline.take()
    }

    /// Returns the remaining bytes at the end.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Shows or drops held bytes, as far as this is decided.
    fn settle(&mut self, shown: &mut Vec<u8>) {
        let Some(last) = self.held.last().copied() else { return };
        let ends = last == b'\n';
        if ends && self.is_left_out() {
            if self.held.starts_with(TIMELINE) {
                self.timeline = Some(String::from_utf8_lossy(&self.held).trim_end().to_owned());
            }
            // Ends the workload's last line, which has no newline.
            if self.inside_line {
                shown.push(b'\n');
            }
            self.held.clear();
            self.inside_line = false;
            return;
        }
        while !self.held.is_empty() && !self.may_be_left_out() {
            let byte = self.held.remove(0);
            self.inside_line = byte != b'\n';
            shown.push(byte);
        }
    }

    /// Returns whether to leave out `held`, a whole line or the end of one.
    fn is_left_out(&self) -> bool {
        let line = self.held.as_slice().trim_ascii_end();
        let is_exit = line.strip_prefix(EXIT).is_some_and(|status| status.iter().all(u8::is_ascii_digit));
        let has = |text: &[u8]| text.is_empty() || line.windows(text.len()).any(|window| window == text);
        is_exit || !self.inside_line && LINES.iter().any(|(start, further)| line.starts_with(start) && has(further))
    }

    /// Returns whether the held bytes may become a line to leave out.
    fn may_be_left_out(&self) -> bool {
        let is_open = !self.held.contains(&b'\n');
        let begins = |pattern: &[u8]| {
            let length = pattern.len().min(self.held.len());
            self.held[..length] == pattern[..length]
        };
        is_open && (begins(EXIT) || !self.inside_line && LINES.iter().any(|(start, _)| begins(start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters a text whole and byte by byte, and returns the result.
    fn shown(text: &str) -> String {
        let mut clean = Clean::default();
        let mut whole = clean.push(text.as_bytes());
        whole.extend(clean.finish());
        let mut clean = Clean::default();
        let mut single: Vec<u8> = text.bytes().flat_map(|byte| clean.push(&[byte])).collect();
        single.extend(clean.finish());
        assert_eq!(whole, single, "{text}");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn lines_for_tools_are_left_out() {
        for (text, expected) in [
            ("hello\r\nwhit: exit 0\r\n[    1.234567] reboot: Power down\r\n", "hello\r\n"),
            ("whit: timeline init 1, root 2\r\nhello\r\n", "hello\r\n"),
            ("no newlinewhit: exit 7\r\n", "no newline\n"),
            ("whit: exit 7\r\n# whit: exit 0\r\n", "# \n"),
            ("whit: root=/dev/vdb: no such device\r\nwhit: exit 125\r\n", "whit: root=/dev/vdb: no such device\r\n"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn similar_lines_are_shown() {
        for text in [
            "whit: exit soon\n",
            "whit: exi",
            "whit: exit 12",
            "[    1.2] EXT4-fs error\n",
            "[1, 2, 3]\n[",
            "see whit: timeline 3\n",
            "wwhit\nwhit\n\n",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn the_timeline_is_returned_once() {
        let mut clean = Clean::default();
        clean.push(b"whit: timeline init 1\r\nhello\n");
        assert_eq!(clean.take_timeline().as_deref(), Some("whit: timeline init 1"));
        assert_eq!(clean.take_timeline(), None);
    }

    #[test]
    fn a_prompt_is_shown_at_once() {
        let mut clean = Clean::default();
        assert_eq!(clean.push(b"/ # "), b"/ # ");
        assert_eq!(clean.push(b"w"), b"");
        assert_eq!(clean.push(b"hoami\n"), b"whoami\n");
    }
}
