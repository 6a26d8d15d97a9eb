//! The terminal of a tool: raw mode and size, for a guest's console.

use std::io::{self, IsTerminal};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Standard input in raw mode: every key, ctrl-c too, goes to the guest. Dropping it restores the mode.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Switches standard input to raw mode; `None` if it is not a terminal.
    ///
    /// # Errors
    /// Errors of tcgetattr(3) and tcsetattr(3).
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Some(Self { before }))
    }
}

/// Returns the size of the terminal on standard output or input, as a `struct winsize` (tty_ioctl(4)): rows, columns and two
/// sizes in pixels, 16 bits each.
#[must_use]
pub fn size() -> Option<[u8; 8]> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    let fields = [size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel].map(u16::to_le_bytes);
    fields.concat().try_into().ok()
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If the terminal is gone, there is no mode to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
