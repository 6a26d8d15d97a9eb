//! The workload and the shell, between fork(2) and execve(2).

use core::ffi::CStr;
use core::mem::ManuallyDrop;

use linux_raw_sys::general::{CLONE_NEWNS, SIGCHLD};
use rustix::fs::OFlags;
use rustix::process::{Pid, getpid, setpgid};
use whit::argv::{self, Full, MAX_BYTES, MAX_STRINGS, Program, Strings};
use whit::contract::{
    IMAGE_RECORD, NOT_BESIDE, NOT_EXECUTABLE, NOT_FOUND, NOT_STARTED, RECORD, ROOT, join, joined_len,
};
use whit::error::Errno;
use whit::features::Feature;
use whit::interpreter::{START, interpreter};
use whit::options::{self, Options, Source, Sources, Value};
use whit::passwd;
use whit::record::Record;
use whit::text::{Text, nth, split, split_once};

use crate::caps;
use crate::console::{lead_session, log_failure, log_step, read_or_log};
use crate::files::{self, Lines, Path};
use crate::inside;
use crate::machine::Machine;
use crate::message::error;
use crate::own_files;
use crate::settings;
use crate::sys;
use crate::sys::call::{chdir, chroot, exists, mount_move, own_streams};
use crate::sys::fd::{self, Fd, STDERR};
use crate::sys::memory;
use crate::sys::process::{self, Fork, fork};
use crate::sys::stream::INPUT;

/// The shell of the initramfs.
const SHELL: &CStr = c"/bin/sh";

/// Starts the workload in the root, in its own mount namespace.
pub(crate) fn start(machine: &mut Machine<'_>) -> Result<Pid, Errno> {
    own_files::set_readers();
    match fork(SIGCHLD | CLONE_NEWNS) {
        Ok(Fork::Parent(child)) => Ok(child),
        Ok(Fork::Child) => {
            machine.terminal.enter();
            machine.streams.enter(0);
            sys::exit(run(machine.program, &machine.sources, &machine.options))
        }
        Err(errno) => Err(errno),
    }
}

/// Starts the program of a session of the host beside the workload, in the same way. The bytes that came for it are options that
/// override the workload's. An error is the exit code.
pub(crate) fn start_beside(machine: &mut Machine<'_>, session: usize) -> Result<Pid, u8> {
    let mut sources = Sources { is_beside: true, ..machine.sources };
    sources.records[Source::Arguments as usize] = Record::decoded(INPUT.text());
    let options = sources.options(&mut |_, _| {});
    machine.streams.open_session(session, options.streams() == options::Streams::Terminal);
    match fork(SIGCHLD | CLONE_NEWNS) {
        Ok(Fork::Parent(child)) => Ok(child),
        Ok(Fork::Child) => {
            machine.streams.enter(session);
            // What goes wrong is for those who asked for it.
            memory::reset_console();
            // Of a pipe there is none.
            lead_session(&STDERR);
            sys::exit(run(machine.program, &sources, &options))
        }
        Err(errno) => {
            log_step(NOT_BESIDE, errno);
            Err(NOT_STARTED)
        }
    }
}

/// Returns whether the initramfs has a shell.
pub(crate) fn has_shell() -> bool {
    exists(SHELL)
}

/// Starts the shell of the initramfs.
pub(crate) fn start_shell(Program { argv, env }: &mut Program) -> Result<Pid, Errno> {
    match fork(SIGCHLD) {
        Ok(Fork::Parent(child)) => Ok(child),
        Ok(Fork::Child) => {
            lead_session(&STDERR);
            // A hand-over that failed has left its own.
            argv.clear();
            env.clear();
            let _ = argv.push(b"sh");
            for variable in split(b"HOME=/ TERM=linux PATH=/usr/sbin:/usr/bin:/sbin:/bin", b' ') {
                let _ = env.push(variable);
            }
            log_failure(c"", SHELL.to_bytes(), process::execute(SHELL, argv, env));
            sys::exit(NOT_EXECUTABLE)
        }
        Err(errno) => Err(errno),
    }
}

/// Puts this process into a new process group, and makes it the foreground process group.
fn take_foreground() {
    let _ = setpgid(None, None);
    // SIGTTOU is still blocked. A console that is not a terminal has no foreground process group.
    fd::set_foreground(&STDERR, getpid().as_raw_pid());
}

/// Prepares the workload and executes it; returns the exit code when that fails.
fn run(program: &mut Program, sources: &Sources<'_>, options: &Options<'_>) -> u8 {
    take_foreground();
    match fill(program, sources).and_then(|()| become_user(sources, options, &mut program.env)) {
        Ok(()) => execute(program),
        Err(code) => code,
    }
}

/// Fills arguments and environment; an error is logged, and returned as the exit code.
#[inline(never)]
pub(crate) fn fill(Program { argv, env }: &mut Program, sources: &Sources<'_>) -> Result<(), u8> {
    let uname = rustix::system::uname();
    let terminal = fd::is_terminal(&STDERR);
    argv::arguments(sources, argv)
        .and_then(|()| argv::variables(sources, uname.nodename().to_bytes(), terminal, env))
        .map_err(overflow)
}

/// Logs which capacity was exceeded.
fn overflow(full: Full) -> u8 {
    let (limit, unit) = match full {
        Full::Bytes => (MAX_BYTES as u64, "bytes"),
        Full::Count => (MAX_STRINGS as u64, "strings"),
    };
    error!("arguments or environment: more than {} {}", limit, unit);
    NOT_STARTED
}

