//! The power button, heard from evdev: no acpid in the machine.
//!
//! ACPI's button is an input device of its own (drivers/acpi/button.c), for PIIX, ICH9 and the generic event device of a
//! microvm alike. The modules `button` and `evdev` make it, where the kernel has them as modules.

use rustix::fs::OFlags;
use whit::error::Errno;

use crate::files;
use crate::sys::c_str;
use crate::sys::fd::{self, Fd};

/// Buttons that are listened to: the chassis's, and those that a board has twice.
pub(crate) const MAX_BUTTONS: usize = 2;

/// sizeof(struct input_event): 16 bytes of time, then type, code and value (include/uapi/linux/input.h).
const EVENT: usize = 24;
/// Type EV_KEY, code KEY_POWER, value 1: pressed. Bytes of a little-endian machine, as x86-64 and arm64 are.
const PRESSED: [u8; 8] = [1, 0, KEY_POWER as u8, 0, 1, 0, 0, 0];
const KEY_POWER: u32 = 116;
const KEY_ESC: u32 = 1;

/// The buttons of this machine, once they were looked for.
#[derive(Default)]
pub(crate) struct Buttons([Option<Fd>; MAX_BUTTONS]);

impl Buttons {
    /// Finds the buttons that there are now: their drivers are loaded.
    pub(crate) fn open(&mut self) {
        let mut places = self.0.iter_mut();
        let mut place = places.next();
        for number in b'0'..=b'9' {
            // An error: there is no further device, or no input at all.
            let Ok(device) = open_device(number) else { return };
            let keys = fd::input_keys(&device);
            let has = |key: u32| keys & 1 << key != 0;
            // A keyboard's power key is the keyboard's: whoever reads that decides.
            if has(KEY_POWER) && !has(KEY_ESC) {
                match place {
                    Some(empty @ None) => *empty = Some(device),
                    _ => return,
                }
                place = places.next();
            }
        }
    }

    /// What is waited for.
    pub(crate) fn descriptors(&self) -> [Option<&Fd>; MAX_BUTTONS] {
        self.0.each_ref().map(Option::as_ref)
    }

    /// Whether one was pressed since the last call.
    pub(crate) fn pressed(&self) -> bool {
        let mut pressed = false;
        let mut buffer = files::buffer::<EVENT>();
        for button in self.0.iter().flatten() {
            while let Ok(event) = fd::read(button, &mut buffer) {
                pressed |= event.last_chunk() == Some(&PRESSED);
            }
        }
        pressed
    }
}

fn open_device(number: u8) -> Result<Fd, Errno> {
    let mut path = *b"/dev/input/event0\0";
    let [.., last, _] = &mut path;
    *last = number;
    fd::open(c_str(&path), OFlags::NONBLOCK)
}
