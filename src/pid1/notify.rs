//! Notifications to the host: that the workload runs, and how the machine ends.
//!
//! They go to the address in `notify=` or in systemd's credential, in sd_notify(3)'s form: `READY=1`, and at shutdown the last exit
//! code.

use whit::contract::NOTIFY_CREDENTIAL;
use whit::error::Errno;
use whit::notify::{Host, parse};
use whit::options::Value;
use whit::text::{Text, nth};

use crate::console::{self, log_failure, number_line};
use crate::end::End;
use crate::machine::Machine;
use crate::message::part;
use crate::sys::vsock;
use crate::{smbios, sys};

/// Timeout for the host to read the last message: unread bytes are lost when the machine ends.
const LAST_WAIT_MS: u32 = 2000;

/// Notifies the host that the workload runs; or, once the disks are clean, how the machine ends.
pub(crate) fn send(machine: &Machine<'_>, end: Option<End>) {
    let mut strings = [0; _];
    let mut host = machine.options.value(Value::Notify);
    if host.is_empty() {
        host = smbios::string(&mut strings, NOTIFY_CREDENTIAL);
        if host.is_empty() {
            return;
        }
    }
    let sent = match parse(host) {
        None => Err(Errno::INVAL),
        Some(Host::DebugExit(port)) => {
            // After a write to this port QEMU's exit status is never 0.
            if machine.exit_code == 0 || end != Some(End::PowerOff) {
                return;
            }
            sys::write_port(port, machine.exit_code)
        }
        Some(Host::Vsock { kind, cid, port }) => vsock::send(kind, [cid, port], |socket| {
            let (mut key, mut number, mut wait_ms) = ("READY=", 1, 0);
            if let Some(end) = end {
                part!("X_SYSTEMD_SHUTDOWN={}\n", Text(nth(b"poweroff,reboot,halt,kexec", end as usize)));
                (key, number, wait_ms) = ("EXIT_STATUS=", machine.exit_code, LAST_WAIT_MS);
            }
            number_line(key, number.into());
            console::finish_into(socket);
            wait_ms
        }),
    };
    if let Err(errno) = sent {
        log_failure(c"notify ", host, errno);
    }
}
