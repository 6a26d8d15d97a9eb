//! Ctrl-c: kills the machine with the demo, or, with --keep, starts its orderly end.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use whit_tools::cli::temporary;
use whit_tools::cli::terminal::Raw;

/// The byte of ctrl-c in raw mode.
const CTRL_C: u8 = 0x03;

/// The state of the signals that end a program.
pub(crate) struct Interrupt {
    /// Whether [`Interrupt::wait`] waits for one.
    awaited: Arc<AtomicBool>,
    /// Whether one came at another time.
    came: Arc<AtomicBool>,
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Interrupt {
    /// Handles the signals: one that is not awaited calls `end`.
    pub(crate) fn watch(end: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        // The machine's temporary files go with it.
        temporary::leave_signals();
        let (sender, receiver) = channel();
        let interrupt = Self { awaited: Arc::default(), came: Arc::default(), sender, receiver };
        let (awaited, came, sender) = (interrupt.awaited.clone(), interrupt.came.clone(), interrupt.sender.clone());
        thread::spawn(move || {
            for _ in signals.forever() {
                if awaited.swap(false, Ordering::SeqCst) {
                    sender.send(()).ok();
                } else {
                    came.store(true, Ordering::SeqCst);
                    end();
                }
            }
        });
        Ok(interrupt)
    }

    /// Returns whether a signal ended the machine.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }

    /// Waits until ctrl-c is pressed, or a signal comes.
    ///
    /// A terminal's signal would reach QEMU too, and end it like a power failure: meanwhile the terminal is in raw mode, and the key
    /// is read.
    pub(crate) fn wait(&self) -> io::Result<()> {
        self.awaited.store(true, Ordering::SeqCst);
        let terminal = Raw::enter()?;
        if terminal.is_some() {
            let sender = self.sender.clone();
            thread::spawn(move || {
                // The terminal's end is treated like the key.
                io::stdin().lock().bytes().any(|byte| byte.map_or(true, |byte| byte == CTRL_C));
                sender.send(()).ok();
            });
        }
        // This cannot fail: `self` has a sender of its own.
        self.receiver.recv().ok();
        self.awaited.store(false, Ordering::SeqCst);
        Ok(())
    }
}
