//! Processes and signals.

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::ptr;

use linux_raw_sys::general::{O_CLOEXEC, O_NONBLOCK, RLIMIT_NOFILE, SIG_SETMASK};
use linux_raw_sys::prctl::{PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS};
use rustix::process::Pid;
use whit::argv::{MAX_STRINGS, Strings};
use whit::error::Errno;
use whit::status::Status;

use super::fd::Fd;
use super::{c_str, done, result};

/// Bytes of a signal set: one bit for each of 64.
const SIGSET_SIZE: usize = 8;

/// `int rt_sigprocmask(int how, const sigset_t *set, sigset_t *oldset, size_t size)` — sigprocmask(2).
#[inline(never)]
fn set_signal_mask(mask: &u64) {
    // SAFETY: the set lives over the call; the old one is not requested.
    unsafe { sc::syscall!(RT_SIGPROCMASK, SIG_SETMASK, &raw const *mask, 0, SIGSET_SIZE) };
}

/// `int signalfd4(int fd, const sigset_t *mask, size_t size, int flags)` — signalfd(2). From here on every signal is
/// blocked, and taken by [`next_signal`]: a blocked one is never ignored, not even by PID 1 (kernel/signal.c, sig_ignored). The
/// descriptor is for poll(2), which it wakes.
pub(crate) fn signal_fd() -> Result<Fd, Errno> {
    let all = u64::MAX;
    set_signal_mask(&all);
    // SAFETY: the set lives over the call; the descriptor is new.
    unsafe { Fd::from_result(sc::syscall!(SIGNALFD4, -1i32, &raw const all, SIGSET_SIZE, O_CLOEXEC | O_NONBLOCK)) }
}

/// `int rt_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout, size_t size)` — sigtimedwait(2): takes
/// the next pending signal, waiting for it at most `wait_s`. Returns its number and its code (sigaction(2), si_code).
pub(crate) fn next_signal(wait_s: u64) -> Option<(u8, i32)> {
    let (all, timeout) = (u64::MAX, [wait_s, 0]);
    // siginfo_t begins with si_signo, si_errno and si_code, and has 128 bytes (include/uapi/asm-generic/siginfo.h).
    let mut information = MaybeUninit::<[i32; 32]>::uninit();
    // SAFETY: set and time live over the call; as many bytes as a siginfo_t has are writable. When there is a signal the kernel has
    // written all of them (kernel/signal.c, copy_siginfo_to_user()).
    unsafe {
        let set = &raw const all;
        let signal = sc::syscall!(RT_SIGTIMEDWAIT, set, information.as_mut_ptr(), timeout.as_ptr(), SIGSET_SIZE);
        let signal = result(signal).ok()?;
        Some((signal as u8, information.assume_init_ref()[2]))
    }
}

/// The process in which a fork returned.
pub(crate) enum Fork {
    /// This is the new process.
    Child,
    /// This is the old process; the child is this one.
    Parent(Pid),
}

/// `long clone(unsigned long flags, void *stack, …)` — clone(2), as fork(2) does it: the flags are the child's exit signal and its
/// new namespaces.
pub(crate) fn fork(flags: u32) -> Result<Fork, Errno> {
    // SAFETY: without CLONE_VM the child runs on its own copy of this stack; there is one thread, and no lock.
    let pid = result(unsafe { sc::syscall!(CLONE, flags, 0, 0, 0, 0) })?;
    Ok(Pid::from_raw(pid as i32).map_or(Fork::Child, Fork::Parent))
}

/// `pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)` — wait4(2): reaps the next exited child; `None` when
/// no child has exited, and an error when there are no children. Children are those whose exit signal is SIGCHLD; with __WCLONE
/// the others, with __WALL both.
pub(crate) fn wait4(options: u32) -> Result<(Option<Pid>, Status), Errno> {
    const ANY: i32 = -1;
    let mut status = 0u32;
    // SAFETY: the word is writable over the call; the usage is not requested.
    let pid = result(unsafe { sc::syscall!(WAIT4, ANY, &raw mut status, options, 0) })?;
    Ok((Pid::from_raw(pid as i32), Status(status)))
}

/// `int kill(pid_t pid, int sig)` — kill(2): a process, its group when negative, all processes but PID 1 when -1.
pub(crate) fn kill(pid: i32, signal: u8) -> Result<(), Errno> {
    // SAFETY: kill takes no pointers.
    done(unsafe { sc::syscall!(KILL, pid.cast_unsigned(), signal) })
}

/// `pid_t getpgid(pid_t pid)` — getpgid(2): whether a process is in the group of its own number.
pub(crate) fn leads_group(pid: i32) -> bool {
    // SAFETY: getpgid takes no pointers.
    unsafe { sc::syscall!(GETPGID, pid.cast_unsigned()) as i32 == pid }
}

