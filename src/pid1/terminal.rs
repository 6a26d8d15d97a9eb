//! A shell on a terminal that is not the console, beside the workload: `whit.shell=ttyS1`. It is the shell of the initramfs; the
//! workload's root is below /mnt.
//!
//! A process of its own keeps it: it leads the terminal's session and starts the shell again. Its end is not told by SIGCHLD, so
//! that neither it nor the shell is taken for a daemon of the workload.

use rustix::fs::OFlags;
use whit::error::Errno;
use whit::options::Value;

use crate::console::{self, failed};
use crate::files::Path;
use crate::machine::{Machine, signal};
use crate::sys::process::{Fork, fork, wait};
use crate::sys::{self, fd};
use crate::workload;

/// From one shell to the next.
const GAP_MS: u64 = 1000;

/// Has the shell kept, when one is asked for and none is.
pub(crate) fn keep_shell(machine: &mut Machine<'_>) {
    let name = machine.options.value(Value::Shell);
    if machine.has_terminal || name.is_empty() {
        return;
    }
    machine.has_terminal = true;
    if let Ok(Fork::Child) = fork(signal::IO.into()) {
        let errno = keep(name);
        failed("shell=", name, errno);
        sys::exit(1);
    }
}

/// Keeps it for as long as there is the terminal; returns why it cannot be.
fn keep(name: &[u8]) -> Errno {
    loop {
        // Each time: one that hung up does not come back.
        match fd::open(Path::new().join(b"/dev", name), OFlags::RDWR) {
            Ok(terminal) => console::be(&terminal),
            Err(errno) => return errno,
        }
        console::lead_session();
        if let Err(error) = workload::start_shell() {
            return error.errno;
        }
        let _ = wait(0);
        fd::poll([None; _], GAP_MS);
    }
}
