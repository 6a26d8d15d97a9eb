//! Shutdown: stops all processes, writes everything to the disks, ends the machine. It does not return.

use core::ffi::CStr;

use linux_raw_sys::general::{__WALL, __WCLONE, MS_RDONLY};
use rustix::fs::{OFlags, sync};
use rustix::process::Pid;
use rustix::system::RebootCommand;
use whit::contract::ROOT;
use whit::error::Errno;
use whit::features::Feature;
use whit::options::{Switch, Time};
use whit::text::{Text, nth, position, split, strip_prefix};
use whit::time::{NEVER, after_s};

use crate::console::{self, log_failure};
use crate::end::End;
use crate::files::{self, Path, each_line};
use crate::hardware;
use crate::machine::{Machine, is_machine, now_ms, signal};
use crate::message::{error, info};
use crate::notify;
use crate::sys;
use crate::sys::call::{chdir, chroot, exists, remount};
use crate::sys::fd;
use crate::sys::process::{Fork, fork, kill, leads_group, restore_limit, swap_off};
use crate::sys::window::Window;

/// Limit for the kernel to end processes after SIGKILL.
const KILL_WAIT_S: u32 = 2;
/// Limit for writing everything back, and then for making the disks read-only.
const DISKS_WAIT_S: u32 = 30;
/// Limit for the kernel's emergency remount, and the time until it has begun.
const EMERGENCY_WAIT_S: u32 = 10;
const EMERGENCY_BEGINS_MS: u64 = 1000;
/// kill(2): all processes except PID 1.
const ALL_PROCESSES: i32 = -1;

/// The names of [`End`].
const ENDS: &[u8] = if Feature::Kexec.is_enabled() { b"power off,reboot,halt,kexec" } else { b"power off,reboot,halt" };

/// Ends the machine.
pub(crate) fn end(machine: &mut Machine<'_>, end: End) -> ! {
    restore_limit();
    stop_processes(machine);
    if let Some(code) = machine.ended {
        machine.report_exit(code);
    }
    machine.terminal.drain();
    console::set_raw(false);
    make_disks_clean(machine);
    // After the disks, one of which may be remote.
    if Feature::Release.is_enabled() && machine.options.has(Switch::Release) {
        machine.release_network();
    }
    info!("{}", Text(nth(ENDS, end as usize)));
    notify::send(machine, Some(end));
    if end == End::PowerOff && is_machine() && !can_power_off() {
        error!("cannot power off: reset");
        reboot(RebootCommand::Restart);
    }
    reboot(match end {
        End::PowerOff => RebootCommand::PowerOff,
        End::Reboot => RebootCommand::Restart,
        End::Halt => RebootCommand::Halt,
        End::Kexec => RebootCommand::Kexec,
    });
    // Reached when reboot(2) refuses, before any device is stopped: for kexec without a loaded kernel, which is the same as 0 in
    // /sys/kernel/kexec_loaded (kernel/kexec_core.c, kernel_kexec()).
    if Feature::Kexec.is_enabled() {
        error!("refused: reboot");
    }
    // A machine that cannot be powered off is reset; one that cannot be reset is halted.
    reboot(RebootCommand::Restart);
    reboot(RebootCommand::Halt);
    loop {
        machine.next_wakeup(NEVER);
    }
}

/// Returns whether the machine can power off: a PC by ACPI's S5, which the firmware's DSDT names, or by Xen. Otherwise the kernel
/// would halt it (kernel/reboot.c, reboot(2)), and a virtual machine would never end. Firecracker's ends when it is reset.
fn can_power_off() -> bool {
    if !cfg!(target_arch = "x86_64") || !exists(c"/sys/firmware") || exists(c"/sys/hypervisor/type") {
        return true;
    }
    let table = match fd::open(c"/sys/firmware/acpi/tables/DSDT", OFlags::RDONLY) {
        Ok(table) => table,
        // Only a missing table means that the machine cannot power off.
        Err(errno) => return errno != Errno::NOENT,
    };
    const SOFT_OFF: &[u8] = b"_S5_";
    const WINDOW: usize = 1024;
    let (mut window, mut at) = (Window::<WINDOW>::new(), 0);
    loop {
        window.read_at(&table, at);
        if window.bytes().windows(SOFT_OFF.len()).any(|name| name == SOFT_OFF) {
            return true;
        }
        if window.bytes().len() < WINDOW {
            return false;
        }
        at += (WINDOW - SOFT_OFF.len()) as u64;
    }
}

/// reboot(2). In a PID namespace it ends the namespace, or fails (kernel/pid_namespace.c, reboot_pid_ns()).
#[inline(never)]
pub(crate) fn reboot(command: RebootCommand) {
    let _ = rustix::system::reboot(command);
}

/// Sends a signal to the workload's process group, and to the workload if it has left that.
pub(crate) fn signal_workload(workload: Pid, signal: u8) {
    let number = workload.as_raw_pid();
    let _ = kill(-number, signal);
    if Feature::Details.is_enabled() && !leads_group(number) {
        let _ = kill(number, signal);
    }
}

