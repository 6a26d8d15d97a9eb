//! What whit says: whole lines on the consoles, each by one write, or in the kernel's log.

use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use rustix::io;
use ufmt::{uWrite, uwrite};
use whit::error::Errno;
use whit::text::{Text, split_once};

use crate::files::{self, Path};
use crate::sys;
use crate::sys::fd::{self, Fd};
use crate::sys::memory;

/// How every line of ours begins: the level is for the kernel's log alone.
const PREFIX: &[u8] = b"<3>whit: ";
/// Bytes of the level, and which of them it is (include/linux/kern_levels.h): an error, or for information.
const LEVEL: usize = 3;
const LEVEL_DIGIT: usize = 1;
const ERROR: u8 = b'3';
const INFORMATION: u8 = b'6';

/// The text that is being made: a line of ours, or what a small file will hold. There is one, in static memory: on the stack
/// of everybody who has something to say, it would make every access to that stack longer.
pub(crate) struct Line;

impl uWrite for Line {
    type Error = Infallible;

    #[inline(never)]
    fn write_str(&mut self, text: &str) -> Result<(), Infallible> {
        memory::with_line(|line| {
            let prefix = if line.is_empty() { PREFIX } else { b"" };
            for byte in prefix.iter().copied().chain(text.bytes()) {
                let _ = line.push(byte);
            }
        });
        Ok(())
    }
}

/// A line `KEYnumber` of a text that is being made.
#[inline(never)]
pub(crate) fn number_line(key: &str, number: u32) {
    let _ = uwrite!(Line, "{}{}\n", key, u64::from(number));
}

/// Ends the line and writes it at once. There is nobody to tell when that fails.
#[inline(never)]
pub(crate) fn print() {
    print_at(ERROR);
}

/// Does the same for what is no error.
#[inline(never)]
pub(crate) fn inform() {
    print_at(INFORMATION);
}

fn print_at(level: u8) {
    let _ = Line.write_str("\n");
    take(|line| {
        if let Some(digit) = line.get_mut(LEVEL_DIGIT) {
            *digit = level;
        }
        // Opened each time: of one that stays open, ten lines are taken in five seconds (kernel/printk/printk.c,
        // devkmsg_write()).
        if TO_KERNEL.load(Ordering::Relaxed)
            && fd::open(c"/dev/kmsg", OFlags::WRONLY).and_then(|log| fd::write(&log, line)).is_ok()
        {
            return;
        }
        let mut rest = line.get(LEVEL..).unwrap_or_default();
        for other in memory::consoles() {
            let _ = fd::write(other, rest); // All or, where it cannot follow, a part: it is never waited for.
        }
        while !rest.is_empty()
            && let Ok(written @ 1..) = io::write(sys::console(), rest)
        {
            rest = rest.get(written..).unwrap_or_default();
        }
    });
}

/// Hands the text that was made, for a file and without the prefix, to `use_text`, which has nothing to say itself.
pub(crate) fn finish<R>(use_text: impl FnOnce(&[u8]) -> R) -> R {
    take(|line| use_text(line.get(PREFIX.len()..).unwrap_or_default()))
}

/// Writes the text that was made, as [`finish`] hands it on, to somebody. There is nobody to tell when that fails.
#[inline(never)]
pub(crate) fn finish_into(file: &Fd) {
    let _ = finish(|text| fd::write(file, text));
}

/// Hands the line that was made to `use_line`; the next one begins empty.
fn take<R>(use_line: impl FnOnce(&mut [u8]) -> R) -> R {
    memory::with_line(|line| {
        let done = use_line(line);
        line.clear();
        done
    })
}

/// Only errors are said.
static QUIET: AtomicBool = AtomicBool::new(false);

/// What is said goes to the kernel's log, which goes by the levels itself.
static TO_KERNEL: AtomicBool = AtomicBool::new(false);

/// `quiet` was or was not asked for, and the kernel's log.
pub(crate) fn set(quiet: bool, kernel_log: bool) {
    QUIET.store(quiet && !kernel_log, Ordering::Relaxed);
    TO_KERNEL.store(kernel_log, Ordering::Relaxed);
}

pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says something that is always said: an error, or what was asked for. Numbers are given as u64: to show each width in its
/// own way is a function each.
macro_rules! say {
    ($($argument:tt)*) => {{
        let _ = ufmt::uwrite!($crate::console::Line, $($argument)*);
        $crate::console::print();
    }};
}

/// Says how the boot goes, unless `quiet` was asked for.
macro_rules! tell {
    ($($argument:tt)*) => {
        if !$crate::console::is_quiet() {
            let _ = ufmt::uwrite!($crate::console::Line, $($argument)*);
            $crate::console::inform();
        }
    };
}

pub(crate) use {say, tell};

/// Says that a step failed: `whit: mount /proc: EBUSY`.
#[inline(never)]
pub(crate) fn failed(step: &str, what: &[u8], errno: Errno) {
    say!("{}{}: {}", step, Text(what), errno);
}

/// Says that a file was not read: `whit: /whit.conf: 16384 bytes or more are not read`.
#[inline(never)]
pub(crate) fn unread(path: &[u8], limit: usize, errno: Errno) {
    match errno {
        Errno::FBIG => say!("{}: {} bytes or more are not read", Text(path), limit as u64),
        errno => failed("", path, errno),
    }
}

/// Returns what was read of a file; logs any error except ENOENT.
pub(crate) fn read_or_log<T>(path: &[u8], limit: usize, read: Result<T, Errno>) -> Option<T> {
    match read {
        Ok(value) => return Some(value),
        Err(Errno::NOENT) => {}
        Err(errno) => unread(path, limit, errno),
    }
    None
}

/// Opens the console on descriptors 0 to 2 when the kernel found none in the initramfs (init/main.c,
/// console_on_rootfs). /dev is mounted.
pub(crate) fn open() {
    if io::fcntl_getfd(sys::console()).is_err()
        && let Ok(console) = fd::open(c"/dev/console", OFlags::RDWR).or_else(|_| fd::open(c"/dev/null", OFlags::RDWR))
    {
        be(&console);
        core::mem::forget(console); // It is descriptor 0 itself.
    }
}

/// Opens the consoles beside /dev/console: their drivers are loaded.
pub(crate) fn open_others() {
    files::each_line(c"/proc/consoles", &mut |line| {
        // `ttyS0                -W- (EC p a)    4:64` (fs/proc/consoles.c): enabled, and the one that /dev/console is.
        const FLAGS: usize = 26;
        if let (Some((name, _)), Some([b'E', b' ', ..])) = (split_once(line, b' '), line.get(FLAGS..)) {
            let other = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
            let _ = fd::open(Path::new().join(b"/dev", name), other).map(memory::add_console);
        }
    });
}

/// Makes a terminal descriptors 0 to 2, without O_CLOEXEC: a copy of a copy, as it may be descriptor 0 itself.
pub(crate) fn be(terminal: &Fd) {
    let _ = rustix::stdio::dup2_stdout(terminal);
    let _ = rustix::stdio::dup2_stderr(terminal);
    let _ = rustix::stdio::dup2_stdin(sys::console());
}

/// Makes PID 1 the leader of the console's session. Not the workload: a daemon that is slow to call setsid would get
/// SIGHUP when its parent, the leader, ends.
pub(crate) fn lead_session() {
    let _ = rustix::process::setsid();
    // A console that is no terminal is no error.
    let _ = rustix::process::ioctl_tiocsctty(sys::console());
}
