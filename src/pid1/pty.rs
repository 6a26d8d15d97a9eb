//! The workload's terminal: a pty. Only PID 1 uses the console.
//!
//! The pty has the line discipline, ctrl-c, job control and a size. PID 1 makes the console raw and moves bytes between the two:
//! changes that the workload makes to its terminal (TIOCSTI, TIOCSPGRP, TCOOFF, a raw mode that it leaves) do not reach the console.
//! PID 1 leads the session: a daemon that is slow to call setsid(2) does not get SIGHUP when its parent ends. PID 1 holds both sides
//! open: a daemon keeps its terminal.

use whit::time::NEVER;

use crate::console::{self, SANE};
use crate::sys::fd::{self, Fd, STDERR, WINDOW_SIZE};
use crate::sys::memory;
use crate::sys::stream::{INPUT, OUTPUT};

/// Limit on the rounds of [`Terminal::drain`]: a pty holds 12 KiB (drivers/tty/pty.c and n_tty.c), a slow console takes 128 bytes at
/// a time. A daemon may continue to write.
const MAX_DRAINED: u8 = 100;

/// The terminal of the workload.
#[derive(Default)]
pub(crate) struct Terminal {
    /// The master side, which PID 1 reads and writes, and the slave side, for the workload.
    pty: Option<[Fd; 2]>,
    /// The console's size when it was copied to the terminal. The workload may have set another one since (stty(1), resize(1)).
    size: [u8; WINDOW_SIZE],
    /// The console's keyboard is connected to the workload.
    has_keyboard: bool,
    /// The kernel has no ptys: the workload has the console itself.
    pub(crate) is_console: bool,
}

impl Terminal {
    /// Opens a terminal for the next workload, if the console is one.
    pub(crate) fn open(&mut self) {
        let encoding = console::set_raw(true);
        self.pty = encoding.and_then(|_| fd::open_pty().ok());
        self.has_keyboard = true;
        self.size = [0; _]; // A new pty has no size.
        self.resize();
        let terminal = if let Some([_, slave]) = &self.pty {
            let [input, output, local] = SANE;
            fd::set_modes(slave, [input | encoding.unwrap_or_default(), output, local]);
            slave
        } else {
            console::set_raw(false);
            self.is_console = encoding.is_some();
            &STDERR
        };
        console::lead_session(terminal);
    }

    /// Closes the terminal of a workload whose processes have all ended. PID 1, the leader of its session, gets SIGHUP.
    pub(crate) fn close(&mut self) {
        self.pty = None;
    }

    /// Duplicates the terminal to descriptors 0 to 2. Called in the process that becomes the workload.
    pub(crate) fn enter(&self) {
        if let Some([_, slave]) = &self.pty {
            console::use_terminal(slave);
        }
    }

    /// Gives the keyboard to the shell; the workload's output is still shown on the console.
    pub(crate) fn leave_console(&mut self) {
        self.has_keyboard = false;
        INPUT.clear();
        console::set_raw(false);
    }

    /// Copies the console's size to the terminal if it has changed; the foreground process group gets SIGWINCH.
    fn resize(&mut self) {
        let size = fd::window_size(memory::console());
        if let Some([_, slave]) = &self.pty
            && size != self.size
        {
            self.size = size;
            fd::set_window_size(slave, &size);
        }
    }

    /// Moves the bytes that can be moved now, and copies the console's size: PID 1 gets no signal when it changes, as PID 1 has
    /// another controlling terminal. Returns in how many milliseconds to call this again if there is no signal before.
    pub(crate) fn advance(&mut self) -> u64 {
        self.resize();
        let Some([master, _]) = &self.pty else { return NEVER };
        let console = memory::console();
        let wait_ms = if self.has_keyboard { INPUT.advance(console, master) } else { NEVER };
        OUTPUT.advance(master, console).min(wait_ms)
    }

    /// Moves the workload's remaining output to the console, for as long as the console takes bytes.
    pub(crate) fn drain(&mut self) {
        for _ in 0..MAX_DRAINED {
            if self.advance() == NEVER || !console::wait_for_room() {
                return;
            }
        }
    }
}
