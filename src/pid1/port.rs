//! Ports of a virtio serial device, between host and init, apart from the console.
//!
//! The host names them; the kernel numbers them (drivers/char/virtio_console.c), and without udev there are no links
//! with the names.

use core::ffi::CStr;

use rustix::fs::OFlags;
use whit::contract::{EXIT_PORT, STREAMS_PORT, WINDOW_PORT, join, joined_len};
use whit::features::Feature;
use whit::text::position;

use crate::console::{self, number_line};
use crate::files::{self, Path};
use crate::sys::fd::{self, Fd, WINDOW_SIZE};
use crate::sys::memory;

/// The names of the ports. From the host: the size of the terminal in which it shows the console, after each change. To the host: the
/// exit code of the workload, a line for each exit. In both directions: the workload's streams.
const NAMES: &[u8] = &join::<{ joined_len(NAME_PARTS) }>(NAME_PARTS);
const NAME_PARTS: &[&[u8]] = if Feature::Streams.is_enabled() {
    &[WINDOW_PORT.as_bytes(), b"\n ", EXIT_PORT.as_bytes(), b"\n ", STREAMS_PORT.as_bytes(), b"\n"]
} else {
    &[WINDOW_PORT.as_bytes(), b"\n ", EXIT_PORT.as_bytes(), b"\n"]
};
/// A directory for each port, such as `vport0p1`.
const DIRECTORY: &CStr = c"/sys/class/virtio-ports";

/// The ports that are open.
#[derive(Default)]
pub(crate) struct Ports {
    window: Option<Fd>,
    exit: Option<Fd>,
    pub(crate) streams: Option<Fd>,
    /// Further ports may appear: the device exists, and not all its ports do.
    pub(crate) may_appear: bool,
}

impl Ports {
    /// Opens the ports that are not open yet. After that no other process can open them (port_fops_open()), including the workload.
    ///
    /// An open port raises SIGIO when there are bytes to read, and when its host connects or disconnects. poll(2) cannot be used: a
    /// port without a host is always ready (port_fops_poll()).
    pub(crate) fn open(&mut self) {
        if let Ok(directory) = fd::open(DIRECTORY, OFlags::DIRECTORY) {
            files::each_name(&directory, &mut |name| self.open_one(name.to_bytes()));
            self.may_appear =
                self.window.is_none() || self.exit.is_none() || Feature::Streams.is_enabled() && self.streams.is_none();
        }
        self.update_window_size();
    }

    /// Sends an exit code, if there is a port for it.
    pub(crate) fn send_exit_code(&self, code: u8) {
        if let Some(port) = &self.exit {
            number_line("", code.into());
            console::finish_into(port);
        }
    }

    fn open_one(&mut self, name: &[u8]) {
        let mut path = Path::new();
        let mut buffer = files::buffer::<64>();
        let read = files::read(path.fill(&[DIRECTORY.to_bytes(), b"/", name, b"/name"]), &mut buffer);
        let place = match read.ok().and_then(|name| position(NAMES, b' ', name)) {
            Some(0) => &mut self.window,
            Some(2) if Feature::Streams.is_enabled() => &mut self.streams,
            Some(_) => &mut self.exit,
            None => return,
        };
        if place.is_none() {
            let port = path.join(b"/dev", name);
            *place = fd::open(port, OFlags::RDWR | OFlags::NONBLOCK).inspect(fd::signal_when_ready).ok();
        }
    }

    /// Sets the size of the console to the size of the host's window; the workload's terminal follows it.
    pub(crate) fn update_window_size(&self) {
        let mut buffer = files::buffer::<WINDOW_SIZE>();
        // Without a host a read returns no bytes.
        while let Some(Ok(size @ [_, ..])) = self.window.as_ref().map(|port| fd::read(port, &mut buffer)) {
            fd::set_window_size(memory::console(), size);
        }
    }
}
