//! The terminal that a tool runs in, handed over to a guest.

use std::io::{self, IsTerminal};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

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

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