/// Sends STOPSIGNAL to the workload, or to the daemons it left; SIGTERM to the rest once it has ended; SIGKILL after the grace time.
fn stop_processes(machine: &mut Machine<'_>) {
    let stop_signal = machine.options.stop_signal;
    let deadline_ms = after_s(now_ms(), machine.options.time(Time::Grace));
    if let Some(shell) = machine.shell {
        // An interactive shell ignores SIGTERM.
        let _ = kill(-shell.as_raw_pid(), signal::HUP);
    }
    let mut workload_stops = machine.workload.is_some();
    match machine.workload {
        Some(workload) => signal_workload(workload, stop_signal),
        None => drop(kill(ALL_PROCESSES, stop_signal)),
    }
    // A child that loads a driver cannot be killed.
    while (!machine.no_children || hardware::is_loading()) && now_ms() < deadline_ms {
        if workload_stops && machine.workload.is_none() {
            workload_stops = false;
            let _ = kill(ALL_PROCESSES, signal::TERM);
        }
        machine.next_wakeup(deadline_ms);
    }
    kill_processes(machine);
}

/// Kills all remaining processes and waits for them.
pub(crate) fn kill_processes(machine: &mut Machine<'_>) {
    let _ = kill(ALL_PROCESSES, signal::KILL);
    machine.has_terminal = false;
    wait_for_children(machine, __WALL, KILL_WAIT_S);
}

/// Reaps children of a kind until there are none, for at most `seconds`.
fn wait_for_children(machine: &mut Machine<'_>, children: u32, seconds: u32) {
    let deadline_ms = after_s(now_ms(), seconds);
    machine.children = children;
    machine.reap();
    while !machine.no_children && now_ms() < deadline_ms {
        machine.next_wakeup(deadline_ms);
    }
    machine.children = 0;
}

/// Writes everything back and makes the disks read-only. Each step that may hang with its disk runs in a child. After the time
/// limits the kernel's emergency remount does the rest. File systems are not unmounted: that would change nothing on a disk.
fn make_disks_clean(machine: &mut Machine<'_>) {
    let (all_ended, is_machine) = (machine.no_children, is_machine());
    in_child(write_back, c"");
    wait_for_children(machine, __WCLONE, DISKS_WAIT_S);
    disks_are_read_only(true);
    wait_for_children(machine, __WCLONE, DISKS_WAIT_S);
    if !is_machine || all_ended && machine.no_children && no_swap_files(false) && disks_are_read_only(false) {
        return;
    }
    error!("emergency remount");
    for key in [b"s", b"u"] {
        let _ = files::write(c"/proc/sysrq-trigger", key);
    }
    // The kernel does not report when it begins; a remount after that waits until it is done with the file system.
    fd::sleep(EMERGENCY_BEGINS_MS);
    disks_are_read_only(true);
    wait_for_children(machine, __WCLONE, EMERGENCY_WAIT_S);
}

/// Runs a function in a child whose exit signal is not SIGCHLD, so that PID 1 can wait for such children alone (__WCLONE).
#[inline(never)]
fn in_child(work: fn(&CStr), path: &CStr) {
    match fork(signal::IO.into()) {
        Ok(Fork::Parent(_)) => {}
        Ok(Fork::Child) => {
            work(path);
            sys::exit(0)
        }
        // PID 1 itself must not remount, which may hang, nor change its root.
        Err(_) => sync(),
    }
}

/// Turns off swap files, each of which would keep its file system from becoming read-only; writes everything back.
fn write_back(_: &CStr) {
    if is_machine() {
        let _ = chdir(ROOT);
        no_swap_files(true);
    }
    sync();
}

/// Makes a superblock read-only: an unmount can succeed here while another mount namespace keeps the file system writable.
fn make_read_only(path: &CStr) {
    if let Err(errno) = remount(path, MS_RDONLY) {
        log_failure(c"remount read-only: ", path.to_bytes(), errno);
        // A process that cannot be killed has a file open for writing.
        if is_machine() {
            let _ = fd::open(path, OFlags::RDONLY).map(|mounted| fd::freeze(&mounted));
        }
    }
}

/// Returns whether no swap file is in use; `turn_off` turns them off.
fn no_swap_files(turn_off: bool) -> bool {
    let mut none = true;
    let read = each_line(c"/proc/swaps", &mut |line| {
        // `/swap                 file\t\t1024\t…` (mm/swapfile.c, swap_show()).
        let mut columns = split(line, b' ');
        let (path, kind) = (columns.next(), columns.find(|column| !column.is_empty()));
        if let (Some(path), Some([b'f', ..])) = (path, kind) {
            none = false;
            if turn_off {
                // The path is one of the workload's root, the working directory. The list is open already.
                let _ = chroot(c".");
                swap_off(Path::new().set_listed(path));
            }
        }
    });
    none && read
}

/// Returns whether no disk is mounted writable; `remount` remounts them read-only.
fn disks_are_read_only(remount: bool) -> bool {
    // PID 1's own file system is not made read-only: it is memory, or, where the machine is made of namespaces, the host's.
    let Some(ours) = fd::status(c"/") else { return false };
    let mut all = true;
    let read = each_line(c"/proc/self/mounts", &mut |line| {
        let mut fields = split(line, b' ');
        let (Some(source), Some(target)) = (fields.next(), fields.next()) else { return };
        if strip_prefix(source, b"/dev/").is_some() || position(b"overlay", b' ', source).is_some() {
            let mut room = Path::new();
            let path = room.set_listed(target);
            if fd::status(path).is_some_and(|status| status.device != ours.device) {
                all &= fields.nth(1).is_some_and(|options| strip_prefix(options, b"ro").is_some());
                if remount {
                    in_child(make_read_only, path);
                }
            }
        }
    });
    all && read
}
