//! Static memory for values that live as long as the machine, and are too large for the stack.
//!
//! The compiler touches every page of a large stack frame; of static memory the kernel maps only the pages that are used.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use whit::argv::Program;
use whit::cmdline::MAX_COMMAND_LINE;
use whit::record::MAX_RECORD;

use crate::devices::Device;
use crate::network;

/// Room for bytes.
pub(crate) type Room<const SIZE: usize> = [MaybeUninit<u8>; SIZE];

/// Values too large for the stack, each for one purpose. The last of all variables are those that PID 1 uses in part, or not at all: their
/// pages stay untouched.
#[repr(C)]
pub(crate) struct Rooms {
    /// The device of a mount. On the stack it would lie below the frames that load modules.
    pub(crate) device: MaybeUninit<Device>,
    /// The network's.
    pub(crate) network: network::Rooms,
    /// The kernel command line.
    pub(crate) command_line: Room<MAX_COMMAND_LINE>,
    /// The initramfs's run record, and the image's: as a value of its own, that would touch a page before it is used.
    pub(crate) records: [Room<MAX_RECORD>; 2],
    /// The program that a process becomes: the workload, the shell or the image's init.
    pub(crate) program: Program,
}

/// The one value of its type.
struct SharedRooms(UnsafeCell<Rooms>);

// SAFETY: the value is reached through `rooms` alone, by one caller.
unsafe impl Sync for SharedRooms {}

static ROOMS: SharedRooms = SharedRooms(UnsafeCell::new(Rooms {
    device: MaybeUninit::uninit(),
    network: network::Rooms::new(),
    command_line: [MaybeUninit::uninit(); _],
    records: [[MaybeUninit::uninit(); _]; _],
    program: Program::EMPTY,
}));

/// Returns the rooms.
///
/// # Safety
/// It is called once.
pub(super) unsafe fn rooms() -> &'static mut Rooms {
    // SAFETY: no other reference was or will be made.
    unsafe { &mut *ROOMS.0.get() }
}
