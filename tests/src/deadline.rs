//! Programs that must end: one that hangs fails its own test, and not all of them.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes on a busy host.
const DEADLINE: Duration = Duration::from_secs(180);

/// For as long as this lives, a program has time to end.
pub struct Deadline(#[expect(dead_code, reason = "what counts is its end")] Sender<()>);

impl Deadline {
    /// Ends the program when it takes too long: by SIGTERM twice, as runvm ends a machine at once.
    #[must_use]
    pub fn of(child: &Child) -> Self {
        let (sender, receiver) = channel();
        let pid = Pid::from_child(child);
        thread::spawn(move || {
            for _ in 0..2 {
                if receiver.recv_timeout(DEADLINE) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                println!("no end after {} s: SIGTERM", DEADLINE.as_secs());
                let _ = kill_process(pid, Signal::TERM);
            }
        });
        Self(sender)
    }
}

/// [`Command::output`] of one that is ended when it takes too long.
///
/// # Panics
/// When it cannot be started.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let _deadline = Deadline::of(&child);
    child.wait_with_output().unwrap()
}
