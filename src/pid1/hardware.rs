//! Drivers for the machine's hardware, from the index that mkcpio writes.
//!
//! Every device of a bus has a modalias in sysfs, and so has every input device, which belongs to a class. Each module of the index
//! with a matching pattern is loaded; then the devices that have appeared since are looked up. No bus is treated specially.

use core::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use whit::contract::DRIVER_INDEX;
use whit::dirent::names;
use whit::error::Errno;
use whit::modalias::matches;
use whit::text::split;

use crate::files::{self, Lines, Path};
use crate::machine::{Machine, Phase};
use crate::modules;
use crate::sys::c_str;
use crate::sys::fd::{self, Fd};

/// Modaliases of devices, a line each: those that are looked up in one pass over the index.
type Devices = heapless::Vec<u8, { 2 * MAX_DEVICE }>;

/// Bytes of a modalias.
const MAX_DEVICE: usize = 2048;

/// Modules of the index, by the number of their line.
const MAX_MODULES: usize = 2048;

/// Which modules of the index were loaded, or could not be: none is tried twice.
static TRIED: [AtomicU64; MAX_MODULES / 64] = [const { AtomicU64::new(0) }; _];

/// Marks a module of the index as tried; returns whether this is the first try. A module past [`MAX_MODULES`] counts as tried.
fn first_try(module: usize) -> bool {
    let Some(word) = TRIED.get(module / 64) else { return false };
    let before = word.load(Ordering::Relaxed);
    let after = before | 1u64.wrapping_shl(module as u32);
    word.store(after, Ordering::Relaxed);
    after != before
}

/// Loads the modules for the hardware until no further device appears. Does nothing without an index.
#[inline(never)]
pub(crate) fn load(machine: &mut Machine<'_>) {
    let Ok(index) = fd::open(DRIVER_INDEX, OFlags::RDONLY) else {
        machine.phase = Phase::DriversLoaded;
        return;
    };
    let mut search = Search { index, machine, devices: Devices::new(), loaded: true };
    while core::mem::take(&mut search.loaded) {
        for (folder, levels) in [(c"/sys/bus", 3), (c"/sys/class/input", 1)] {
            let _ = fd::open(folder, OFlags::DIRECTORY).and_then(|folder| search.collect_below(&folder, levels));
        }
        search.look_up();
    }
}

struct Search<'a, 'b> {
    index: Fd,
    machine: &'a mut Machine<'b>,
    devices: Devices,
    loaded: bool,
}

impl Search<'_, '_> {
    /// Collects the modaliases of the devices that many levels below a directory: /sys/bus/BUS/devices/DEVICE/modalias,
    /// /sys/class/input/DEVICE/modalias. (Other directories have no such file.)
    fn collect_below(&mut self, directory: &Fd, levels: u8) -> Result<(), Errno> {
        if levels == 0 {
            return self.collect(directory);
        }
        let mut room = files::buffer::<1024>();
        while let entries @ [_, ..] = fd::entries(directory, &mut room)? {
            for name in names(entries).map(c_str) {
                let below = fd::open_at(directory, name, OFlags::DIRECTORY);
                let _ = below.and_then(|below| self.collect_below(&below, levels - 1));
            }
        }
        Ok(())
    }

    /// Adds a device's modalias, which ends with a newline. A processor's modalias lists its features in over a kilobyte; the next
    /// processor has the same one, which is skipped.
    fn collect(&mut self, device: &Fd) -> Result<(), Errno> {
        let mut room = files::buffer::<MAX_DEVICE>();
        let device = files::read_open(&fd::open_at(device, c"modalias", OFlags::RDONLY)?, &mut room)?;
        // (core's `ends_with` would link a panic.)
        let last = self.devices.len().wrapping_sub(device.len());
        if self.devices.get(last..) != Some(device) && self.devices.extend_from_slice(device).is_err() {
            self.look_up();
            let _ = self.devices.extend_from_slice(device);
        }
        Ok(())
    }

    /// Loads the modules with a pattern for a collected modalias, in the order of the index.
    #[inline(never)]
    fn look_up(&mut self) {
        let mut lines = Lines::of(Some(&self.index));
        let (mut directory, mut module, mut number) = (Path::new(), Path::new(), 0);
        directory.set(lines.next().unwrap_or_default());
        while let Some(line) = lines.next() {
            let [b' ', pattern @ ..] = line else {
                module.set(line);
                number += 1;
                continue;
            };
            if split(&self.devices, b'\n').any(|device| matches(pattern, device)) && first_try(number) {
                for file in split(module.text().to_bytes(), b' ').filter(|file| !modules::is_loaded(file)) {
                    modules::load_one(directory.text().to_bytes(), file);
                    self.machine.handle_network();
                }
                self.loaded = true;
            }
        }
        self.devices.clear();
    }
}
