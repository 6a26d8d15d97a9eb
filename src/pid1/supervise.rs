//! Supervision of the workload: start, signals, exit; then the shell, or the end of the machine.

use core::convert::Infallible;

use whit::contract::NOT_STARTED;
use whit::features::Feature;
use whit::options::{OnExit, Streams, Switch};
use whit::stage::Stage;
use whit::time::{NEVER, after_ms, after_s};

use crate::console::log_step;
use crate::end::End;
use crate::events::{bit, lowest};
use crate::hardware;
use crate::machine::{Machine, now_ms, signal};
use crate::message::{error, info};
use crate::notify;
use crate::shutdown;
use crate::{streams, terminal, workload};

/// Time from one start of the shell to the next.
const SHELL_GAP_S: u32 = 1;

/// Docker's delays before it restarts a container: doubled each time, and reset for one that ran for 10 s (moby, restartmanager).
const FIRST_DELAY_MS: u64 = 100;
const MAX_DELAY_MS: u64 = 60_000;
const STEADY_S: u32 = 10;

/// Signals to PID 1 that are forwarded to the workload. Those of the host are forwarded in any case.
const FORWARDED: u64 = {
    use signal::{ALRM, CONT, HUP, INT, QUIT, TERM, USR1, USR2, WINCH};
    bit(HUP) | bit(INT) | bit(QUIT) | bit(USR1) | bit(USR2) | bit(ALRM) | bit(TERM) | bit(CONT) | bit(WINCH)
};

/// Runs the workload until it exits, and returns its exit code; an error is a shutdown request before that.
fn run_workload(machine: &mut Machine<'_>) -> Result<u8, End> {
    if !streams::open(machine)? {
        machine.terminal.open();
    }
    if let Some(network) = &mut machine.network {
        network.workload_starts(now_ms());
    }
    machine.timeline.reach(Stage::Entrypoint);
    machine.timeline.write_file();
    terminal::keep_shell(machine);
    match workload::start(machine) {
        Ok(child) => machine.workload = Some(child),
        Err(errno) => {
            log_step(c"fork", errno);
            return Ok(NOT_STARTED);
        }
    }
    notify::send(machine, None);
    if machine.options.has(Switch::Timing) {
        machine.timeline.print();
    }
    let code = loop {
        if let Some(code) = machine.ended {
            break code;
        }
        let wakeup = machine.next_wakeup(NEVER);
        if let Some(end) = wakeup.end() {
            return Err(end);
        }
        if let Some(child) = machine.workload {
            let mut signals = wakeup.for_workload(FORWARDED);
            while signals != 0 {
                shutdown::signal_workload(child, lowest(signals));
                signals &= signals.wrapping_sub(1);
            }
        }
    };
    if Feature::Streams.is_enabled()
        && machine.options.streams() != Streams::Console
        && !machine.options.has(Switch::Linger)
    {
        shutdown::kill_processes(machine); // As a container, which ends with its first process.
        return Ok(code);
    }
    // Daemons that it started are the workload now, unless it failed or the shell takes the console.
    let is_shell_next =
        machine.options.on_exit() == OnExit::Shell && machine.has_shell() && !machine.terminal.is_console;
    if code == 0 && !is_shell_next {
        if !machine.no_children {
            info!("the entrypoint ended, its daemons run on");
        }
        while !machine.no_children {
            wait_or_end(machine, NEVER)?;
        }
    }
    Ok(code)
}

/// Runs the workload, and restarts it as `on_exit` requires; returns what follows.
#[inline(never)]
pub(crate) fn run_workloads(machine: &mut Machine<'_>) -> Result<OnExit, End> {
    let mut delay_ms = FIRST_DELAY_MS;
    let mut starts = 0;
    loop {
        let started_ms = now_ms();
        let code = run_workload(machine)?;
        machine.report_exit(code);
        match machine.options.on_exit() {
            OnExit::Restart if Feature::Restart.is_enabled() && starts < machine.options.restarts => {}
            action => return Ok(action),
        }
        starts += 1;
        // Processes that it left could disturb the next one.
        hardware::finish(machine)?;
        shutdown::kill_processes(machine);
        machine.terminal.drain();
        machine.terminal.close();
        let now_ms = now_ms();
        if now_ms >= after_s(started_ms, STEADY_S) {
            delay_ms = FIRST_DELAY_MS;
        }
        info!("start {} in {} ms", u64::from(starts), delay_ms);
        let next_ms = after_ms(now_ms, delay_ms);
        while crate::machine::now_ms() < next_ms {
            wait_or_end(machine, next_ms)?;
        }
        delay_ms = (2 * delay_ms).min(MAX_DELAY_MS);
    }
}

/// Runs the shell, or ends the machine after a delay.
pub(crate) fn act(machine: &mut Machine<'_>, action: OnExit, delay_s: u32) -> Result<Infallible, End> {
    let end = match action {
        OnExit::PowerOff => End::PowerOff,
        OnExit::Reboot => End::Reboot,
        OnExit::Halt => End::Halt,
        OnExit::Kexec => End::Kexec,
        OnExit::Shell | OnExit::Restart if machine.has_shell() => return run_shell(machine),
        OnExit::Shell | OnExit::Restart => End::PowerOff,
    };
    if Feature::OnFail.is_enabled() {
        let deadline_ms = after_s(now_ms(), delay_s);
        while now_ms() < deadline_ms {
            wait_or_end(machine, deadline_ms)?;
        }
    }
    Err(end)
}

/// Runs shells on the console until a shutdown request; returns power off when one cannot be started.
fn run_shell(machine: &mut Machine<'_>) -> Result<Infallible, End> {
    if machine.terminal.is_console {
        error!("no ptys: killing the workload's processes");
        hardware::finish(machine)?;
        shutdown::kill_processes(machine);
    }
    let mut next_ms = 0;
    loop {
        // A shell that exits at once, its console at end of file, is started once a second.
        let now_ms = now_ms();
        if machine.shell.is_none() && now_ms >= next_ms {
            next_ms = after_s(now_ms, SHELL_GAP_S);
            machine.terminal.leave_console();
            match workload::start_shell(machine.program) {
                Ok(child) => machine.shell = Some(child),
                Err(errno) => {
                    log_step(c"fork", errno);
                    return Err(End::PowerOff);
                }
            }
        }
        wait_or_end(machine, if machine.shell.is_none() { next_ms } else { NEVER })?;
    }
}

/// Waits as [`Machine::next_wakeup`] does, and returns whether a device appeared or changed; an error is a shutdown request: from the
/// console or the power button, or by the signals that busybox's and sysvinit's halt, poweroff and reboot send to PID 1. Not for
/// use while a workload runs: those signals are forwarded to it.
#[inline(never)]
pub(crate) fn wait_or_end(machine: &mut Machine<'_>, deadline_ms: u64) -> Result<bool, End> {
    let wakeup = machine.next_wakeup(deadline_ms);
    if let Some(end) = wakeup.end() {
        return Err(end);
    }
    for (signal, end) in &[
        (signal::USR2, End::PowerOff),
        (signal::USR1, End::Halt),
        (signal::TERM, End::Reboot),
        (signal::INT, End::Reboot),
    ] {
        if wakeup.has_own(*signal) {
            return Err(*end);
        }
    }
    // From the host, for a workload that has ended.
    if wakeup.has(signal::TERM) || wakeup.has(signal::INT) {
        return Err(End::PowerOff);
    }
    Ok(wakeup.device)
}
