//! What a machine's console says of its init and its kernel, when the workload's streams have a port of their own.

use whit::contract::{EXIT, NO_STREAMS, PREFIX, TIMELINE_LINE};

/// The longest line of the init (src/pid1/sys/memory.rs, MAX_LINE) and some more.
const MAX_LINE: usize = 1024;

/// Splits a console into lines, of which the first kilobyte is kept.
#[derive(Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Adds a byte; returns the line that it ends, without its end.
    pub fn push(&mut self, byte: u8) -> Option<String> {
        if byte == b'\n' {
            let line = std::mem::take(&mut self.0);
            return Some(String::from_utf8_lossy(&line).trim_matches('\r').to_owned());
        }
        if self.0.len() < MAX_LINE {
            self.0.push(byte);
        }
        None
    }
}

/// A line of the init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The workload uses the console after all.
    NoStreams,
    /// The times of the stages.
    Timeline,
    /// The exit code of the workload.
    Exit,
    /// A message for the user.
    Other,
}

impl Message {
    /// Classifies a line; `None` if it is not the init's.
    #[must_use]
    pub fn of(line: &str) -> Option<Self> {
        let message = line.strip_prefix(PREFIX)?;
        let is_exit = || message.strip_prefix(EXIT).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        Some(match message {
            NO_STREAMS => Self::NoStreams,
            _ if line.starts_with(TIMELINE_LINE) => Self::Timeline,
            _ if is_exit() => Self::Exit,
            _ => Self::Other,
        })
    }
}

/// Returns the lines of a console that explain a failure: those with the kernel's words for one; without any, the last ones.
#[must_use]
pub fn cause(transcript: &str) -> String {
    const MAX_LINES: usize = 10;
    const WORDS: [&str; 8] =
        ["panic", "BUG: ", "Oops", "Out of memory", "VFS: ", "Initramfs unpacking failed", "sysrq: ", "end trace"];
    let lines: Vec<&str> = transcript.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let mut shown: Vec<&str> =
        lines.iter().copied().filter(|line| WORDS.iter().any(|word| line.contains(word))).take(MAX_LINES).collect();
    if shown.is_empty() {
        shown.extend(&lines[lines.len().saturating_sub(MAX_LINES)..]);
    }
    shown.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns what the kernel's last messages mean, if they are known.
#[must_use]
pub fn explain(transcript: &str, memory_mib: u32) -> Option<String> {
    const NO_MEMORY: [&str; 5] = [
        "Out of memory",
        "deadlocked on memory",
        "Initramfs unpacking failed: write error",
        "page allocation failure",
        "Cannot allocate memory",
    ];
    if transcript.trim().is_empty() {
        // With less memory than it needs for itself and the initramfs, a kernel is reset before its first message.
        return Some(format!(
            "the machine was reset before the kernel's first message: the kernel had no memory for its start, or the processor \
             lacks what it needs; the machine has {memory_mib}M, -m gives it more"
        ));
    }
    let line = transcript.lines().find(|line| NO_MEMORY.iter().any(|text| line.contains(text)))?;
    Some(format!("the kernel had no memory ({}); give the machine more with -m", line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_init_are_classified() {
        for (line, message) in [
            ("whit: exit 3", Some(Message::Exit)),
            ("whit: exit soon", Some(Message::Other)),
            ("whit: /bin/x: not found (ENOENT)", Some(Message::Other)),
            ("whit: timeline init 1", Some(Message::Timeline)),
            ("[    0.1] MP-BIOS bug", None),
        ] {
            assert_eq!(Message::of(line), message, "{line}");
        }
        assert_eq!(Message::of(&format!("{PREFIX}{NO_STREAMS}")), Some(Message::NoStreams));
        let mut lines = Lines::default();
        let text = [b"a\r\n".as_slice(), &[b'x'; 2 * MAX_LINE], b"\n"].concat();
        let found: Vec<_> = text.iter().filter_map(|byte| lines.push(*byte)).collect();
        assert_eq!((found[0].as_str(), found[1].len()), ("a", MAX_LINE));
    }

    #[test]
    fn a_failure_shows_its_cause() {
        let transcript: String = (0..30).map(|number| format!("{number}\r\n\r\n")).collect();
        assert!(cause(&transcript).starts_with("20\n21\n") && cause(&transcript).ends_with("29\n"));
        assert_eq!(
            cause(&format!("[1.0] Kernel panic - not syncing\r\n{transcript}")),
            "[1.0] Kernel panic - not syncing\n"
        );
        assert_eq!(cause(""), "");
        assert_eq!(explain("fine\n", 64), None);
        assert!(explain("a\n[1.0] Out of memory: Killed\n", 64).unwrap().contains("Killed"));
        assert!(explain(" \n", 64).unwrap().contains("64M"));
    }
}
