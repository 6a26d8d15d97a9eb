//! The end: everybody stops, everything is on the disk, the machine goes off. Nothing returns from here.

use rustix::fs::sync;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::system::RebootCommand;
use whit::options::{Switch, Time};
use whit::text::{Text, nth, parts, position};
use whit::time::{NEVER, after_s};

use crate::console::{failed, tell};
use crate::files::{self, Path};
use crate::filesystems::ROOT;
use crate::machine::{Machine, now_ms, signal};
use crate::notify;
use crate::sys::fd;
use crate::sys::process::kill;

/// How the machine ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    PowerOff,
    Reboot,
    Halt,
}

/// What follows SIGKILL is only the kernel's work.
const KILL_WAIT_S: u32 = 2;
/// Bytes of the list of mounts that are read.
const MAX_MOUNTS: usize = 8192;
/// Everybody but PID 1.
const EVERYBODY: i32 = -1;

/// Ends the machine.
pub(crate) fn end(machine: &mut Machine<'_>, end: End) -> ! {
    stop_everybody(machine);
    if let Some(code) = machine.ended {
        notify::exited(machine, code);
    }
    if machine.options.has(Switch::Release) {
        machine.release_network();
    }
    leave_disks_clean();
    tell!("{}", Text(nth(b"power off,reboot,halt", end as usize)));
    notify::tell(machine, Some(end));
    reboot(match end {
        End::PowerOff => RebootCommand::PowerOff,
        End::Reboot => RebootCommand::Restart,
        End::Halt => RebootCommand::Halt,
    });
    // A machine that cannot be switched off is reset; one that cannot be reset stands still.
    reboot(RebootCommand::Restart);
    reboot(RebootCommand::Halt);
    loop {
        machine.wait(NEVER);
    }
}

/// reboot(2), which is refused in a PID namespace.
#[inline(never)]
pub(crate) fn reboot(command: RebootCommand) {
    let _ = rustix::system::reboot(command);
}

/// STOPSIGNAL to the workload, or to the daemons it left; SIGTERM to the rest when it has ended; SIGKILL after the grace.
fn stop_everybody(machine: &mut Machine<'_>) {
    let stop_signal = machine.options.stop_signal;
    let deadline_ms = after_s(now_ms(), machine.options.time(Time::Grace));
    if let Some(shell) = machine.shell {
        // An interactive shell ignores SIGTERM.
        let _ = kill(-shell.as_raw_pid(), signal::HUP);
    }
    let mut workload_stops = machine.workload.is_some();
    let target = machine.workload.map_or(EVERYBODY, |workload| -workload.as_raw_pid());
    let _ = kill(target, stop_signal);
    while !machine.alone && now_ms() < deadline_ms {
        if workload_stops && machine.workload.is_none() {
            workload_stops = false;
            let _ = kill(EVERYBODY, signal::TERM);
        }
        machine.wait(deadline_ms);
    }
    kill_everybody(machine);
}

/// Ends everybody who is still there.
pub(crate) fn kill_everybody(machine: &mut Machine<'_>) {
    let deadline_ms = after_s(now_ms(), KILL_WAIT_S);
    let _ = kill(EVERYBODY, signal::KILL);
    while !machine.alone && now_ms() < deadline_ms {
        machine.wait(deadline_ms);
    }
}

/// Writes everything back. Superblocks are made read-only before anything is unmounted: an unmount can succeed here while
/// another mount namespace keeps the file system writable. What was mounted last comes first: an overlay before what it lies on.
fn leave_disks_clean() {
    sync();
    // Of the file system that PID 1 itself is in nothing is made read-only: it is memory, or, where the machine is made of
    // namespaces, the host's.
    let Some(ours) = fd::status(c"/") else { return };
    let mut buffer = files::buffer::<MAX_MOUNTS>();
    let mut rest = files::read(c"/proc/self/mounts", &mut buffer).map_or(&b""[..], |mounts| mounts);
    while let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
        let start = rest.get(..end).and_then(|before| before.iter().rposition(|byte| *byte == b'\n'));
        let (before, line) = rest.split_at(start.map_or(0, |start| start + 1).min(rest.len()));
        rest = before;
        let mut fields = parts(line, b' ');
        let (source, target) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        if source.starts_with(b"/dev/") || position(b"overlay", b' ', source).is_some() {
            let mut room = Path::new();
            let path = room.set_listed(target);
            if fd::status(path).is_some_and(|status| status.device != ours.device)
                && let Err(errno) = mount_remount(path, MountFlags::RDONLY, c"")
            {
                failed("remount read-only: ", target, errno.into());
            }
        }
    }
    let _ = unmount(ROOT, UnmountFlags::DETACH);
}
