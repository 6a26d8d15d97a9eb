//! A machine's console as its user wants to see it: what the workload says, and what went wrong.
//!
//! Left out are the lines by which the init tells tools of the boot and the end, and the kernel's last: they are whole
//! lines, but for a workload that leaves its own last line open. Everything else is shown as soon as it comes.

use whit::contract::{EXIT_LINE, TIMELINE_LINE};

/// The exit code's line; [`crate::vm::qemu::exit_line`] reads it.
const EXIT: &[u8] = EXIT_LINE.as_bytes();
/// What begins a line that is left out, and what the line has further on.
const LINES: [(&[u8], &[u8]); 2] = [(TIMELINE, b""), (b"[", b"reboot: ")];
const TIMELINE: &[u8] = TIMELINE_LINE.as_bytes();

/// Takes bytes as they come, and gives those to show.
#[derive(Default)]
pub struct Clean {
    /// What may be the beginning of something to leave out.
    held: Vec<u8>,
    /// Whether something was shown of the line that `held` is in.
    inside_line: bool,
    /// The init's timeline, when it has come.
    timeline: Option<String>,
}

impl Clean {
    /// What is to be shown now that `bytes` came.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for byte in bytes {
            self.held.push(*byte);
            self.settle(&mut shown);
        }
        shown
    }

    /// The line with the timeline, once.
    pub fn take_timeline(&mut self) -> Option<String> {
        self.timeline.take()
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Shows or drops what is held as far as it is clear what it is.
    fn settle(&mut self, shown: &mut Vec<u8>) {
        let Some(last) = self.held.last().copied() else { return };
        let ends = last == b'\n';
        if ends && self.is_left_out() {
            if self.held.starts_with(TIMELINE) {
                self.timeline = Some(String::from_utf8_lossy(&self.held).trim_end().to_owned());
            }
            // The line that the workload left open ends here.
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

    /// Whether `held`, a whole line or the end of one, is to be left out.
    fn is_left_out(&self) -> bool {
        let line = self.held.as_slice().trim_ascii_end();
        let is_exit = line.strip_prefix(EXIT).is_some_and(|status| status.iter().all(u8::is_ascii_digit));
        let has = |text: &[u8]| text.is_empty() || line.windows(text.len()).any(|window| window == text);
        is_exit || !self.inside_line && LINES.iter().any(|(start, further)| line.starts_with(start) && has(further))
    }

    /// Whether what is held may become something to leave out when more comes.
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

    /// What is shown of a text that comes whole, and byte by byte.
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
    fn what_is_for_tools_is_left_out() {
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
    fn what_only_looks_like_it_is_shown() {
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
    fn the_timeline_is_kept_for_who_wants_it() {
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
