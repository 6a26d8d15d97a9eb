//! Small values that the whole init shares: the text buffer and the consoles.

use core::cell::UnsafeCell;

use super::fd::Fd;

/// Bytes of a line of console output.
pub(crate) const MAX_LINE: usize = 640;

/// The text buffer of console.rs.
struct SharedLine(UnsafeCell<whit::bounded::Vec<u8, MAX_LINE>>);

// SAFETY: the init has one thread; `with_line` is never called from within itself.
unsafe impl Sync for SharedLine {}

static LINE: SharedLine = SharedLine(UnsafeCell::new(whit::bounded::Vec::new()));

/// Passes the text buffer to `change`, which must not call this function.
pub(crate) fn with_line<R>(change: impl FnOnce(&mut whit::bounded::Vec<u8, MAX_LINE>) -> R) -> R {
    // SAFETY: one thread, and neither of the two callers (console.rs) calls a function that calls this one.
    change(unsafe { &mut *LINE.0.get() })
}

/// The console that PID 1 itself uses.
struct Console(UnsafeCell<Fd>);

// SAFETY: the init has one thread; no reference that `console` returned is in use when `set_console` replaces the value.
unsafe impl Sync for Console {}

static CONSOLE: Console = Console(UnsafeCell::new(Fd::standard_error()));

/// Returns the console that PID 1 itself uses: descriptor 2 until [`set_console`] replaces it.
pub(crate) fn console() -> &'static Fd {
    // SAFETY: one thread; see above.
    unsafe { &*CONSOLE.0.get() }
}

/// Replaces the descriptor of the console; the old one stays open.
pub(crate) fn set_console(console: Fd) {
    // SAFETY: as above.
    core::mem::forget(core::mem::replace(unsafe { &mut *CONSOLE.0.get() }, console));
}

/// Makes descriptor 2 the console, as it is before [`set_console`].
pub(crate) fn reset_console() {
    set_console(Fd::standard_error());
}

/// Limit on the consoles other than /dev/console.
const MAX_CONSOLES: usize = 3;

/// The consoles other than /dev/console.
struct Consoles(UnsafeCell<whit::bounded::Vec<Fd, MAX_CONSOLES>>);

// SAFETY: the init has one thread; a console is never added while they are iterated.
unsafe impl Sync for Consoles {}

static CONSOLES: Consoles = Consoles(UnsafeCell::new(whit::bounded::Vec::new()));

/// Adds a console; closes it if there are too many.
pub(crate) fn add_console(console: Fd) {
    // SAFETY: one thread, and `consoles` is not borrowed: console.rs adds and iterates in separate functions.
    let _ = unsafe { &mut *CONSOLES.0.get() }.push(console);
}

/// `int close_range(unsigned first, unsigned last, unsigned flags)` — close_range(2): closes all but descriptors 0 to 2 (Linux 5.9).
/// The consoles that log lines go to are dropped first, and descriptor 2 is the console then. Other values that own a descriptor must
/// not be used any more.
pub(crate) fn close_all() {
    // SAFETY: as above; close_range takes no pointers, and the process does not use the other descriptors of PID 1.
    unsafe {
        (*CONSOLES.0.get()).clear();
        reset_console();
        sc::syscall!(CLOSE_RANGE, 3, u32::MAX, 0);
    }
}

/// Returns the consoles that were added.
pub(crate) fn consoles() -> &'static [Fd] {
    // SAFETY: one thread, and console.rs adds none while it iterates.
    unsafe { &*CONSOLES.0.get() }
}
