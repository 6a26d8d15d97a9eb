//! The workload's terminal: a pty of its own. The console is PID 1's alone.
//!
//! Line discipline, ctrl-c, job control and size are the pty's. PID 1 makes the console raw and moves bytes between the two: what the
//! workload does to its terminal (TIOCSTI, TIOCSPGRP, TCOOFF, a raw mode that it leaves) ends there. PID 1 leads the session, so
//! that a daemon that is slow to call setsid does not get SIGHUP when its parent ends; and holds both sides, so that a daemon
//! keeps its terminal.

use whit::time::NEVER;

use crate::console::{self, SANE};
use crate::sys::fd::{self, Fd, STDERR, WINDOW_SIZE};
use crate::sys::memory;
use crate::sys::stream::Stream;

/// How often the streams are moved at a workload's end: a pty holds 12 KiB (drivers/tty/pty.c and n_tty.c), a slow console takes 128
/// bytes at a time. A daemon may write on.
const MAX_DRAINED: u8 = 100;

/// From the workload to the console, and from its keyboard to the workload.
static OUTPUT: Stream = Stream::new();
static KEYS: Stream = Stream::new();

/// The terminal of the workload.
#[derive(Default)]
pub(crate) struct Terminal {
    /// The side that PID 1 reads and writes, and the workload's.
    pty: Option<[Fd; 2]>,
    /// The console's size when the terminal got it. In between the workload may have set another one (stty(1), resize(1)).
    size: [u8; WINDOW_SIZE],
    /// What is typed on the console goes to the workload.
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
        self.size = [0; _]; // A new one has none.
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

    /// Makes the terminal descriptors 0 to 2: in the process that becomes the workload.
    pub(crate) fn enter(&self) {
        if let Some([_, slave]) = &self.pty {
            console::use_terminal(slave);
        }
    }

    /// Leaves the console to the shell; what the workload writes is still shown.
    pub(crate) fn leave_console(&mut self) {
        self.has_keyboard = false;
        KEYS.clear();
        console::set_raw(false);
    }

    /// Gives the terminal the size of the console if that has changed; the workload's foreground gets SIGWINCH.
    fn resize(&mut self) {
        let size = fd::window_size(memory::console());
        if let Some([_, slave]) = &self.pty
            && size != self.size
        {
            self.size = size;
            fd::set_window_size(slave, &size);
        }
    }

    /// Moves what can be moved now, and follows the console's size: no signal tells PID 1 of its change, as PID 1 has another
    /// controlling terminal. Returns in how many milliseconds there may be more, without a signal.
    pub(crate) fn advance(&mut self) -> u64 {
        self.resize();
        let Some([master, _]) = &self.pty else { return NEVER };
        let console = memory::console();
        let wait_ms = if self.has_keyboard { KEYS.advance(console, master) } else { NEVER };
        OUTPUT.advance(master, console).min(wait_ms)
    }

    /// Lets the console show what the workload has written, for as long as it takes something.
    pub(crate) fn drain(&mut self) {
        for _ in 0..MAX_DRAINED {
            if self.advance() == NEVER || !console::wait_for_room() {
                return;
            }
        }
    }
}
