//! Deadlines for programs: one that hangs fails its own test only.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes on a busy host.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// A guard that ends a program which runs for too long. Dropping it stops the guard.
pub struct Deadline(#[expect(dead_code, reason = "dropping it stops the guard")] Sender<()>);

impl Deadline {
    /// Starts the guard of a program. At the deadline it sends SIGTERM twice, which makes runvm end its machine at once, and SIGKILL to a
    /// program that blocks SIGTERM, as `unshare --fork` does.
    #[must_use]
    pub fn of(child: &Child) -> Self {
        Self::within(child, DEADLINE)
    }

    /// The same with another time.
    #[must_use]
    pub fn within(child: &Child, time: Duration) -> Self {
        let (sender, receiver) = channel();
        let pid = Pid::from_child(child);
        thread::spawn(move || {
            for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
                if receiver.recv_timeout(time) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                println!("no end after {} s: {signal:?}", time.as_secs());
                let _ = kill_process(pid, signal);
            }
        });
        Self(sender)
    }
}

/// [`Command::output`] with a deadline.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let _deadline = Deadline::of(&child);
    child.wait_with_output().unwrap()
}
