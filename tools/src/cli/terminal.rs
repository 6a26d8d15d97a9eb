//! The terminal that a tool runs in, handed over to a guest.

use std::io::{self, IsTerminal};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Standard input in raw mode: each key goes to the guest, ctrl-c too. Dropping it puts back what was.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Switches standard input to raw mode; none when it is not a terminal.
    ///
    /// # Errors
    /// Those of tcgetattr(3) and tcsetattr(3).
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

/// The size of the terminal that standard output or input is, as a `struct winsize` (tty_ioctl(4)): rows, columns and two
/// sizes in pixels, 16 bits each.
#[must_use]
pub fn size() -> Option<[u8; 8]> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    let fields = [size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel].map(u16::to_le_bytes);
    fields.concat().try_into().ok()
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
