//! The life of the workload: start, signals, end; then the shell, or nothing.

use core::convert::Infallible;

use whit::options::Switch;
use whit::status::NOT_STARTED;
use whit::time::{NEVER, after_s};

use crate::console::{self, failed, tell};
use crate::machine::{Machine, now_ms, signal};
use crate::shutdown::End;
use crate::sys::process::kill;
use crate::timeline::Stage;
use crate::workload;

/// From one start of the shell to the next.
const SHELL_GAP_S: u32 = 1;

/// What a process may tell the workload by telling PID 1.
const FORWARDED: [u8; 7] =
    [signal::HUP, signal::INT, signal::QUIT, signal::USR1, signal::USR2, signal::TERM, signal::WINCH];

/// Runs the workload until it is over; returns its exit code, or why the machine is to end first.
pub(crate) fn run_workload(machine: &mut Machine<'_>) -> Result<u8, End> {
    console::lead_session();
    if let Some(network) = &mut machine.network {
        network.workload_runs();
    }
    machine.timeline.reach(Stage::Entrypoint);
    match workload::start(&machine.sources, &machine.options) {
        Ok(child) => machine.workload = Some(child),
        Err(error) => {
            failed(error.step, b"", error.errno);
            return Ok(NOT_STARTED);
        }
    }
    if machine.options.has(Switch::Timing) {
        machine.timeline.print();
    }
    let code = loop {
        if let Some(code) = machine.ended {
            break code;
        }
        let happened = machine.wait(NEVER);
        if let Some(end) = happened.end() {
            return Err(end);
        }
        if let Some(child) = machine.workload {
            for signal in FORWARDED.iter().filter(|signal| happened.has(**signal)) {
                let _ = kill(-child.as_raw_pid(), *signal);
            }
        }
    };
    // Daemons that it left are the workload now: unless it failed, or the shell takes the console.
    if code == 0 && !workload::has_shell() {
        if !machine.alone {
            tell!("the entrypoint ended, its daemons run on");
        }
        while !machine.alone {
            wait(machine, NEVER)?;
        }
    }
    Ok(code)
}

/// Keeps a shell on the console until the machine is asked to end; at once asks for power off when there is none.
pub(crate) fn run_shell(machine: &mut Machine<'_>) -> Result<Infallible, End> {
    console::lead_session();
    let mut next_ms = 0;
    loop {
        // One that ends at once, its console at an end, is started again once a second.
        let now_ms = now_ms();
        if machine.shell.is_none() && now_ms >= next_ms {
            next_ms = after_s(now_ms, SHELL_GAP_S);
            if !workload::has_shell() {
                return Err(End::PowerOff);
            }
            match workload::start_shell() {
                Ok(child) => machine.shell = Some(child),
                Err(error) => {
                    failed(error.step, b"", error.errno);
                    return Err(End::PowerOff);
                }
            }
        }
        wait(machine, if machine.shell.is_none() { next_ms } else { NEVER })?;
    }
}

/// Waits as [`Machine::wait`] does, and returns whether a device appeared or changed. Ends early when the machine is to end: by
/// whoever sits at it, or by the signals by which busybox's and sysvinit's halt, poweroff and reboot tell PID 1, when no
/// workload wants them.
#[inline(never)]
pub(crate) fn wait(machine: &mut Machine<'_>, deadline_ms: u64) -> Result<bool, End> {
    let happened = machine.wait(deadline_ms);
    if let Some(end) = happened.end() {
        return Err(end);
    }
    for (signal, end) in &[
        (signal::USR2, End::PowerOff),
        (signal::USR1, End::Halt),
        (signal::TERM, End::Reboot),
        (signal::INT, End::Reboot),
    ] {
        if happened.has(*signal) {
            return Err(*end);
        }
    }
    Ok(happened.device)
}
