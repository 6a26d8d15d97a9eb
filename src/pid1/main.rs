//! The init: every effect of whit, in the order of the boot.
//!
//! A module with a `stubs` path is a feature that a smaller init is built without (see `whit::features`).
#![no_std]
#![no_main]
// Helpers of disabled features are unused.
#![cfg_attr(not(feature = "whole"), allow(dead_code))]

mod boot;
#[cfg_attr(not(feature = "button"), path = "stubs/button.rs")]
mod button;
#[cfg_attr(not(feature = "caps"), path = "stubs/caps.rs")]
mod caps;
#[cfg_attr(not(feature = "clock"), path = "stubs/clock.rs")]
mod clock;
mod console;
mod devices;
mod end;
#[cfg_attr(not(feature = "entropy"), path = "stubs/entropy.rs")]
mod entropy;
#[cfg_attr(not(feature = "etc"), path = "stubs/etc.rs")]
mod etc;
mod events;
mod files;
mod filesystems;
#[cfg_attr(not(feature = "handover"), path = "stubs/handover.rs")]
mod handover;
#[cfg_attr(not(feature = "hardware"), path = "stubs/hardware.rs")]
mod hardware;
mod hostname;
mod inside;
mod machine;
mod message;
mod modules;
mod mounting;
#[cfg_attr(not(feature = "dhcp"), path = "stubs/network.rs")]
mod network;
#[cfg_attr(not(feature = "notify"), path = "stubs/notify.rs")]
mod notify;
#[cfg_attr(not(feature = "overlay"), path = "stubs/overlay.rs")]
mod overlay;
mod own_files;
#[cfg_attr(not(feature = "port"), path = "stubs/port.rs")]
mod port;
#[cfg_attr(not(feature = "pty"), path = "stubs/pty.rs")]
mod pty;
mod remote;
#[cfg_attr(not(feature = "rootfs"), path = "stubs/rootfs.rs")]
mod rootfs;
#[cfg_attr(not(feature = "settings"), path = "stubs/settings.rs")]
mod settings;
mod shutdown;
mod smbios;
mod sources;
#[cfg_attr(not(feature = "streams"), path = "stubs/streams.rs")]
mod streams;
mod supervise;
mod sys;
#[cfg_attr(not(feature = "terminal"), path = "stubs/terminal.rs")]
mod terminal;
#[cfg_attr(not(feature = "timeline"), path = "stubs/timeline.rs")]
mod timeline;
#[cfg_attr(not(feature = "volumes"), path = "stubs/volumes.rs")]
mod volumes;
mod workload;

use core::convert::Infallible;
use core::ffi::CStr;

use rustix::process::getpid;
use rustix::system::RebootCommand;
use whit::contract::NOT_STARTED;
use whit::features::Feature;
use whit::mounts;
use whit::options::{Source, Switch};
use whit::stage::Stage;

use crate::boot::Outcome;
use crate::devices::Device;
use crate::end::End;
use crate::machine::Machine;
use crate::message::error;
use crate::network::Network;
use crate::sys::rooms::Rooms;
use crate::timeline::Timeline;

/// Runs the init, or answers the kernel's request for a module. Called by the entry point, on the stack that the kernel set up.
fn main(seed: u32, request: &CStr, rooms: &'static mut Rooms) -> ! {
    if !getpid().is_init() {
        if Feature::Modules.is_enabled() && hardware::answer(request) {
            sys::exit(0);
        }
        error!("an init runs as PID 1: put it into an initramfs as /init");
        sys::exit(1);
    }
    // The point of no return: PID 1 must not exit. Failures from here on are logged, and the boot goes on or the machine
    // shuts down.
    let init_ns = sys::boot_time_ns();
    let no_console = console::reserve();
    shutdown::reboot(RebootCommand::CadOff);

    filesystems::mount_table(&mounts::PROC);
    let [record_room, image_room] = &mut rooms.records;
    let sources = sources::read(&mut rooms.command_line, record_room);
    let options = sources.options(&mut sources::log_complaint);
    console::configure(options.has(Switch::Quiet), options.kernel_log());
    let network = Network::open(&mut rooms.network, seed, &options, &sources);
    let rooms_of_machine = (&mut image_room[..], &mut rooms.program);
    let mut machine = Machine::new(sources, rooms_of_machine, options, network, Timeline::new(init_ns), seed);
    machine.handle_network();

    // A DHCP server on the same link answers within the time of one or two mounts.
    filesystems::prepare(|| machine.handle_network());
    if let Some(network) = &machine.network {
        network.bring_up_loopback();
    }
    console::open(no_console);
    let room = core::mem::take(&mut machine.image_room);
    modules::load(room, machine.sources.record(Source::CommandLine), || machine.handle_network());
    machine.image_room = room;
    hardware::load(&mut machine);
    entropy::credit();
    machine.timeline.reach(Stage::Modules);
    if Feature::Consoles.is_enabled() {
        console::open_others();
    }
    machine.buttons.open();
    terminal::keep_shell(&mut machine);

    let Err(end) = run(&mut machine, rooms.device.write(Device::new()), no_console);
    shutdown::end(&mut machine, end)
}

/// Boots, supervises, and returns how the machine ends.
fn run(machine: &mut Machine<'_>, device: &mut Device, no_console: bool) -> Result<Infallible, End> {
    if Feature::Consoles.is_enabled() && no_console {
        console::wait(machine)?;
    }
    let code = match boot::prepare_root_and_network(machine, device)? {
        Outcome::Ready if machine.options.hand_over() => {
            streams::refuse(machine);
            // The image's init could not reap the children.
            hardware::finish(machine)?;
            Some(handover::hand_over(machine))
        }
        Outcome::Ready => None,
        Outcome::Failed => Some(NOT_STARTED),
    };
    let (action, delay_s) = match code {
        None => (supervise::run_workloads(machine)?, 0),
        Some(code) => {
            machine.report_exit(code);
            (machine.options.on_fail(), machine.options.fail_delay_s())
        }
    };
    supervise::act(machine, action, delay_s)
}

/// Logs an error and sleeps forever, instead of a kernel panic. Never called: every parser is total, and the size report shows that
/// no panic is linked.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    error!("a bug: panic in PID 1");
    loop {
        sys::fd::sleep(whit::time::NEVER);
    }
}
