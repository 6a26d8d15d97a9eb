//! A shell on a terminal that is not the console, beside the workload: `whit.shell=ttyS1`. It is the shell of the initramfs; the
//! workload's root is below /mnt.
//!
//! A keeper process restarts the shell. Its exit signal is not SIGCHLD, so that neither the keeper nor the shell counts as a daemon
//! of the workload.

use rustix::fs::OFlags;
use whit::argv::Program;
use whit::error::Errno;
use whit::options::{NO_SHELL, Value};

use crate::console::{self, log_failure};
use crate::files::Path;
use crate::machine::{Machine, signal};
use crate::sys::process::{Fork, fork, wait4};
use crate::sys::{self, fd, memory};
use crate::workload;

/// Time from the end of one shell to the start of the next.
const GAP_MS: u64 = 1000;

/// Starts the keeper, if `shell=` is given and no keeper runs.
pub(crate) fn keep_shell(machine: &mut Machine<'_>) {
    let name = machine.options.value(Value::Shell);
    if machine.has_terminal || machine.options.hand_over() || name.is_empty() || name == NO_SHELL {
        return;
    }
    match fork(signal::IO.into()) {
        Ok(Fork::Child) => {
            // Otherwise PID 1's descriptors would stay open in the keeper.
            memory::close_all();
            let errno = run_shells(name, machine.program);
            log_failure(c"shell=", name, errno);
            sys::exit(1);
        }
        done => machine.has_terminal = done.is_ok(),
    }
}

/// Runs one shell after another on the terminal; returns the error when the terminal cannot be used.
fn run_shells(name: &[u8], program: &mut Program) -> Errno {
    let mut logged = false;
    loop {
        // Opened each time: after a hangup a descriptor cannot be used again.
        match fd::open(Path::new().join(b"/dev", name), OFlags::RDWR) {
            Ok(terminal) => {
                console::use_terminal(&terminal);
                if let Err(errno) = workload::start_shell(program) {
                    return errno;
                }
                let _ = wait4(0);
            }
            // Its driver may not be loaded yet.
            Err(Errno::NOENT | Errno::NXIO) if logged => {}
            Err(errno @ (Errno::NOENT | Errno::NXIO)) => {
                log_failure(c"shell=", name, errno);
                logged = true;
            }
            Err(errno) => return errno,
        }
        fd::sleep(GAP_MS);
    }
}
