//! Signals to this program: forwarded to the workload as docker's `--sig-proxy` does it, or an end of the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use signal_hook::consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;
use whit_tools::cli::temporary;
use whit_tools::vm::streams::Remote;

use crate::console::print_line;
use crate::window::Window;

/// The signals that are handled, unless they were ignored when this program started.
const HANDLED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH];
/// Two interrupts within this time end the machine at once.
const TWICE: Duration = Duration::from_secs(3);
/// Another SIGTERM within this time is the same one: timeout(1) sends two.
const SAME: Duration = Duration::from_secs(1);
/// What the end of a machine may take after its processes have ended: more than the limits of the init together (src/pid1/shutdown.rs
/// and streams.rs).
const END: Duration = Duration::from_secs(120);
/// What QEMU may take to end after SIGTERM.
const QEMU_END: Duration = Duration::from_secs(10);
/// SIGRTMIN+4 of a C library, on which the init powers off (systemd(1), SIGNALS).
const POWER_OFF: u8 = 38;

/// Installs the handlers. Called before the machine starts: a signal in between would leave it running.
pub(crate) fn install() -> Result<Signals, String> {
    let signals = temporary::not_ignored(&HANDLED);
    let signals = Signals::new(signals).map_err(|error| format!("cannot wait for signals: {error}"))?;
    temporary::leave_signals();
    Ok(signals)
}

/// The phases of a machine that matter to signals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The workload does not run yet, or has no port.
    Booting,
    /// The workload runs, and gets signals by its port.
    Running,
    /// The machine has ended. What remains is its output.
    Over,
}

/// Ends a machine, from any thread.
pub(crate) struct Ender {
    /// The workload's port.
    pub(crate) remote: Option<Remote>,
    /// Presses the power button, if the machine has one.
    pub(crate) press: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    /// Sends QEMU a signal.
    pub(crate) signal_qemu: Box<dyn Fn(Signal) + Send + Sync>,
    /// The time from the stop signal to SIGKILL.
    pub(crate) stop_timeout: Duration,
    /// The last signal that ended the machine, or 0.
    pub(crate) signal: AtomicI32,
    pub(crate) phase: AtomicU8,
}

impl Ender {
    /// Enters [`Phase::Over`].
    pub(crate) fn set_over(&self) {
        self.phase.store(Phase::Over as u8, Ordering::Relaxed);
    }

    /// Changes the phase, if it is `from`.
    pub(crate) fn change(&self, from: Phase, to: Phase) {
        let _ = self.phase.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// Ends QEMU at once.
    pub(crate) fn end(&self) {
        (self.signal_qemu)(Signal::TERM);
    }

    /// Requests power-off, and ends QEMU when the machine takes longer than the stop timeout allows.
    pub(crate) fn power_off(self: &Arc<Self>) {
        let ender = Arc::clone(self);
        // QEMU may answer late, and the next signal must not wait for that.
        thread::spawn(move || {
            match (&ender.remote, &ender.press) {
                (Some(remote), _) if ender.is_in(Phase::Running) => remote.signal(POWER_OFF),
                (_, Some(press)) if press() => {}
                _ => return ender.end(),
            }
            thread::sleep(ender.stop_timeout + END);
            if !ender.is_in(Phase::Over) {
                ender.end();
                thread::sleep(QEMU_END);
                (ender.signal_qemu)(Signal::KILL);
            }
        });
    }

    /// Powers off after the stop timeout, unless the machine has ended by then.
    fn power_off_later(self: &Arc<Self>) {
        let ender = Arc::clone(self);
        thread::spawn(move || {
            thread::sleep(ender.stop_timeout);
            if !ender.is_in(Phase::Over) {
                ender.power_off();
            }
        });
    }
}

/// Starts a thread that handles signals, and sends the terminal's size.
pub(crate) fn handle(mut signals: Signals, ender: &Arc<Ender>, window: Option<Window>) {
    let ender = Arc::clone(ender);
    // Sizes have a thread of their own, which a guest that does not read them blocks.
    let resized = window.map(|mut window| {
        let (sender, receiver) = channel::<()>();
        thread::spawn(move || {
            window.send();
            receiver.iter().for_each(|()| window.send());
        });
        sender
    });
    thread::spawn(move || {
        let mut proxy = Proxy { interrupted: None, terminated: None };
        for signal in signals.forever() {
            match &resized {
                Some(resized) if signal == SIGWINCH => resized.send(()).unwrap_or_default(),
                _ => proxy.handle(signal, &ender),
            }
        }
    });
}

/// When signals came before.
struct Proxy {
    interrupted: Option<Instant>,
    terminated: Option<Instant>,
}

impl Proxy {
    fn handle(&mut self, signal: i32, ender: &Arc<Ender>) {
        let ends = matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM);
        let now = Instant::now();
        let within = |before: Option<Instant>, limit| before.is_some_and(|before| now.duration_since(before) < limit);
        if ender.is_in(Phase::Over) {
            // The output that is left has a reader that does not read.
            if ends {
                temporary::end_by(signal);
            }
            return;
        }
        match (&ender.remote, signal) {
            (Some(remote), _) if ender.is_in(Phase::Running) => {
                let is_repeated = match signal {
                    SIGINT => within(self.interrupted.replace(now), TWICE),
                    SIGTERM if within(self.terminated, SAME) => return,
                    SIGTERM => self.terminated.replace(now).is_some(),
                    _ => false,
                };
                if is_repeated {
                    ender.signal.store(signal, Ordering::Relaxed);
                    ender.end();
                    return;
                }
                remote.signal(signal as u8); // a small number
                if signal == SIGTERM {
                    ender.power_off_later();
                }
            }
            _ if ends => {
                if signal == SIGTERM && within(self.terminated.replace(now), SAME) {
                    return;
                }
                if ender.signal.swap(signal, Ordering::Relaxed) == 0 && ender.press.is_some() {
                    print_line("runvm: requesting power-off; a second signal ends the machine at once");
                    ender.power_off();
                } else {
                    ender.end();
                }
            }
            // For a workload that does not run yet, or that has only the console.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    #[test]
    fn a_second_signal_ends_the_machine() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let ender = |press: bool| {
            let qemu = Arc::clone(&sent);
            Arc::new(Ender {
                remote: None,
                press: if press { Some(Box::new(|| true)) } else { None },
                signal_qemu: Box::new(move |signal| qemu.lock().unwrap_or_else(PoisonError::into_inner).push(signal)),
                stop_timeout: Duration::from_secs(3600),
                signal: AtomicI32::new(0),
                phase: AtomicU8::new(Phase::Booting as u8),
            })
        };
        let mut proxy = Proxy { interrupted: None, terminated: None };
        let with_button = ender(true);
        for signal in [SIGUSR1, SIGTERM, SIGTERM] {
            proxy.handle(signal, &with_button); // the second SIGTERM comes within a second
        }
        assert_eq!((sent.lock().unwrap().len(), with_button.signal.load(Ordering::Relaxed)), (0, SIGTERM));
        proxy.handle(SIGINT, &with_button);
        assert_eq!(*sent.lock().unwrap(), [Signal::TERM]);
        proxy.handle(SIGHUP, &ender(false));
        assert_eq!(*sent.lock().unwrap(), [Signal::TERM; 2]);
    }
}
