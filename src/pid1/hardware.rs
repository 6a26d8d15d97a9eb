//! Drivers for the machine's hardware, from the index that mkcpio writes.
//!
//! The kernel gives a device's modalias as the property MODALIAS of its uevent, in sysfs and in the event when it appears. Each module of
//! the index with a matching pattern is loaded, first for the devices that are there, then for each that appears, as long as PID 1
//! lives. No bus is treated specially. The index has names too, by which the kernel requests modules that are no driver of a device.
//!
//! A controller may take seconds to look for its disks, and the kernel's function that loads a module returns after that. With the
//! feature `modules` the drivers that mkcpio has put into the second part of the index come last, and are loaded in children, as are all
//! that come later: the root and the network do not wait for them.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::fs::OFlags;
use whit::contract::{DRIVER_INDEX, FULL_DRIVER_INDEX};
use whit::error::Errno;
use whit::features::Feature;
use whit::modalias::{MAX_DRIVERS, matches};
use whit::options::Source;
use whit::record::Record;
use whit::text::{split, split_once, value_in};
use whit::time::after_s;

use crate::console;
use crate::end::End;
use crate::files::{self, Lines, Path};
use crate::machine::{Machine, now_ms, signal};
use crate::modules;
use crate::supervise;
use crate::sys;
use crate::sys::call::exists;
use crate::sys::fd::{self, Fd, STDERR};
use crate::sys::process::{Fork, fork};

/// Modaliases of devices, each after a newline: those that are looked up in one pass over the index.
type Devices = whit::bounded::Vec<u8, { MAX_DEVICE + 512 }>;

/// Bytes of a device's properties, its modalias among them (include/linux/kobject.h, UEVENT_BUFFER_SIZE).
const MAX_DEVICE: usize = 2048;

/// Bytes of an event: the properties after the action and the device's path.
const MAX_EVENT: usize = MAX_DEVICE + 512;

/// What became of each module of the index, by the number of its line: the first one has number 1, and the empty line has one too. mkcpio
/// writes no more.
static STATES: [AtomicU8; MAX_DRIVERS + 2] = [const { AtomicU8::new(UNKNOWN) }; _];
/// No device has asked for it.
const UNKNOWN: u8 = 0;
/// It is loaded when all devices that are there have their drivers of the first part.
const LATER: u8 = 1;
/// It was loaded, or could not be: none is tried twice.
const TRIED: u8 = 2;

/// For whom modules are looked up in the index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// For the devices that are there: those of the second part are loaded later.
    First,
    /// For the same devices, and those that come after them: each driver is loaded in a child.
    Late,
    /// For the kernel, which waits for them; and where no event would tell of the devices behind a driver.
    Now,
}

/// Children that load drivers.
static LOADING: AtomicU8 = AtomicU8::new(0);
/// One of them may be that of a network card: it is of the first part.
static MAY_BE_NETWORK: AtomicBool = AtomicBool::new(false);

/// Returns whether a driver is being loaded.
pub(crate) fn is_loading() -> bool {
    LOADING.load(Ordering::Relaxed) > 0
}

/// Returns whether the driver of a network card may be being loaded.
pub(crate) fn may_load_network() -> bool {
    is_loading() && MAY_BE_NETWORK.load(Ordering::Relaxed)
}

