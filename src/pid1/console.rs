//! Log lines of the init: whole lines on the consoles, one write each, or in the kernel's log.

use core::convert::Infallible;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::fs::OFlags;
use ufmt::uWrite;
use whit::contract::{PREFIX, join};
use whit::error::Errno;
use whit::features::Feature;
use whit::options::Source;
use whit::text::{Text, cut, strip_prefix};
use whit::time::after_s;

use crate::end::End;
use crate::files::{self, Path};
use crate::machine::{Machine, now_ms};
use crate::message::{error, part};
use crate::supervise;
use crate::sys::argument::Template;
use crate::sys::fd::{self, Fd, STDERR};
use crate::sys::memory;

/// The start of every line: its level, which only the kernel's log gets, and `whit: `.
const START: &[u8] = &join::<{ LEVEL + PREFIX.len() }>(&[b"<3>", PREFIX.as_bytes()]);
/// Length of the level, and the index of its digit (include/linux/kern_levels.h): 3 is an error, 6 information.
const LEVEL: usize = 3;
const LEVEL_DIGIT: usize = 1;
const ERROR: u8 = b'3';
const INFORMATION: u8 = b'6';

/// The text buffer: it holds a log line, or the content of a small file. There is one, in static memory: on the stack of each
/// function that logs, it would make every access to that stack longer.
pub(crate) struct Line;

impl uWrite for Line {
    type Error = Infallible;

    #[inline(never)]
    fn write_str(&mut self, text: &str) -> Result<(), Infallible> {
        text.bytes().for_each(push);
        Ok(())
    }
}

/// Appends a byte to the text buffer.
#[inline(never)]
pub(crate) fn push(byte: u8) {
    memory::with_line(|line| {
        if line.is_empty() {
            let _ = line.extend_from_slice(START);
        }
        let _ = line.push(byte);
    });
}

/// Appends a line `KEYnumber` to the text buffer.
pub(crate) fn number_line(key: &str, number: u32) {
    part!("{}{}\n", key, number);
}

/// Ends the log line and writes it at once, as an error. A failure is ignored: there is no other place to report it.
#[inline(never)]
pub(crate) fn print() {
    print_at(ERROR);
}

/// Ends the log line and writes it at once, as information; drops it when only errors are logged.
#[inline(never)]
pub(crate) fn print_info() {
    if QUIET.load(Ordering::Relaxed) {
        return take(|_| ());
    }
    print_at(INFORMATION);
}

/// Timeout of one wait for the console.
const WAIT_MS: u64 = 200;
/// Bytes that it must send in that time, or it is stuck: at 9,600 baud it sends 192.
const MIN_SENT: i32 = 128;
/// Timeouts before the rest of a line is dropped, 3 s: a reader may pause for that long, and the power button waits no longer.
const MAX_WAITS: u8 = 15;

/// Timeouts that are left; reset when the console has taken a whole line.
static WAITS: AtomicU8 = AtomicU8::new(MAX_WAITS);

/// Waits until the console can take bytes, at most [`WAIT_MS`]. Returns `false` when no timeouts are left.
pub(crate) fn wait_for_room() -> bool {
    let console = memory::console();
    let unsent = fd::unsent(console);
    let Some(left) = WAITS.load(Ordering::Relaxed).checked_sub(1) else { return false };
    if !fd::wait_writable(console, WAIT_MS) && unsent - fd::unsent(console) < MIN_SENT {
        WAITS.store(left, Ordering::Relaxed);
    }
    true
}

/// The console is raw: its lines end in `\r\n`.
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// The modes of a new terminal (drivers/tty/tty_io.c, tty_std_termios): ICRNL and IXON; OPOST and ONLCR; ISIG, ICANON, ECHO, ECHOE,
/// ECHOK, ECHOCTL, ECHOKE and IEXTEN.
pub(crate) const SANE: [u32; 3] = [0x500, 5, 0x8a3b];