/// `int swapoff(const char *path)` — swapoff(2).
pub(crate) fn swap_off(path: &CStr) {
    // SAFETY: the path ends in NUL and lives over the call.
    unsafe { sc::syscall!(SWAPOFF, path.as_ptr()) };
}

/// `int prlimit64(pid_t pid, unsigned resource, const struct rlimit64 *new, struct rlimit64 *old)` — prlimit(2), of this
/// process: sets a soft and a hard limit. When that fails, only the soft limit is set, and the error is still returned.
pub(crate) fn set_limit(resource: u32, [soft, hard]: [u64; 2]) -> Result<(), Errno> {
    let mut limits = [soft, hard];
    // SAFETY: struct rlimit64 is two 64-bit numbers, read or written during the calls.
    unsafe {
        let set = done(sc::syscall!(PRLIMIT64, 0, resource, limits.as_ptr(), 0));
        if set.is_err() {
            sc::syscall!(PRLIMIT64, 0, resource, 0, limits.as_mut_ptr());
            limits[0] = soft;
            sc::syscall!(PRLIMIT64, 0, resource, limits.as_ptr(), 0);
        }
        set
    }
}

/// Raises the limit of PID 1's descriptors to the kernel's default (include/asm-generic/resource.h): root in the workload may have
/// lowered it by prlimit(2).
pub(crate) fn restore_limit() {
    let _ = set_limit(RLIMIT_NOFILE, [1024, 4096]);
}

/// `int setgroups(size_t count, const gid_t *groups)`, `int setgid(gid_t gid)`, `int setuid(uid_t uid)` — setgroups(2),
/// setgid(2), setuid(2), in the order in which each is still permitted.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: that many ids can be read over the call; the others take no pointers.
    unsafe {
        done(sc::syscall!(SETGROUPS, groups.len(), groups.as_ptr()))?;
        done(sc::syscall!(SETGID, gid))?;
        done(sc::syscall!(SETUID, uid))
    }
}

/// `int prctl(int option, unsigned long value, 0, 0, 0)` — prctl(2), an option that takes a number.
#[inline(never)]
fn prctl(option: usize, value: usize) -> Result<(), Errno> {
    // SAFETY: the options that callers pass take no pointers.
    result(unsafe { sc::syscall!(PRCTL, option, value, 0, 0, 0) }).map(drop)
}

/// PR_CAPBSET_DROP and PR_SET_NO_NEW_PRIVS of prctl(2): drops all capabilities but `capabilities`, a bit for each number, from the
/// bounding set. With `no_new`, set-user-ID bits and file capabilities have no effect from here on.
///
/// # Errors
/// EPERM without CAP_SETPCAP. EINVAL is ignored: the kernel does not have that capability.
pub(crate) fn bound_privileges(capabilities: u64, no_new: bool) -> Result<(), Errno> {
    for number in 0..64 {
        if capabilities.wrapping_shr(number) & 1 == 0
            && let Err(errno) = prctl(PR_CAPBSET_DROP as usize, number as usize)
            && errno != Errno::INVAL
        {
            return Err(errno);
        }
    }
    if no_new { prctl(PR_SET_NO_NEW_PRIVS as usize, 1) } else { Ok(()) }
}

/// Pointers to strings, as execve(2) takes them: one more than MAX_STRINGS, so that the last is null.
struct Pointers([*const c_char; MAX_STRINGS + 1]);

impl Pointers {
    const fn none() -> Self {
        Self([ptr::null(); _])
    }

    #[inline(never)]
    fn fill(&mut self, strings: &Strings) {
        for (place, tail) in self.0.iter_mut().zip(strings.tails()).take(MAX_STRINGS) {
            *place = c_str(tail).as_ptr();
        }
    }
}

/// `int execve(const char *path, char *const argv[], char *const envp[])` — execve(2), with an empty signal mask.
/// Returns only on failure, with every signal blocked as before: in PID 1 they are taken by [`next_signal`].
#[inline(never)]
pub(crate) fn execute(path: &CStr, arguments: &Strings, variables: &Strings) -> Errno {
    let (mut argv, mut envp) = (Pointers::none(), Pointers::none());
    argv.fill(arguments);
    envp.fill(variables);
    set_signal_mask(&0);
    // SAFETY: path and strings are NUL-terminated and live over the call; both arrays end in null.
    let returned = unsafe { sc::syscall!(EXECVE, path.as_ptr(), argv.0.as_ptr(), envp.0.as_ptr()) };
    set_signal_mask(&u64::MAX);
    result(returned).err().unwrap_or(Errno::NOEXEC)
}
