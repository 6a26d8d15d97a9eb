//! Each system call of a boot fails once, by strace's fault injection, with errors that it can have. No failure stops PID 1.
//!
//! [`TABLE`] has every call from the first of `/init` to the end of the machine, of the process that becomes the workload too, and the
//! required outcome of its failure. A call that is not in the table fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use whit_tests::attack;
use whit_tests::namespace::{End, Finished, Lan, Machine};

/// The required outcome of a failure. In any case the machine powers off in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The workload runs, and its exit code is the machine's.
    GoesOn,
    /// The same, and a line of the console has the error's name.
    GoesOnSaying,
    /// The workload runs, but a line of the console may be missing.
    LosesALine,
    /// The workload runs or not, depending on the purpose of the call; a line of the console has the error's name.
    Says,
    /// The workload does not run: exit code 125 or 126, and a line of the console has the error's name.
    EndsInOrder,
}

use Outcome::{EndsInOrder, GoesOn, GoesOnSaying, LosesALine, Says};

/// The start of a call as strace shows it, after `init ` or `child ` when only that process's is meant; a part of the same line; errors
/// that the call can have, the most likely first; and the required outcome. The first row that matches a call counts.
type Row = (&'static str, &'static str, &'static [&'static str], Outcome);

/// A call that has no errors, or none that a kernel gives PID 1.
const NEVER: &[&str] = &[];
/// Errors of a path, and of a new descriptor.
const PATH: &[&str] = &["EIO", "ENOMEM"];
const OPEN: &[&str] = &["EMFILE", "ENOMEM", "EIO"];
/// Without EROFS, which is no failure: a root may be read-only.
const MAKE: &[&str] = &["ENOSPC", "EIO"];

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("access(", "", PATH, GoesOn),
    ("bind(", "", &["ENOMEM", "EADDRINUSE"], GoesOnSaying),
    ("init chdir(", "", PATH, GoesOn),
    ("child chdir(", "", PATH, EndsInOrder),
    ("chroot(", "", &["EPERM", "ENOMEM"], EndsInOrder),
    ("clock_gettime(", "", NEVER, GoesOn),
    ("clone(", "CLONE_NEWNS", &["EAGAIN", "ENOMEM"], EndsInOrder),
    ("clone(", "", &["EAGAIN", "ENOMEM"], GoesOn),
    ("close(", "", &["EIO"], GoesOn),
    ("dup2(", "", NEVER, GoesOn), // Both descriptors are open.
    ("execve(", "", NEVER, GoesOn), // The first is /init's own; workload.rs has programs that cannot be executed.
    ("exit_group(", "", NEVER, GoesOn),
    ("init fchdir(", "", PATH, Says),
    ("child fchdir(", "", PATH, EndsInOrder),
    ("fchown(", "", &["EPERM", "EROFS"], GoesOn),
    ("fcntl(", "F_GETFD", NEVER, GoesOn), // EBADF: there is no console.
    ("fcntl(", "", &["ENOMEM"], GoesOn),
    ("ftruncate(", "", &["EIO", "ENOSPC"], GoesOnSaying),
    ("getdents64(", "", PATH, GoesOn),
    ("geteuid(", "", NEVER, GoesOn),
    ("getpgid(", "", NEVER, GoesOn), // The workload is not reaped yet.
    ("getpid(", "", NEVER, GoesOn),
    ("ioctl(", "", &["EIO"], GoesOn),
    ("kill(", "", &["EPERM"], GoesOn),
    ("init mkdir(", "\"/sys\"", MAKE, EndsInOrder),
    ("init mkdir(", "\"/mnt\"", MAKE, GoesOn),
    ("init mkdir(", "\"/mnt/", MAKE, EndsInOrder),
    ("init mkdir(", "", MAKE, GoesOnSaying),
    ("child mkdir(", "", MAKE, EndsInOrder),
    ("mknod(", "", MAKE, GoesOn),
    ("init mount(", "\"/sys\", \"sysfs\"", &["EPERM", "ENOMEM"], Says),
    ("init mount(", "\"/run/whit/", &["ENOMEM", "EPERM"], GoesOnSaying),
    ("init mount(", "MS_BIND", &["ENOMEM", "EPERM"], EndsInOrder),
    ("init mount(", "", &["EPERM", "ENOMEM"], GoesOnSaying),
    ("child mount(", "", &["ENOMEM", "EPERM"], EndsInOrder),
    ("openat(", "\"/proc/cmdline\"", OPEN, EndsInOrder),
    ("openat(", "\"/whit.conf\"", OPEN, GoesOnSaying),
    ("openat(", "\"/lib/modules/load\"", OPEN, GoesOnSaying),
    ("openat(", "\".whit.new\"", OPEN, GoesOnSaying),
    ("openat(", "\"/proc/self/fd/2\"", OPEN, GoesOnSaying),
    ("init openat(", "\"/\", O_RDONLY|O_CLOEXEC|O_PATH", OPEN, EndsInOrder),
    ("child openat(", "\"/\", O_RDONLY|O_CLOEXEC|O_PATH", OPEN, EndsInOrder),
    ("child openat(", "\"/mnt\"", OPEN, GoesOnSaying),
    ("openat(", "", OPEN, GoesOn),
    ("init openat2(", "\"/mnt/", OPEN, EndsInOrder),
    ("init openat2(", "\"/run/whit", OPEN, GoesOn),
    ("init openat2(", "", OPEN, GoesOnSaying),
    ("child openat2(", "\"/etc/", OPEN, GoesOnSaying),
    ("child openat2(", "", OPEN, EndsInOrder),
    ("poll(", "", &["EINTR", "ENOMEM"], GoesOn),
    ("prctl(", "", &["EPERM", "ENOSYS"], EndsInOrder),
    ("pread64(", "", &["EIO"], GoesOn),
    ("prlimit64(", "", &["EPERM"], GoesOn),
    ("pwrite64(", "(Bad file descriptor)", NEVER, GoesOn), // Of a descriptor for a path alone.
    ("pwrite64(", "", &["ENOSPC", "EIO"], GoesOnSaying),
    ("read(", ", 4096)", &["EIO"], EndsInOrder), // The command line.
    ("read(", "", NEVER, GoesOn), // Terminals, both of whose sides are open.
    ("readlinkat(", "", PATH, GoesOn),
    ("reboot(", "", NEVER, GoesOn), // Its failure would be another end of the machine.
    ("recvfrom(", "", &["ENOBUFS", "ENOMEM"], GoesOn),
    ("recvmsg(", "", &["ENETDOWN", "ENOMEM"], GoesOn),
    ("rename(", "", MAKE, GoesOnSaying),
    ("rt_sigprocmask(", "", NEVER, GoesOn),
    ("rt_sigtimedwait(", "", &["EINTR"], GoesOn),
    ("sendto(", "", &["ENOBUFS", "ENETDOWN"], GoesOnSaying),
    ("setgid(", "", &["EPERM"], EndsInOrder),
    ("setgroups(", "", &["EPERM", "ENOMEM"], EndsInOrder),
    ("sethostname(", "", &["EPERM"], GoesOnSaying),
    ("setpgid(", "", &["EPERM"], GoesOn),
    ("setsid(", "", &["EPERM"], GoesOn),
    ("setsockopt(", "SO_ATTACH_FILTER", &["ENOMEM"], GoesOn),
    ("setsockopt(", "", &["ENOMEM"], GoesOnSaying),
    ("setuid(", "", &["EPERM", "EAGAIN"], EndsInOrder),
    ("signalfd4(", "", &["EMFILE", "ENOMEM"], GoesOnSaying),
    ("socket(", "", &["EMFILE", "ENOMEM"], GoesOnSaying),
    ("statx(", "\"/proc\"", NEVER, GoesOn), // The init would mount another /proc over the one that guards the host.
    ("statx(", "", PATH, GoesOn),
    ("symlink(", "", MAKE, GoesOn),
    ("sync(", "", NEVER, GoesOn),
    ("umask(", "", NEVER, GoesOn),
    ("uname(", "", NEVER, GoesOn),
    ("unlink(", "", PATH, GoesOn),
    ("wait4(", "", NEVER, GoesOn), // ECHILD: there are no children.
    ("write(", "\"whit: ", &["EIO", "EAGAIN"], LosesALine),
    ("write(", "\"attack: ", NEVER, GoesOn), // The workload's own.
    ("init write(", "", &["ENOSPC", "EIO"], GoesOnSaying),
    ("child write(", "", &["EPERM"], GoesOn),
];