/// Sets the console to raw mode, or to [`SANE`]. Returns its encoding ([`fd::set_modes`]) if it is a terminal.
#[inline(never)]
pub(crate) fn set_raw(raw: bool) -> Option<u32> {
    let encoding = fd::set_modes(memory::console(), if raw { [0; 3] } else { SANE });
    IS_RAW.store(raw && encoding.is_some(), Ordering::Relaxed);
    encoding
}

fn print_at(level: u8) {
    // The end of a line that is too long is cut, and not its newline.
    memory::with_line(|line| line.truncate(memory::MAX_LINE - 2));
    let _ = Line.write_str(if IS_RAW.load(Ordering::Relaxed) { "\r\n" } else { "\n" });
    take(|line| {
        if let Some(digit) = line.get_mut(LEVEL_DIGIT) {
            *digit = level;
        }
        // Opened each time: on a descriptor that stays open, the kernel accepts ten lines in five seconds (kernel/printk/printk.c,
        // devkmsg_write()).
        if TO_KERNEL.load(Ordering::Relaxed) && files::write(c"/dev/kmsg", line).is_ok() {
            return;
        }
        let mut rest = line.get(LEVEL..).unwrap_or_default();
        if Feature::Consoles.is_enabled() {
            for other in memory::consoles() {
                let _ = fd::write(other, rest); // Non-blocking: a slow console gets a part of the line.
            }
        }
        while !rest.is_empty() {
            match fd::write_some(memory::console(), rest) {
                Some(written) => rest = rest.get(written..).unwrap_or_default(),
                None if wait_for_room() => {}
                None => return,
            }
        }
        WAITS.store(MAX_WAITS, Ordering::Relaxed);
    });
}

/// Passes the text buffer, without the prefix of a log line, to `use_text`, which must not log. Empties it.
#[inline(never)]
pub(crate) fn finish<R>(use_text: impl FnOnce(&[u8]) -> R) -> R {
    take(|line| use_text(line.get(START.len()..).unwrap_or_default()))
}

/// Writes the text buffer to a descriptor, as [`finish`] passes it. A failure is ignored.
pub(crate) fn finish_into(file: &Fd) {
    let _ = finish(|text| fd::write(file, text));
}

/// Passes the text buffer to `use_line`, and empties it.
fn take<R>(use_line: impl FnOnce(&mut [u8]) -> R) -> R {
    memory::with_line(|line| {
        let done = use_line(line);
        line.clear();
        done
    })
}

/// Only errors are logged.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Log lines go to the kernel's log, which filters by level itself.
static TO_KERNEL: AtomicBool = AtomicBool::new(false);

/// Sets the options `quiet` and `log`.
pub(crate) fn configure(quiet: bool, kernel_log: bool) {
    QUIET.store(quiet && !kernel_log, Ordering::Relaxed);
    TO_KERNEL.store(kernel_log, Ordering::Relaxed);
}

/// Logs a step that failed: `whit: mount /proc: EBUSY`. Of the step only the address is passed, and not its length.
#[inline(never)]
pub(crate) fn log_failure(step: &'static CStr, subject: &[u8], errno: Errno) {
    error!("{}{}: {}", Text(Template::of(step).bytes()), Text(subject), errno);
}

/// Logs a step that failed and has no object: `whit: fork: EAGAIN`.
#[inline(never)]
pub(crate) fn log_step(step: &'static CStr, errno: Errno) {
    log_failure(step, b"", errno);
}

/// Logs a file that was not read: `whit: /whit.conf: 16384 bytes or more are not read`.
#[inline(never)]
pub(crate) fn log_unread(path: &[u8], limit: usize, errno: Errno) {
    match errno {
        Errno::FBIG => error!("{}: {} bytes or more are not read", Text(path), limit),
        errno => log_failure(c"", path, errno),
    }
}