/// Notes that a child of the kind that loads drivers has ended.
pub(crate) fn ended() {
    LOADING.store(LOADING.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
}

/// Waits until no driver is being loaded, for at most [`LOADING_WAIT_S`]: its child would be killed, and the driver not tried again.
pub(crate) fn finish(machine: &mut Machine<'_>) -> Result<(), End> {
    let deadline_ms = after_s(now_ms(), LOADING_WAIT_S);
    while is_loading() && now_ms() < deadline_ms {
        supervise::wait_or_end(machine, deadline_ms)?;
    }
    Ok(())
}

/// Limit for a driver to look for its devices: a SCSI bus with fifteen empty places takes a few seconds.
const LOADING_WAIT_S: u32 = 30;

/// The index.
const INDEX: &CStr = if Feature::Modules.is_enabled() { FULL_DRIVER_INDEX } else { DRIVER_INDEX };

/// Returns whether there is an index.
pub(crate) fn has_index() -> bool {
    exists(INDEX)
}

/// Loads the modules for the hardware that is there. Does nothing without an index.
pub(crate) fn load(machine: &mut Machine<'_>) {
    if has_index() {
        handle(machine, true, Turn::First);
    }
}

/// Answers the kernel, which requests a module by a name or an alias from /sbin/modprobe of the initramfs, where mkcpio has made that a link
/// to the init (kernel/module/kmod.c, __request_module()). Returns whether the index has it.
pub(crate) fn answer(request: &CStr) -> bool {
    // A request is one name: of what a user may ask for, the kernel writes the prefix.
    let name = request.to_bytes();
    if name.is_empty() || split_once(name, b'\n').is_some() {
        return false;
    }
    // The kernel gives its helper no descriptors.
    fd::reserve();
    console::configure(false, true);
    look_up(name, Turn::Now, Record::default(), &mut || ())
}

/// Reads the events of devices, and loads the modules for those that have appeared. Returns whether there were events.
pub(crate) fn handle_events(machine: &mut Machine<'_>) -> bool {
    // The buffers of the other function take pages of PID 1's stack.
    match machine.uevents.as_ref().map(fd::peek) {
        None | Some(Err(Errno::AGAIN)) => false,
        // That events were lost is reported once.
        peeked => handle(machine, peeked == Some(Err(Errno::NOBUFS)), Turn::Late),
    }
}

/// Handles events until no further device appears; with `walk` all devices first. Returns whether there were events.
#[inline(never)]
fn handle(machine: &mut Machine<'_>, mut walk: bool, turn: Turn) -> bool {
    let turn = if machine.uevents.is_none() { Turn::Now } else { turn };
    let mut search = Search { machine, devices: Devices::new(), loaded: false, turn };
    let mut received = false;
    loop {
        let mut more = core::mem::take(&mut walk);
        if more {
            // Their paths are absolute.
            let _ = search.collect_below(&STDERR, c"/sys/bus", 3);
            let _ = search.collect_below(&STDERR, c"/sys/class", 2);
        }
        more |= search.receive(&mut walk);
        if !more {
            if !Feature::Modules.is_enabled() || search.turn != Turn::First {
                return received;
            }
            search.turn = Turn::Late;
        }
        received = true;
        if !more || !search.devices.is_empty() {
            search.look_up();
        }
        // Without events, as of a kernel without sockets, the devices behind a new driver are found by another walk.
        walk |=
            Feature::Members.is_enabled() && core::mem::take(&mut search.loaded) && search.machine.uevents.is_none();
    }
}

/// Small fields come first, as in the machine.
#[repr(C)]
struct Search<'a, 'b> {
    machine: &'a mut Machine<'b>,
    turn: Turn,
    /// Whether a module was loaded.
    loaded: bool,
    devices: Devices,
}

impl Search<'_, '_> {
    /// Collects the devices that have appeared. Returns whether there were events; when some were lost, all devices are to be collected.
    #[inline(never)] // Its buffer is on the stack while modules are loaded only where there are more devices than are collected at once.
    fn receive(&mut self, lost: &mut bool) -> bool {
        let mut room = files::buffer::<MAX_EVENT>();
        let mut received = false;
        while let Some(uevents) = &self.machine.uevents {
            match fd::receive(uevents, &mut room) {
                Ok(event) if event.first() == Some(&b'a') => self.collect(event, 0), // add@PATH
                Ok(_) => {}
                Err(Errno::NOBUFS) => *lost = true,
                Err(_) => break,
            }
            received = true;
        }
        received
    }

    /// Collects the devices that many levels below a directory: /sys/bus/BUS/devices/DEVICE/uevent, /sys/class/CLASS/DEVICE/uevent.
    /// (Other directories have no such file.)
    fn collect_below(&mut self, parent: &Fd, name: &CStr, levels: u8) -> Result<(), Errno> {
        let directory = fd::open_at(parent, name, OFlags::DIRECTORY)?;
        if levels == 0 {
            return self.collect_device(&directory);
        }
        files::each_name(&directory, &mut |name| {
            let _ = self.collect_below(&directory, name, levels - 1);
        });
        Ok(())
    }

    /// Collects the device of a directory.
    #[inline(never)]
    fn collect_device(&mut self, directory: &Fd) -> Result<(), Errno> {
        let mut room = files::buffer::<MAX_DEVICE>();
        let device = files::read_open(&fd::open_at(directory, c"uevent", OFlags::RDONLY)?, &mut room)?;
        self.collect(device, b'\n');
        Ok(())
    }

    /// Adds a device's modalias from its properties, each of which ends with `end`. A processor's modalias lists its features in over a
    /// kilobyte; the next processor has the same one, which is skipped.
    fn collect(&mut self, properties: &[u8], end: u8) {
        let Some(device) = value_in(properties, end, b"MODALIAS=") else { return };
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
        // The other function takes pages of PID 1's stack.
        if !has_index() {
            return;
        }
        let words = self.machine.sources.record(Source::CommandLine);
        self.loaded |= look_up(&self.devices, self.turn, words, &mut || self.machine.handle_network());
        self.devices.clear();
    }
}

/// Loads the modules with a pattern for one of these names, each on a line, and those that were to be loaded later, in the order of the
/// index; `words` has their parameters. Calls `between` after each file. Returns whether the last one that PID 1 itself has loaded is there.
#[inline(never)]
fn look_up(names: &[u8], turn: Turn, words: Record<'_>, between: &mut dyn FnMut()) -> bool {
    let Ok(index) = fd::open(INDEX, OFlags::RDONLY) else { return false };
    let mut lines = Lines::of(Some(&index));
    let (mut module, mut number) = (Path::new(), 0);
    let (mut is_second_part, mut loaded) = (false, false);
    let directory = match fd::open(module.set(lines.next().unwrap_or_default()), OFlags::DIRECTORY) {
        Ok(directory) => directory,
        Err(errno) => {
            console::log_failure(c"", module.text().to_bytes(), errno);
            return false;
        }
    };
    while let Some(line) = lines.next() {
        let [b' ', pattern @ ..] = line else {
            is_second_part |= line.is_empty();
            module.set(line);
            number += 1;
            continue;
        };
        let Some(state) = STATES.get(number) else { break };
        let before = state.load(Ordering::Relaxed);
        if before == TRIED || before == UNKNOWN && !split(names, b'\n').any(|name| matches(pattern, name)) {
            continue;
        }
        let is_deferred = Feature::Modules.is_enabled() && is_second_part && turn == Turn::First;
        state.store(if is_deferred { LATER } else { TRIED }, Ordering::Relaxed);
        if is_deferred {
            continue;
        }
        // PID 1 loads them if it cannot fork.
        let in_child = Feature::Modules.is_enabled() && turn == Turn::Late;
        let forked = if in_child { fork(signal::IO.into()).ok() } else { None };
        if let Some(Fork::Parent(_)) = forked {
            LOADING.store(LOADING.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
            MAY_BE_NETWORK.store(MAY_BE_NETWORK.load(Ordering::Relaxed) || !is_second_part, Ordering::Relaxed);
            continue;
        }
        // The driver itself is the last file.
        let mut files = split(module.text().to_bytes(), b'\t');
        while let Some(file) = files.next() {
            loaded = modules::load_one(words, &directory, file, files.is_done());
            if forked.is_none() {
                between();
            }
        }
        if forked.is_some() {
            sys::exit(0);
        }
    }
    loaded
}