/// How long a machine may take, on a busy host.
const LIMIT: Duration = Duration::from_secs(20);
/// Machines at a time: each waits for most of its time.
const WORKERS: usize = 4;

/// A boot: its console and end, and its calls.
struct Boot {
    /// The console alone when it has not ended.
    finished: Result<Finished, String>,
    /// The calls since `/init` was executed, each after `init ` or `child `.
    calls: Vec<String>,
    /// How often each was called before, in the process that became PID 1.
    before: BTreeMap<String, usize>,
}

/// The name of the call that a line of [`Boot::calls`] begins.
fn name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(' ')?.1.split_once('(')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(name)
}

/// The parts of a machine beside a root and a workload of another user with bounded privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    /// A DHCP server; the console is a pipe.
    Network,
    /// The console is a terminal, and so is the workload's.
    Terminal,
    /// The root is read-only: files are mounted on those of /etc.
    ReadOnlyRoot,
}

/// Boots a machine in which one call fails.
fn boot(has: Has, fault: Option<&str>) -> Boot {
    // strace can lose a process that it has just attached to, or interrupt its system call.
    (0..5).find_map(|_| boot_once(has, fault)).expect("a log of strace's with /init")
}

/// [`boot`]; `None` when strace has not seen `/init`.
fn boot_once(has: Has, fault: Option<&str>) -> Option<Boot> {
    let machine = Machine::new()
        .program("/rootfs/bin/attack", &attack())
        .directory("/rootfs/etc")
        .command_line("entrypoint=\"/bin/attack effective\" whit.user=33:44 whit.caps=default whit.no_new_privs")
        .command_line("whit.net.timeout=2 whit.grace=1 nameserver=192.0.2.1");
    let (machine, served) = match has {
        Has::Network => {
            let (machine, lan) = (machine.command_line("whit.workdir=/made/here").prepare(), Lan::new());
            lan.plug(&machine, "eth0");
            let server = lan.serve(&[]);
            (machine, Some((lan, server)))
        }
        Has::Terminal => (machine.command_line("whit.net=off").terminal().prepare(), None),
        Has::ReadOnlyRoot => {
            let machine =
                ["/dev", "/proc", "/sys"].iter().fold(machine.command_line("whit.net=off ro"), |machine, path| {
                    machine.directory(&format!("/rootfs{path}"))
                });
            let files = ["hosts", "hostname", "resolv.conf"];
            let machine = files.iter().fold(machine, |machine, name| machine.file(&format!("/rootfs/etc/{name}"), ""));
            (machine.prepare(), None)
        }
    };
    let mut options = vec!["-f"];
    options.extend(fault.iter().flat_map(|fault| ["-e", *fault]));
    let strace = machine.strace(&options);
    let finished = machine.start().finish_within(LIMIT);
    drop(served);
    let log = strace.finish();
    let init = log.split(' ').next().unwrap_or_default();
    let mut calls = Vec::new();
    let mut unfinished = BTreeMap::new();
    for line in log.lines() {
        let (process, call) = line.split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, start);
            continue;
        }
        // Another process's line came between the two halves.
        let end = call.strip_prefix("<... ").and_then(|call| Some(call.split_once(" resumed>")?.1));
        let start = if end.is_some() { unfinished.remove(process).unwrap_or_default() } else { "" };
        let process = if process == init { "init" } else { "child" };
        calls.push(format!("{process} {start}{}", end.unwrap_or(call)));
    }
    let executed = calls.iter().position(|line| line.starts_with("init execve(\"/init\""))?;
    let mut before = BTreeMap::new();
    for line in calls.drain(..=executed).collect::<Vec<_>>().iter().filter_map(|line| name(line)) {
        *before.entry(line.to_owned()).or_default() += 1;
    }
    Some(Boot { finished, calls, before })
}

