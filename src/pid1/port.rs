//! Ports of a virtio serial device, by which the host and the init talk beside the console.
//!
//! The host names them; the kernel numbers them (drivers/char/virtio_console.c), and without udev nobody makes links of the
//! names.

use rustix::fs::OFlags;
use rustix::process::chdir;

use crate::files;
use crate::sys::c_str;
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
        self.may_come = chdir(c"/sys/class/virtio-ports").is_ok();
        if self.may_come {
            self.port = open(WINDOW);
            self.may_come = self.port.is_none();
        }
        let _ = chdir(c"/");
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

/// Opens the port whose name, with a newline, is this; the working directory has the ports.
fn open(name: &[u8]) -> Option<Fd> {
    let mut found = None;
    for number in 0..PORTS {
        let (device, port) = (b'0' + number / 4, b'1' + number % 4);
        let mut file = *b"vport0p0/name\0";
        let mut path = *b"/dev/vport0p0\0";
        (file[5], file[7], path[10], path[12]) = (device, port, device, port);
        let mut buffer = files::buffer::<64>();
        if files::read(c_str(&file), &mut buffer).is_ok_and(|text| text == name) {
            found = fd::open(c_str(&path), OFlags::RDWR | OFlags::NONBLOCK).ok();
        }
    }
    found.inspect(fd::signal_when_ready)
}