/// Returns the content of a file; logs any error except ENOENT.
pub(crate) fn read_or_log<T>(path: &[u8], limit: usize, read: Result<T, Errno>) -> Option<T> {
    match read {
        Ok(value) => return Some(value),
        Err(Errno::NOENT) => {}
        Err(errno) => log_unread(path, limit, errno),
    }
    None
}

/// Reserves descriptors 0 to 2: no other file gets them. Returns whether the kernel found no console in the initramfs (init/main.c,
/// console_on_rootfs()).
pub(crate) fn reserve() -> bool {
    let is_missing = !fd::is_open(&STDERR);
    fd::reserve();
    is_missing
}

/// Opens the console on descriptors 0 to 2 when it is missing, and once more for PID 1 alone: O_NONBLOCK belongs to the open file
/// description, which the workload and the shell share on descriptors 0 to 2. /dev and /proc are mounted.
///
/// A descriptor that was opened as /dev/console, by the kernel or here, stays open when its terminal is hung up
/// (drivers/tty/tty_io.c, __tty_hangup()).
pub(crate) fn open(is_missing: bool) {
    if is_missing
        && let Ok(console) = fd::open(c"/dev/console", OFlags::RDWR).or_else(|_| fd::open(c"/dev/null", OFlags::RDWR))
    {
        use_terminal(&console);
    }
    let is_terminal = fd::is_terminal(&STDERR);
    let flags = if is_terminal { OFlags::RDWR } else { OFlags::WRONLY | OFlags::APPEND };
    let opened = fd::open(c"/proc/self/fd/2", flags | OFlags::NOCTTY | OFlags::NONBLOCK);
    if is_terminal {
        // Descriptor 2 if the open failed: the workload has a terminal of its own.
        fd::signal_when_ready(opened.as_ref().unwrap_or(&STDERR));
    }
    match opened {
        Ok(console) => memory::set_console(console),
        Err(errno) => log_step(c"console", errno),
    }
}

/// Waits for a console of the command line whose driver was a module: `hvc0` appears some milliseconds after its driver is loaded, when
/// the host has answered (drivers/char/virtio_console.c, handle_control_message()).
pub(crate) fn wait(machine: &mut Machine<'_>) -> Result<(), End> {
    const WAIT_S: u32 = 1;
    if !machine.sources.record(Source::CommandLine).words().any(|word| strip_prefix(word, b"console hvc").is_some()) {
        return Ok(());
    }
    let deadline_ms = after_s(now_ms(), WAIT_S);
    loop {
        let opened = fd::open(c"/dev/console", OFlags::RDWR);
        if let Ok(console) = &opened {
            use_terminal(console);
            open(false);
        }
        if opened.is_ok() || now_ms() >= deadline_ms {
            return Ok(());
        }
        supervise::wait_or_end(machine, deadline_ms)?;
    }
}

/// Opens the consoles other than /dev/console. Their drivers are loaded.
pub(crate) fn open_others() {
    files::each_line(c"/proc/consoles", &mut |line| {
        // `ttyS0                -W- (EC p a)    4:64` (fs/proc/consoles.c): E is enabled, C is /dev/console.
        const FLAGS: usize = 26;
        if let Some([b'E', b' ', ..]) = line.get(FLAGS..) {
            let (name, _) = cut(line, b' ');
            let other = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
            let _ = fd::open(Path::new().join(b"/dev", name), other).map(memory::add_console);
        }
    });
}

/// Duplicates a terminal to descriptors 0 to 2, without O_CLOEXEC.
pub(crate) fn use_terminal(terminal: &Fd) {
    fd::duplicate(terminal, 0);
    fd::duplicate(terminal, 1);
    fd::duplicate(terminal, 2);
}

/// Makes this process the leader of a new session, and a terminal its controlling terminal.
#[inline(never)]
pub(crate) fn lead_session(terminal: &Fd) {
    let _ = rustix::process::setsid();
    fd::control_terminal(terminal);
}
