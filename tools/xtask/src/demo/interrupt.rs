//! Ctrl-c: ends the machine with the demo, or, when the machine was to be kept, asks for its orderly end.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use whit_tools::cli::terminal::Raw;

/// What ctrl-c sends to a terminal that makes no signal of it.
const CTRL_C: u8 = 0x03;

/// What became of the signals that ask a program to end.
pub(crate) struct Interrupt {
    /// Whether somebody waits for one.
    awaited: Arc<AtomicBool>,
    /// Whether one came when nobody did.
    came: Arc<AtomicBool>,
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Interrupt {
    /// Takes over the signals: unless one is awaited, it calls `end`.
    pub(crate) fn watch(end: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
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

    /// Whether a signal ended the machine.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }

    /// Returns when ctrl-c is pressed, or a signal asks for the end.
    ///
    /// A terminal's signal would reach QEMU too, and end it as a power cut ends a machine: meanwhile the terminal makes
    /// none, and the key is read.
    pub(crate) fn wait(&self) -> io::Result<()> {
        self.awaited.store(true, Ordering::SeqCst);
        let terminal = Raw::enter()?;
        if terminal.is_some() {
            let sender = self.sender.clone();
            thread::spawn(move || {
                // The terminal's end is as good as the key.
                io::stdin().lock().bytes().any(|byte| byte.map_or(true, |byte| byte == CTRL_C));
                sender.send(()).ok();
            });
        }
        // It cannot fail: this value has a sender of its own.
        self.receiver.recv().ok();
        self.awaited.store(false, Ordering::SeqCst);
        Ok(())
    }
}
