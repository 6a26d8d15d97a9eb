//! Processes that end with this one, even if it is killed, and the descriptors that they inherit.
#![expect(
    unsafe_code,
    reason = "std has no safe call between fork and exec, and none for a descriptor by its number; this is the only unsafe code of the tools"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Makes the kernel kill the process when the thread that starts it has ended (prctl(2), PR_SET_PDEATHSIG). This thread must live as
/// long as the process is needed.
pub(crate) fn end_with_this_thread(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the call.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(prepare) }
}

/// Keeps the children of this process from inheriting descriptors beyond standard error.
pub(crate) fn keep_descriptors() {
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if number > 2 {
            // SAFETY: the call sets a flag of a descriptor that is open, or fails.
            let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
        }
    }
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
