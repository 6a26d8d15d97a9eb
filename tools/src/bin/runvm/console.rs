//! What is shown of a machine's console: everything, or only the messages of the init when the workload's streams have their own port.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use whit::contract::{EXIT, NO_STREAMS, PREFIX, TIMELINE_LINE};
use whit_tools::vm::{Clean, Timeline};

/// The longest line of the init (src/pid1/sys/memory.rs, MAX_LINE) and some more.
const MAX_LINE: usize = 1024;

/// The console of a machine.
pub(crate) struct Console {
    /// Gets all bytes.
    pub(crate) file: Option<File>,
    /// Whether the boot's stages are shown.
    pub(crate) timeline: bool,
    /// Told when the console is shown from now on.
    pub(crate) shown: Option<Sender<()>>,
    clean: Clean,
    is_shown: bool,
    line: Vec<u8>,
}

impl Console {
    /// Creates a console that is not shown.
    pub(crate) fn new(file: Option<File>, timeline: bool, shown: Sender<()>) -> Self {
        Self { file, timeline, shown: Some(shown), clean: Clean::default(), is_shown: false, line: Vec::new() }
    }

    /// Shows all further output, and connects the keyboard.
    pub(crate) fn show(&mut self) {
        self.is_shown = true;
        self.shown.take().iter().for_each(|shown| shown.send(()).unwrap_or_default());
    }

    /// Handles output.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // A file that cannot be written does not stop the machine.
        self.file.iter_mut().for_each(|file| drop(file.write_all(bytes)));
        for (place, byte) in bytes.iter().enumerate() {
            if self.is_shown {
                return self.pass(&bytes[place..]);
            }
            if *byte == b'\n' {
                self.end_line();
            } else if self.line.len() < MAX_LINE {
                self.line.push(*byte);
            }
        }
    }

    /// Shows what was held back. Returns whether the console was shown.
    pub(crate) fn finish(&mut self) -> bool {
        let rest = self.clean.finish();
        write(&rest);
        self.is_shown
    }

    /// Shows the bytes, without the lines for tools.
    fn pass(&mut self, bytes: &[u8]) {
        let shown = self.clean.push(bytes);
        write(&shown);
        if let Some(line) = self.clean.take_timeline() {
            self.print_timeline(&line);
        }
    }

    /// Handles a line of a console that is not shown: prints the messages of the init.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_matches('\r');
        let Some(message) = line.strip_prefix(PREFIX) else { return };
        let is_exit = || message.strip_prefix(EXIT).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        if message == NO_STREAMS {
            self.show();
        } else if line.starts_with(TIMELINE_LINE) {
            self.print_timeline(line);
        } else if !is_exit() {
            print_line(line);
        }
    }

    fn print_timeline(&self, line: &str) {
        if self.timeline {
            Timeline::parse(line).iter().flat_map(Timeline::lines).for_each(|line| print_line(&line));
        }
    }
}

/// Whether this program's terminal is raw: its lines end in `\r\n`.
pub(crate) static IS_RAW: AtomicBool = AtomicBool::new(false);

/// Prints a line to standard error.
pub(crate) fn print_line(line: &str) {
    let end = if IS_RAW.load(Ordering::Relaxed) { "\r\n" } else { "\n" };
    let _ = write!(io::stderr(), "{line}{end}");
}

/// Writes to standard output. If it is closed, the machine continues without it.
fn write(bytes: &[u8]) {
    let mut stdout = io::stdout();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Returns the lines of a console that explain a failure: those with the kernel's words for one; without any, the last ones.
pub(crate) fn cause(transcript: &str) -> String {
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
pub(crate) fn explain(transcript: &str, memory_mib: u32) -> Option<String> {
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
    use std::sync::mpsc::channel;

    #[test]
    fn the_console_is_shown_once_the_init_says_so() {
        let (sender, receiver) = channel();
        let mut console = Console::new(None, false, sender);
        console.push(b"[    0.1] MP-BIOS bug\r\nwhit: exit 3\r\n");
        assert!(!console.is_shown && receiver.try_recv().is_err());
        console.push(format!("{PREFIX}{NO_STREAMS}\r\nlogin: ").as_bytes());
        assert!(console.is_shown && receiver.try_recv().is_ok());
        // Later lines go through the filter.
        console.push(b"x\n");
        assert!(console.line.is_empty());
    }

    #[test]
    fn a_console_file_has_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        let mut console = Console::new(Some(File::create(&path).unwrap()), false, channel().0);
        console.push(b"a\r\n\0");
        console.push(&[b'x'; 2 * MAX_LINE]);
        assert_eq!(console.line.len(), MAX_LINE);
        assert_eq!(std::fs::read(&path).unwrap(), [&b"a\r\n\0"[..], &[b'x'; 2 * MAX_LINE]].concat());
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
