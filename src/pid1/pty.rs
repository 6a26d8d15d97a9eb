//! The workload's terminal: a pty of its own. The console is PID 1's alone.
//!
//! Line discipline, ctrl-c, job control and size are the pty's. PID 1 makes the console raw and moves bytes between the two: what the
//! workload does to its terminal (TIOCSTI, TIOCSPGRP, TCOOFF, a raw mode that it leaves) ends there. PID 1 leads the session, so
//! that a daemon that is slow to call setsid does not get SIGHUP when its parent ends; and holds both sides, so that a daemon
//! keeps its terminal.

use whit::time::NEVER;

use crate::console;
use crate::sys::fd::{self, Fd, STDERR};
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
    /// What is typed on the console goes to the workload.
    has_keyboard: bool,
    /// The kernel has no ptys: the workload has the console itself.
    pub(crate) is_console: bool,
}

impl Terminal {
    /// Opens a terminal for the next workload, if the console is one.
    pub(crate) fn open(&mut self) {
        let is_terminal = console::set_raw(true);
        self.pty = is_terminal.then(fd::open_pty).and_then(Result::ok);
        self.has_keyboard = true;
        self.resize();
        let terminal = if let Some([_, slave]) = &self.pty {
            slave
        } else {
            console::set_raw(false);
            self.is_console = is_terminal;
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

    /// Gives the terminal the size of the console; the workload hears of a change by SIGWINCH.
    pub(crate) fn resize(&self) {
        if let Some([_, slave]) = &self.pty {
            fd::copy_window_size(memory::console(), slave);
        }
    }

    /// Moves what can be moved now. Returns in how many milliseconds there may be more, without a signal.
    pub(crate) fn advance(&mut self) -> u64 {
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
