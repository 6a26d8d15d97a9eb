//! Processes that end with this one, even if it is killed.
#![expect(
    unsafe_code,
    reason = "std has no safe call between fork and exec; this is the only unsafe code of the tools"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Makes the kernel kill the process when the thread that starts it has ended (prctl(2), PR_SET_PDEATHSIG). This thread must live as
/// long as the process is needed.
pub(super) fn end_with_this_thread(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the call.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(prepare) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    use std::thread;

    #[test]
    fn the_process_ends_with_its_thread() {
        let start = || end_with_this_thread(Command::new("cat").stdin(Stdio::piped())).spawn().unwrap();
        let mut child = thread::spawn(start).join().unwrap();
        let input = child.stdin.take(); // `wait` would close it, on which cat ends too
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        drop(input);
    }
}
