//! What the host hears of the workload: that it runs, and how it ended.
//!
//! Whoever listens where `notify=` or systemd's credential says hears sd_notify(3)'s words: `READY=1`, and at the end of the machine
//! the last exit code.

use ufmt::{uWrite, uwrite};
use whit::error::Errno;
use whit::notify::{CREDENTIAL, Host, parse};
use whit::options::{ON_EXIT, Value};
use whit::text::{Text, nth};

use crate::console::{self, Line, log_failure, number_line};
use crate::end::End;
use crate::machine::Machine;
use crate::sys::vsock;
use crate::{smbios, sys};

/// How long the host may take to read what it is told last: to a connection of a machine that is gone, what was not read is lost.
const LAST_WAIT_MS: u32 = 2000;

/// Tells that the workload runs; or, the disks in order, how the machine ends.
pub(crate) fn send(machine: &Machine<'_>, end: Option<End>) {
    let mut strings = [0; _];
    let mut host = machine.options.value(Value::Notify);
    if host.is_empty() {
        host = smbios::string(&mut strings, CREDENTIAL);
        if host.is_empty() {
            return;
        }
    }
    let told = match parse(host) {
        None => Err(Errno::INVAL),
        Some(Host::DebugExit(port)) => {
            // QEMU's status is never 0 then.
            if machine.exit_code == 0 || end != Some(End::PowerOff) {
                return;
            }
            sys::write_port(port, machine.exit_code)
        }
        Some(Host::Vsock { kind, cid, port }) => vsock::talk(kind, [cid, port], |socket| {
            let (mut key, mut number, mut wait_ms) = ("READY=", 1, 0);
            if let Some(end) = end {
                let _ = Line.write_str("X_SYSTEMD_SHUTDOWN=");
                let _ = uwrite!(Line, "{}", Text(nth(ON_EXIT, end as usize + 1)));
                (key, number, wait_ms) = ("\nEXIT_STATUS=", machine.exit_code, LAST_WAIT_MS);
            }
            number_line(key, number.into());
            console::finish_into(socket);
            wait_ms
        }),
    };
    if let Err(errno) = told {
        log_failure("notify ", host, errno);
    }
}