fn row_of(line: &str) -> Option<&'static Row> {
    let call = line.split_once(' ').map_or("", |(_, call)| call);
    TABLE.iter().find(|(start, part, ..)| (line.starts_with(start) || call.starts_with(start)) && line.contains(part))
}

/// Returns the violation of a boot in which a call had this error; `None` when the fault was not injected.
fn judge(boot: &Boot, errno: &str) -> Option<Result<Outcome, String>> {
    let hit: Vec<&String> = boot.calls.iter().filter(|line| line.ends_with("(INJECTED)")).collect();
    let rows: Option<Vec<_>> = hit.iter().map(|line| row_of(line)).collect();
    let Some(rows) = rows else { return Some(Err(format!("not in the table: {hit:#?}"))) };
    let required = rows.iter().map(|row| row.3).max()?;
    let finished = match &boot.finished {
        Ok(finished) => finished,
        Err(console) => return Some(Err(format!("{hit:#?}\nno end in {LIMIT:?}:\n{console}"))),
    };
    let says = finished.console.lines().any(|line| line.starts_with("whit: ") && line.contains(errno));
    let runs = finished.says("attack: is not root") && finished.says("whit: exit 0");
    let fails =
        !finished.says("attack: is not root") && (finished.says("whit: exit 125") || finished.says("whit: exit 126"));
    let is_right = match required {
        GoesOn => runs,
        GoesOnSaying => runs && says,
        LosesALine => finished.says("attack: is not root"),
        Says => (runs || fails) && says,
        EndsInOrder => fails && says,
    };
    if is_right && finished.end == End::PowerOff {
        return Some(Ok(required));
    }
    Some(Err(format!("{hit:#?}\nis not {required:?}, but {:?}:\n{}", finished.end, finished.console)))
}

