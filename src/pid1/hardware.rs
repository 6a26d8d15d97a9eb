//! Drivers for the machine's hardware, from the index that mkcpio writes.
//!
//! The kernel gives a device's modalias as the property MODALIAS of its uevent, in sysfs and in the event when it appears. Each module of
//! the index with a matching pattern is loaded, first for the devices that are there, then for each that appears, as long as PID 1
//! lives. No bus is treated specially. The index has names too, by which the kernel requests modules that are no driver of a device.

use core::ffi::CStr;
use core::sync::atomic::AtomicBool;

use rustix::fs::OFlags;
use whit::contract::DRIVER_INDEX;
use whit::dirent::names;
use whit::error::Errno;
use whit::features::Feature;
use whit::modalias::matches;
use whit::text::split;

use crate::files::{self, Lines, Path};
use crate::machine::Machine;
use crate::modules;
use crate::sys::call::exists;
use crate::sys::fd::{self, Fd, STDERR};
use crate::sys::{c_str, set_flag};

/// Modaliases of devices, each after a newline: those that are looked up in one pass over the index.
type Devices = heapless::Vec<u8, { MAX_DEVICE + 512 }>;

/// Bytes of a device's properties, its modalias among them (include/linux/kobject.h, UEVENT_BUFFER_SIZE).
const MAX_DEVICE: usize = 2048;

/// Bytes of an event: the properties after the action and the device's path.
const MAX_EVENT: usize = MAX_DEVICE + 512;

/// Modules of the index, by the number of their line. A module past it is not loaded.
const MAX_MODULES: usize = 2048;

/// Which modules of the index were loaded, or could not be: none is tried twice.
static TRIED: [AtomicBool; MAX_MODULES] = [const { AtomicBool::new(false) }; _];

/// Loads the modules for the hardware that is there. Does nothing without an index.
pub(crate) fn load(machine: &mut Machine<'_>) {
    if exists(DRIVER_INDEX) {
        handle(machine, true);
    }
}

/// Answers the kernel, which requests a module by a name or an alias from /sbin/modprobe of the initramfs, where mkcpio has made that a link
/// to the init (kernel/module/kmod.c, __request_module()). Returns whether the index has it.
pub(crate) fn answer(request: &CStr) -> bool {
    // The kernel gives its helper no descriptors.
    fd::reserve();
    !request.is_empty() && look_up(request.to_bytes(), &mut || ())
}

/// Reads the events of devices, and loads the modules for those that have appeared. Returns whether there were events.
pub(crate) fn handle_events(machine: &mut Machine<'_>) -> bool {
    // The buffers of the other function take pages of PID 1's stack.
    match machine.uevents.as_ref().map(fd::peek) {
        None | Some(Err(Errno::AGAIN)) => false,
        // That events were lost is reported once.
        peeked => handle(machine, peeked == Some(Err(Errno::NOBUFS))),
    }
}

/// Handles events until no further device appears; with `walk` all devices first. Returns whether there were events.
#[inline(never)]
fn handle(machine: &mut Machine<'_>, mut walk: bool) -> bool {
    let mut search = Search { machine, devices: Devices::new(), loaded: false };
    let mut received = false;
    loop {
        let mut more = core::mem::take(&mut walk);
        if more {
            // Their paths are absolute.
            let _ = search.collect_below(&STDERR, c"/sys/bus", 3);
            let _ = search.collect_below(&STDERR, c"/sys/class", 2);
        }
        let mut room = files::buffer::<MAX_EVENT>();
        while let Some(uevents) = &search.machine.uevents {
            match fd::receive(uevents, &mut room) {
                Ok(event) if event.first() == Some(&b'a') => search.collect(event, 0), // add@PATH
                Ok(_) => {}
                Err(Errno::NOBUFS) => walk = true, // Events were lost.
                Err(_) => break,
            }
            more = true;
        }
        if !more {
            return received;
        }
        received = true;
        search.look_up();
        // Without events, as of a kernel without sockets, the devices behind a new driver are found by another walk.
        walk |=
            Feature::Members.is_enabled() && core::mem::take(&mut search.loaded) && search.machine.uevents.is_none();
    }
}

struct Search<'a, 'b> {
    machine: &'a mut Machine<'b>,
    devices: Devices,
    /// Whether a module was loaded.
    loaded: bool,
}

impl Search<'_, '_> {
    /// Collects the devices that many levels below a directory: /sys/bus/BUS/devices/DEVICE/uevent, /sys/class/CLASS/DEVICE/uevent.
    /// (Other directories have no such file.)
    fn collect_below(&mut self, parent: &Fd, name: &CStr, levels: u8) -> Result<(), Errno> {
        let directory = fd::open_at(parent, name, OFlags::DIRECTORY)?;
        let mut room = files::buffer::<MAX_DEVICE>();
        if levels == 0 {
            let device = files::read_open(&fd::open_at(&directory, c"uevent", OFlags::RDONLY)?, &mut room)?;
            self.collect(device, b'\n');
            return Ok(());
        }
        while let entries @ [_, ..] = fd::entries(&directory, &mut room)? {
            for name in names(entries) {
                let _ = self.collect_below(&directory, c_str(name), levels - 1);
            }
        }
        Ok(())
    }

    /// Adds a device's modalias from its properties, each of which ends with `end`. A processor's modalias lists its features in over a
    /// kilobyte; the next processor has the same one, which is skipped.
    fn collect(&mut self, properties: &[u8], end: u8) {
        let Some(device) = files::value_in(properties, end, b"MODALIAS=") else { return };
        // (core's `ends_with` would link a panic.)
        let last = self.devices.len().wrapping_sub(device.len());
        if self.devices.get(last..) == Some(device) {
            return;
        }
        if self.devices.len() + device.len() >= self.devices.capacity() {
            self.look_up();
        }
        let _ = self.devices.push(b'\n');
        let _ = self.devices.extend_from_slice(device);
    }

    /// Loads the modules for the collected devices.
    #[inline(never)]
    fn look_up(&mut self) {
        if !self.devices.is_empty() {
            self.loaded |= look_up(&self.devices, &mut || self.machine.handle_network());
            self.devices.clear();
        }
    }
}

/// Loads the modules with a pattern for one of these names, each on a line, in the order of the index. Calls `between` after each
/// module. Returns whether there were any.
#[inline(never)]
fn look_up(names: &[u8], between: &mut dyn FnMut()) -> bool {
    let Ok(index) = fd::open(DRIVER_INDEX, OFlags::RDONLY) else { return false };
    let mut lines = Lines::of(Some(&index));
    let (mut directory, mut module, mut number, mut loaded) = (Path::new(), Path::new(), 0, false);
    directory.set(lines.next().unwrap_or_default());
    while let Some(line) = lines.next() {
        let [b' ', pattern @ ..] = line else {
            module.set(line);
            number += 1;
            continue;
        };
        if split(names, b'\n').any(|name| matches(pattern, name))
            && TRIED.get(number).is_some_and(|tried| !set_flag(tried))
        {
            for file in split(module.text().to_bytes(), b' ').filter(|file| !modules::is_loaded(file)) {
                modules::load_one(directory.text().to_bytes(), file);
                between();
            }
            loaded = true;
        }
    }
    loaded
}
