//! Ports of a virtio serial device, by which the host and the init talk beside the console.
//!
//! The host names them; the kernel numbers them (drivers/char/virtio_console.c), and without udev nobody makes links of the
//! names.

use rustix::fs::{Access, OFlags, access};

use crate::files::{self, Path};
use crate::sys::fd::{self, Fd, WINDOW_SIZE};

/// The terminal that the host shows the console in tells its size here, each time that it changes.
const WINDOW: &[u8] = b"org.whit.window\n";
/// Ports that are looked at: 1 to 4 of the first four devices.
const PORTS: u8 = 16;

/// The way by which the host tells of the console's window.
#[derive(Default)]
pub(crate) struct Window {
    port: Option<Fd>,
    /// There may be one yet: the device has told of itself, and not of all its ports.
    pub(crate) may_come: bool,
}

impl Window {
    /// Looks for it. A port that is there tells by SIGIO when there is something to read, and when its host comes or goes: one
    /// without a host counts as ready all the time (port_fops_poll()).
    pub(crate) fn open(&mut self) {
        if access(c"/sys/class/virtio-ports", Access::EXISTS).is_ok() {
            self.port = open(WINDOW);
            self.may_come = self.port.is_none();
        }
        self.follow();
    }

    /// Gives the console the size that the window has now: its foreground hears of that by SIGWINCH.
    pub(crate) fn follow(&self) {
        let mut buffer = files::buffer::<WINDOW_SIZE>();
        // Nothing at all is what can be read without a host.
        while let Some(Ok(size @ [_, ..])) = self.port.as_ref().map(|port| fd::read(port, &mut buffer)) {
            fd::set_window_size(size);
        }
    }
}

/// Opens the port whose name, with a newline, is this.
fn open(name: &[u8]) -> Option<Fd> {
    for number in 0..PORTS {
        let mut file = *b"vport0p0/name";
        (file[5], file[7]) = (b'0' + number / 4, b'1' + number % 4);
        let mut path = Path::new();
        let mut buffer = files::buffer::<64>();
        let read = files::read(path.join(b"/sys/class/virtio-ports", &file), &mut buffer);
        if read.is_ok_and(|text| text == name) {
            let port = path.join(b"/dev", &file[..b"vport0p0".len()]);
            return fd::open(port, OFlags::RDWR | OFlags::NONBLOCK).inspect(fd::signal_when_ready).ok();
        }
    }
    None
}
