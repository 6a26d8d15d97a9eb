//! What is shown of a machine's console: everything, or only the messages of the init when the workload's streams have their own port.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use whit_tools::vm::{Clean, Lines, Message, Timeline};

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
    lines: Lines,
}

impl Console {
    /// Creates a console that is not shown.
    pub(crate) fn new(file: Option<File>, timeline: bool, shown: Sender<()>) -> Self {
        Self { file, timeline, shown: Some(shown), clean: Clean::default(), is_shown: false, lines: Lines::default() }
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
            if let Some(line) = self.lines.push(*byte) {
                self.end_line(&line);
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
    fn end_line(&mut self, line: &str) {
        match Message::of(line) {
            Some(Message::NoStreams) => self.show(),
            Some(Message::Timeline) => self.print_timeline(line),
            Some(Message::Other) => print_line(line),
            Some(Message::Exit) | None => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use whit::contract::{NO_STREAMS, PREFIX};

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
    }

    #[test]
    fn a_console_file_has_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        let mut console = Console::new(Some(File::create(&path).unwrap()), false, channel().0);
        console.push(b"a\r\n\0");
        console.push(&[b'x'; 5000]);
        assert_eq!(std::fs::read(&path).unwrap(), [&b"a\r\n\0"[..], &[b'x'; 5000]].concat());
    }
}
