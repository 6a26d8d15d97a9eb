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

/// The way by which the host tells of the console's window; none when there is none.
#[derive(Default)]
pub(crate) struct Window(Option<Fd>);

impl Window {
    /// Looks for it.
    pub(crate) fn open(&mut self) {
        self.0 = open(WINDOW);
    }

    /// What is waited for.
    pub(crate) fn descriptor(&self) -> Option<&Fd> {
        self.0.as_ref()
    }

    /// Gives the console the size that the window has now: its foreground hears of that by SIGWINCH.
    pub(crate) fn follow(&mut self) {
        let mut buffer = files::buffer::<WINDOW_SIZE>();
        while let Some(port) = &self.0 {
            match fd::read(port, &mut buffer) {
                // The host has gone: a port without it is always ready.
                Ok([]) => self.0 = None,
                Ok(size) => fd::set_window_size(size),
                Err(_) => return,
            }
        }
    }
}

/// Opens the port whose name, with a newline, is this.
fn open(name: &[u8]) -> Option<Fd> {
    chdir(c"/sys/class/virtio-ports").ok()?;
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
    let _ = chdir(c"/");
    found
}
