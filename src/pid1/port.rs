//! Ports of a virtio serial device, by which the host and the init talk beside the console.
//!
//! The host names them; the kernel numbers them (drivers/char/virtio_console.c), and without udev nobody makes links of the
//! names.

use rustix::fs::{Access, OFlags, access};
use whit::text::position;

use crate::console::{self, number_line};
use crate::files::{self, Path};
use crate::sys::fd::{self, Fd, WINDOW_SIZE};

/// What the host tells: the size of the terminal that it shows the console in, each time that it changes. And what it hears: the
/// exit code of the workload, a line for each time that one ends.
const NAMES: &[u8] = b"org.whit.window\n org.whit.exit\n";
/// Ports that are looked at: 1 to 4 of the first ten virtio devices, of whatever kind those are.
const NUMBERS: u8 = 40;

/// The ports that are there.
#[derive(Default)]
pub(crate) struct Ports {
    window: Option<Fd>,
    exit: Option<Fd>,
    /// There may be more yet: the device has told of itself, and not of all its ports.
    pub(crate) may_appear: bool,
}

impl Ports {
    /// Looks for those that are not open yet. Nobody else can open one from then on (port_fops_open()), the workload neither.
    ///
    /// One that is open tells by SIGIO when there is something to read, and when its host comes or goes: one without a host
    /// counts as ready all the time (port_fops_poll()).
    pub(crate) fn open(&mut self) {
        if access(c"/sys/class/virtio-ports", Access::EXISTS).is_ok() {
            for number in 0..NUMBERS {
                self.open_one(number);
            }
            self.may_appear = self.window.is_none() || self.exit.is_none();
        }
        self.update_window_size();
    }

    /// Tells an exit code, where somebody hears it.
    pub(crate) fn send_exit_code(&self, code: u8) {
        if let Some(port) = &self.exit {
            number_line("", code.into());
            console::finish_into(port);
        }
    }

    fn open_one(&mut self, number: u8) {
        let mut file = *b"vport0p0/name";
        (file[5], file[7]) = (b'0' + number / 4, b'1' + number % 4);
        let mut path = Path::new();
        let mut buffer = files::buffer::<64>();
        let read = files::read(path.join(b"/sys/class/virtio-ports", &file), &mut buffer);
        let place = match read.ok().and_then(|name| position(NAMES, b' ', name)) {
            Some(0) => &mut self.window,
            Some(_) => &mut self.exit,
            None => return,
        };
        if place.is_none() {
            let port = path.join(b"/dev", &file[..b"vport0p0".len()]);
            *place = fd::open(port, OFlags::RDWR | OFlags::NONBLOCK).inspect(fd::signal_when_ready).ok();
        }
    }

    /// Gives the console the size that the window has now: its foreground hears of that by SIGWINCH.
    pub(crate) fn update_window_size(&self) {
        let mut buffer = files::buffer::<WINDOW_SIZE>();
        // Nothing at all is what can be read without a host.
        while let Some(Ok(size @ [_, ..])) = self.window.as_ref().map(|port| fd::read(port, &mut buffer)) {
            fd::set_window_size(size);
        }
    }
}
