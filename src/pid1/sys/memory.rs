//! Static memory for values that live as long as the machine, and are too large for the stack.
//!
//! The compiler touches every page of a large stack frame; of static memory the kernel maps only the pages that are used.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicBool;

use super::arch;
use super::fd::Fd;

/// A value that can be taken once. The flag comes first: past a large value it would touch a page of its own.
#[repr(C)]
pub(crate) struct Static<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `take` alone, by one caller.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Returns the value; `None` for the second caller.
    #[allow(clippy::mut_from_ref, reason = "the flag lets one caller through")]
    pub(crate) fn take(&'static self) -> Option<&'static mut T> {
        if arch::set(&self.taken) {
            return None;
        }
        // SAFETY: the flag was false once only: no other reference was or will be made.
        Some(unsafe { &mut *self.value.get() })
    }
}

/// Room for bytes.
pub(crate) type Room<const SIZE: usize> = [MaybeUninit<u8>; SIZE];

impl<const SIZE: usize> Static<Room<SIZE>> {
    /// Returns room for bytes.
    pub(crate) const fn room() -> Self {
        Self::new([MaybeUninit::uninit(); SIZE])
    }

    /// Returns the room; none for the second caller.
    pub(crate) fn take_room(&'static self) -> &'static mut [MaybeUninit<u8>] {
        match self.take() {
            Some(room) => room,
            None => &mut [],
        }
    }
}

/// Bytes of a line of console output.
pub(crate) const MAX_LINE: usize = 640;

/// The text buffer of console.rs.
struct SharedLine(UnsafeCell<heapless::Vec<u8, MAX_LINE>>);

// SAFETY: the init has one thread; `with_line` is never called from within itself.
unsafe impl Sync for SharedLine {}

static LINE: SharedLine = SharedLine(UnsafeCell::new(heapless::Vec::new()));

/// Passes the text buffer to `change`, which must not call this function.
pub(crate) fn with_line<R>(change: impl FnOnce(&mut heapless::Vec<u8, MAX_LINE>) -> R) -> R {
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

/// Limit on the consoles other than /dev/console.
const MAX_CONSOLES: usize = 3;

/// The consoles other than /dev/console.
struct Consoles(UnsafeCell<heapless::Vec<Fd, MAX_CONSOLES>>);

// SAFETY: the init has one thread; a console is never added while they are iterated.
unsafe impl Sync for Consoles {}

static CONSOLES: Consoles = Consoles(UnsafeCell::new(heapless::Vec::new()));

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
        set_console(Fd::standard_error());
        sc::syscall!(CLOSE_RANGE, 3, u32::MAX, 0);
    }
}

/// Returns the consoles that were added.
pub(crate) fn consoles() -> &'static [Fd] {
    // SAFETY: one thread, and console.rs adds none while it iterates.
    unsafe { &*CONSOLES.0.get() }
}
