//! Memory for what lives as long as the machine, and is too large for the stack.
//!
//! The compiler touches every page of a large stack frame; of these only what is used is ever there.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use super::fd::Fd;

/// A buffer that can be taken once.
pub(crate) struct Static<const SIZE: usize> {
    bytes: UnsafeCell<[MaybeUninit<u8>; SIZE]>,
    taken: AtomicBool,
}

// SAFETY: the bytes are reached through `take` alone, by one caller.
unsafe impl<const SIZE: usize> Sync for Static<SIZE> {}

impl<const SIZE: usize> Static<SIZE> {
    pub(crate) const fn new() -> Self {
        Self { bytes: UnsafeCell::new([MaybeUninit::uninit(); SIZE]), taken: AtomicBool::new(false) }
    }

    /// The buffer; an empty one for the second caller.
    #[allow(clippy::mut_from_ref, reason = "the flag lets one caller through")]
    #[inline(never)]
    pub(crate) fn take(&'static self) -> &'static mut [MaybeUninit<u8>] {
        if self.taken.swap(true, Ordering::Relaxed) {
            return &mut [];
        }
        // SAFETY: the flag was false once only: no other reference was or will be made.
        unsafe { &mut *self.bytes.get() }
    }
}

/// Bytes of a line of console output.
pub(crate) const MAX_LINE: usize = 640;

/// The line that is being made.
struct SharedLine(UnsafeCell<heapless::Vec<u8, MAX_LINE>>);

// SAFETY: the init has one thread; `with_line` is never called from within itself.
unsafe impl Sync for SharedLine {}

static LINE: SharedLine = SharedLine(UnsafeCell::new(heapless::Vec::new()));

/// Lends the line of console output to `change`, which must not ask for it again.
pub(crate) fn with_line<R>(change: impl FnOnce(&mut heapless::Vec<u8, MAX_LINE>) -> R) -> R {
    // SAFETY: one thread, and neither of the two callers (console.rs) calls anything that comes back here.
    change(unsafe { &mut *LINE.0.get() })
}

/// Consoles beside /dev/console.
const MAX_CONSOLES: usize = 3;

/// The consoles beside /dev/console.
struct Consoles(UnsafeCell<heapless::Vec<Fd, MAX_CONSOLES>>);

// SAFETY: the init has one thread; a console is never added while they are iterated.
unsafe impl Sync for Consoles {}

static CONSOLES: Consoles = Consoles(UnsafeCell::new(heapless::Vec::new()));

/// Adds a console; what is too many is closed.
pub(crate) fn add_console(console: Fd) {
    // SAFETY: one thread, and `consoles` is not borrowed: console.rs adds and goes through them in functions of their own.
    let _ = unsafe { &mut *CONSOLES.0.get() }.push(console);
}

/// The consoles that were added.
pub(crate) fn consoles() -> &'static [Fd] {
    // SAFETY: one thread, and console.rs adds none meanwhile.
    unsafe { &*CONSOLES.0.get() }
}