/// Boots with each of these faults, and asserts the outcome.
fn all_are_right(has: Has, faults: Vec<(String, usize, &str)>) {
    let (faults, wrong) = (Mutex::new(faults), Mutex::new(Vec::new()));
    let counts = Mutex::new(BTreeMap::<String, u32>::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((call, when, errno)) = faults.lock().unwrap().pop() else { return };
                    let result = judge(&boot(has, Some(&format!("inject={call}:error={errno}:when={when}"))), errno);
                    let kind = match result {
                        None => "not hit".to_owned(),
                        Some(Ok(outcome)) => format!("{outcome:?}"),
                        Some(Err(problem)) => {
                            wrong.lock().unwrap().push(format!("{call} {when} {errno}: {problem}"));
                            "wrong".to_owned()
                        }
                    };
                    *counts.lock().unwrap().entry(kind).or_default() += 1;
                }
            });
        }
    });
    println!("{:?}", counts.into_inner().unwrap());
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

/// The faults of a boot: a call's name, how often it is called by that process until it fails, and its error. Those of one row and
/// one process that are further than `most` are left out, and errors but the first when `all_errors` is false.
fn faults(has: Has, most: usize, all_errors: bool) -> Vec<(String, usize, &'static str)> {
    let boot = boot(has, None);
    let console = &boot.finished.as_ref().expect("it ends").console;
    assert!(console.contains("\nattack: is not root\nwhit: exit 0\n"), "{console}");
    let mut counts = [boot.before.clone(), BTreeMap::new()];
    let mut of_row = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    let (mut faults, mut never) = (BTreeSet::new(), BTreeSet::new());
    for line in &boot.calls {
        let Some(call) = name(line) else { continue };
        let place = usize::from(line.starts_with("child "));
        let count = counts[place].entry(call.to_owned()).or_insert(0);
        *count += 1;
        let Some((start, part, errors, _)) = row_of(line) else {
            unknown.insert(line);
            continue;
        };
        if errors.is_empty() {
            never.insert((call.to_owned(), *count));
        }
        let in_row = of_row.entry((place, start, part)).or_insert(0);
        *in_row += 1;
        if *in_row <= most && has.is_tested(call) {
            let errors = if all_errors { errors } else { &errors[..errors.len().min(1)] };
            faults.extend(errors.iter().map(|errno| (call.to_owned(), *count, *errno)));
        }
    }
    assert!(unknown.is_empty(), "not in the table: {unknown:#?}");
    // The call of the same number fails in each process: `enter`, the guard and calls that must not fail are left out.
    never.extend(boot.before.iter().flat_map(|(call, count)| (0..=*count).map(|count| (call.clone(), count))));
    faults.into_iter().filter(|(call, count, _)| !never.contains(&(call.clone(), *count))).collect()
}

impl Has {
    /// Whether a call fails in such a machine: in one with a network all do.
    fn is_tested(self, call: &str) -> bool {
        let own: &[&str] = match self {
            Self::Network => return true,
            Self::Terminal => &["close", "fcntl", "ioctl", "openat", "poll", "setsid", "write"],
            Self::ReadOnlyRoot => &["ftruncate", "mkdirat", "mount", "pwrite64"],
        };
        own.contains(&call)
    }
}

/// Limits for the calls of one row by default and in the long tier: some rows are loops over device numbers.
const FEW: usize = 4;
const MANY: usize = 60;

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_call_of_each_kind_fails_and_pid_1_goes_on_or_ends_in_order() {
    all_are_right(Has::Network, faults(Has::Network, FEW, false));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_call_for_the_terminal_fails_and_pid_1_goes_on_or_ends_in_order() {
    all_are_right(Has::Terminal, faults(Has::Terminal, FEW, false));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_call_for_a_read_only_root_fails_and_it_is_never_writable() {
    all_are_right(Has::ReadOnlyRoot, faults(Has::ReadOnlyRoot, MANY, false));
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a machine for every call and error: cargo selftest -- --long runs it"]
    fn every_call_fails_and_pid_1_goes_on_or_ends_in_order() {
        for has in [Has::Network, Has::Terminal, Has::ReadOnlyRoot] {
            all_are_right(has, faults(has, MANY, true));
        }
    }
}
