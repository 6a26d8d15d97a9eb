//! A shell on a terminal that is not the console, beside the workload: `whit.shell=ttyS1`. It is the shell of the initramfs; the
//! workload's root is below /mnt.
//!
//! A process of its own keeps it: it leads the terminal's session and starts the shell again. Its end is not told by SIGCHLD, so
//! that neither it nor the shell is taken for a daemon of the workload.

use rustix::fs::OFlags;
use whit::error::Errno;
use whit::options::Value;

use crate::console::{self, log_failure};
use crate::files::Path;
use crate::machine::{Machine, signal};
use crate::sys::process::{Fork, fork, wait4};
use crate::sys::{self, fd};
use crate::workload;

/// From one shell to the next.
const GAP_MS: u64 = 1000;

/// Has the shell kept, when one is asked for and none is.
pub(crate) fn keep_shell(machine: &mut Machine<'_>) {
    let name = machine.options.value(Value::Shell);
    if machine.has_terminal || machine.options.hand_over || name.is_empty() {
        return;
    }
    match fork(signal::IO.into()) {
        Ok(Fork::Child) => {
            // What PID 1 listens at would be heard here as well, for ever.
            fd::close_all();
            let errno = keep(name);
            log_failure("shell=", name, errno);
            sys::exit(1);
        }
        done => machine.has_terminal = done.is_ok(),
    }
}

/// Keeps it for as long as there is the terminal; returns why it cannot be.
fn keep(name: &[u8]) -> Errno {
    let mut said = false;
    loop {
        // Each time: one that hung up does not come back.
        match fd::open(Path::new().join(b"/dev", name), OFlags::RDWR) {
            Ok(terminal) => {
                console::use_terminal(&terminal);
                console::lead_session();
                if let Err(error) = workload::start_shell() {
                    return error.errno;
                }
                let _ = wait4(0);
            }
            // A driver may be on its way.
            Err(Errno::NOENT | Errno::NXIO) if said => {}
            Err(errno @ (Errno::NOENT | Errno::NXIO)) => {
                log_failure("shell=", name, errno);
                said = true;
            }
            Err(errno) => return errno,
        }
        fd::poll([None; _], GAP_MS);
    }
}