/// Bounds the privileges, and makes the new root the real `/` (MS_MOVE, then chroot), so that pivot_root(2) and user namespaces work
/// inside. An error is logged, and returned as the exit code.
#[inline(never)]
pub(crate) fn enter_root(sources: &Sources<'_>, options: &Options<'_>) -> Result<(), u8> {
    caps::apply(sources, options)?;
    let moved = || {
        chdir(ROOT)?;
        mount_move(c".", c"/")?;
        chroot(c".")?;
        chdir(c"/")
    };
    moved().map_err(|errno| {
        log_step(c"move /mnt to /", errno);
        NOT_STARTED
    })
}

/// Sets HOME, WORKDIR, the bounds of privileges, the limits and USER; an error is logged, and returned as the exit code.
///
/// Never inlined: [`execute`] then fits into the stack that this function has used, whatever limit `rlimit=` sets.
#[inline(never)]
fn become_user(sources: &Sources<'_>, options: &Options<'_>, env: &mut Strings) -> Result<(), u8> {
    let (user, workdir) = (options.value(Value::User), options.value(Value::Workdir));
    // Opened before the root changes: /proc is still PID 1's own.
    let (passwd, group) = (open_accounts(c"/etc/passwd"), open_accounts(c"/etc/group"));
    let (mut passwd, mut group) = (Lines::of(passwd.as_ref()), Lines::of(group.as_ref()));
    let mut groups = passwd::Groups::new();
    let account = passwd::account(user, &mut passwd, &mut group, &mut groups).map_err(|problem| {
        error!("user {}: {}", Text(user), Text(problem.name()));
        NOT_STARTED
    })?;
    enter_root(sources, options)?;
    // An empty HOME counts as unset: runc, libcontainer/init_linux.go, setupUser.
    if env.variable(b"HOME").unwrap_or_default().is_empty() {
        env.set(b"HOME=", account.home).map_err(overflow)?;
    }
    let workdir = if workdir.is_empty() { b"/" } else { workdir };
    if let Err(errno) = inside::enter(c"/", workdir) {
        log_failure(c"workdir ", workdir, errno);
        return Err(NOT_STARTED);
    }
    // This process may still raise limits, and is the only one that they apply to.
    settings::apply(sources)?;
    if account.uid != 0 {
        own_streams(account.uid); // The program may open /dev/stdout by name.
    }
    process::become_user(account.uid, account.gid, &groups).map_err(|errno| {
        log_failure(c"user ", user, errno);
        NOT_STARTED
    })
}

/// Opens an account file of the root; execve(2) or the end of the process closes it. Returns `None` when it is missing, or when it is
/// not a regular file, which is logged.
#[inline(never)]
fn open_accounts(path: &CStr) -> ManuallyDrop<Option<Fd>> {
    ManuallyDrop::new(read_or_log(path.to_bytes(), 0, inside::open(path, OFlags::RDONLY)))
}

/// The reasons why a program is not run.
const REASONS: &[u8] =
    b"not found,permission denied,exec format error: not a program for this machine or a #! script,cannot be run";

/// Returns whether a program is there, and its interpreter is not, which is logged: execve(2) has the same error for both.
#[inline(never)]
fn lacks_interpreter(path: &CStr) -> bool {
    if !Feature::Details.is_enabled() {
        return false;
    }
    let mut room = files::buffer::<START>();
    // A program that may only be executed cannot be read.
    let start = fd::open(path, OFlags::NONBLOCK).and_then(|file| fd::read(&file, &mut room));
    let Some(name) = start.ok().and_then(|start| interpreter(start)) else { return false };
    let (name, line) = match name {
        [name @ .., b'\r'] => (name, " (its line ends in CR LF)"),
        name if exists(Path::new().set(name)) => return false,
        name => (name, ""),
    };
    error!("{}: interpreter {}: not found{}", Text(path.to_bytes()), Text(name), line);
    true
}

/// Executes the program, searching the environment's PATH; returns the exit code when that fails.
pub(crate) fn execute(Program { argv, env }: &Program) -> u8 {
    let Some(name) = argv.iter().next() else {
        const TEXTS: &[&[u8]] = &[
            b"nothing to run: no entrypoint on the command line, in ",
            RECORD.to_bytes(),
            b" or in ",
            IMAGE_RECORD.to_bytes(),
        ];
        error!("{}", Text(const { &join::<{ joined_len(TEXTS) }>(TEXTS) }));
        return NOT_STARTED;
    };
    let mut errno = Errno::NOENT;
    if split_once(name, b'/').is_some() {
        let mut path = Path::new();
        let path = path.set(name);
        errno = process::execute(path, argv, env);
        if errno == Errno::NOENT && lacks_interpreter(path) {
            return NOT_FOUND;
        }
    } else {
        for directory in split(env.variable(b"PATH").unwrap_or_default(), b':') {
            let directory = if directory.is_empty() { b"." } else { directory };
            let mut path = Path::new();
            let path = path.join(directory, name);
            match process::execute(path, argv, env) {
                Errno::NOENT if lacks_interpreter(path) => return NOT_FOUND,
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => {}
                // A later directory may have it with permission.
                Errno::ACCESS => errno = Errno::ACCESS,
                other => {
                    errno = other;
                    break;
                }
            }
        }
    }
    let (code, reason) = match errno {
        Errno::NOENT | Errno::NOTDIR => (NOT_FOUND, 0),
        Errno::ACCESS => (NOT_EXECUTABLE, 1),
        Errno::NOEXEC => (NOT_EXECUTABLE, 2),
        _ => (NOT_EXECUTABLE, 3),
    };
    let reason = nth(REASONS, reason);
    error!("{}: {} ({})", Text(name), Text(reason), errno);
    code
}
