//! The power button, read from evdev: the machine has no acpid.
//!
//! ACPI's button is an input device of its own (drivers/acpi/button.c), for PIIX, ICH9 and the generic event device of a
//! microvm alike. The modules `button` and `evdev` create it, if the kernel has them as modules.

use rustix::fs::OFlags;
use whit::error::Errno;

use crate::console::read_or_log;
use crate::files::{self, Path};
use crate::inside;
use crate::sys::c_str;
use crate::sys::call::chdir;
use crate::sys::fd::{self, Fd, Polled};

/// Buttons that are opened: the chassis's, and the second one of some boards.
pub(crate) const MAX_BUTTONS: usize = 2;

/// Input devices that are examined: event0 to event9, one digit. Buttons are among the first, as their drivers are.
const MAX_DEVICES: u8 = 10;

/// sizeof(struct input_event): 16 bytes of time, then type, code and value (include/uapi/linux/input.h).
const EVENT: usize = 24;
/// Type EV_KEY, code KEY_POWER, value 1: pressed. Bytes of a little-endian machine, as x86-64 and arm64 are.
const PRESSED: [u8; 8] = [1, 0, 116, 0, 1, 0, 0, 0];
/// The end of the sysfs attribute of a device that has only KEY_POWER among keys 0 to 127: words of 64 bits, the highest first. A
/// keyboard with a power key has others too. Devices are not opened to find this out: the PS/2 port takes 20 ms for that.
const POWER_ALONE: &[u8] = b"10000000000000 0\n";

/// The power buttons that were found.
#[derive(Default)]
pub(crate) struct Buttons([Option<Fd>; MAX_BUTTONS]);

impl Buttons {
    /// Opens the present power buttons. Their drivers are loaded. Logs any error except ENOENT.
    pub(crate) fn open(&mut self) {
        // A name in a directory is found sooner than a path.
        if chdir(c"/sys/class/input").is_err() {
            return;
        }
        let mut places = self.0.iter_mut();
        for number in 0..MAX_DEVICES {
            let mut file = *b"event0/device/capabilities/key\0";
            file[5] = b'0' + number;
            let mut buffer = files::buffer::<64>();
            // An error: no device has this number; one may have the next.
            if let Ok(keys) = files::read(c_str(&file), &mut buffer)
                && keys.ends_with(POWER_ALONE)
                && let Some(place) = places.next()
                && place.is_none()
            {
                let mut path = Path::new();
                let event = path.join(b"/dev/input", &file[..b"event0".len()]);
                *place = read_or_log(event.to_bytes(), 0, fd::open(event, OFlags::NONBLOCK));
            }
        }
        inside::leave();
    }

    /// The descriptors to poll.
    pub(crate) fn descriptors(&self) -> [Polled; MAX_BUTTONS] {
        let [one, other] = &self.0;
        [Polled::new(one.as_ref()), Polled::new(other.as_ref())]
    }

    /// Returns whether a button was pressed since the last call.
    pub(crate) fn pressed(&mut self) -> bool {
        let mut pressed = false;
        let mut buffer = files::buffer::<EVENT>();
        for place in &mut self.0 {
            while let Some(button) = place {
                match fd::read(button, &mut buffer) {
                    Ok(event) => pressed |= event.last_chunk() == Some(&PRESSED),
                    Err(Errno::AGAIN) => break,
                    Err(_) => *place = None, // The device is gone.
                }
            }
        }
        pressed
    }
}
