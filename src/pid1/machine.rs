//! The machine as PID 1 sees it.

use linux_raw_sys::netlink::NETLINK_KOBJECT_UEVENT;
use rustix::process::Pid;
use whit::contract::{EXIT, NOT_STARTED};
use whit::options::{Options, Sources, Value};
use whit::time::NEVER;

use crate::button::Buttons;
use crate::clock::Clock;
use crate::console::log_failure;
use crate::etc;
use crate::filesystems::Root;
use crate::message::error;
use crate::network::Network;
use crate::port::Ports;
use crate::pty::Terminal;
use crate::sys;
use crate::sys::fd::{self, Fd};
use crate::sys::process::signal_fd;
use crate::timeline::Timeline;

/// Signals by their numbers on x86-64 and arm64 (signal(7)).
pub(crate) mod signal {
    pub(crate) const HUP: u8 = 1;
    pub(crate) const INT: u8 = 2;
    pub(crate) const QUIT: u8 = 3;
    pub(crate) const KILL: u8 = 9;
    pub(crate) const USR1: u8 = 10;
    pub(crate) const USR2: u8 = 12;
    pub(crate) const TERM: u8 = 15;
    pub(crate) const CONT: u8 = 18;
    pub(crate) const TSTP: u8 = 20;
    pub(crate) const WINCH: u8 = 28;
    pub(crate) const IO: u8 = 29;
    /// SIGRTMIN+3 to +6 of a C library's: systemd's words to a PID 1 (systemd(1), SIGNALS).
    pub(crate) const SYSTEMD_HALT: u8 = 37;
    pub(crate) const SYSTEMD_POWER_OFF: u8 = 38;
    pub(crate) const SYSTEMD_REBOOT: u8 = 39;
    pub(crate) const SYSTEMD_KEXEC: u8 = 40;
}

/// How far the boot is: each phase is followed by the next, or by none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Each device that appears gets its driver.
    LoadingDrivers,
    /// No driver is loaded any more: there is no index of them, or no device is waited for.
    DriversLoaded,
}

/// The state of PID 1. Small fields come first: code that reaches the first 128 bytes is shorter.
#[repr(C)]
pub(crate) struct Machine<'a> {
    /// Readable when a signal is pending.
    pub(crate) signals: Option<Fd>,
    /// Reports devices, while one is waited for.
    pub(crate) uevents: Option<Fd>,
    /// How long PID 1 waits at most: for ever, unless one of these two could not be opened.
    pub(crate) most_ms: u64,
    /// The host's virtio ports.
    pub(crate) ports: Ports,
    /// The power buttons; none before their drivers are loaded.
    pub(crate) buttons: Buttons,
    /// The workload's terminal.
    pub(crate) terminal: Terminal,
    /// The workload, while it runs.
    pub(crate) workload: Option<Pid>,
    /// The console's shell, while it runs.
    pub(crate) shell: Option<Pid>,
    /// The exit code of the workload, once it has ended.
    pub(crate) ended: Option<u8>,
    /// The exit code of the last workload, or of one that was never started.
    pub(crate) exit_code: u8,
    /// PID 1 has no children of the kind that it looks for.
    pub(crate) no_children: bool,
    /// Which children it looks for: 0, __WALL or __WCLONE.
    pub(crate) children: u32,
    /// The shell of the other terminal (`shell=`) runs.
    pub(crate) has_terminal: bool,
    /// The root, once it is mounted.
    pub(crate) root: Option<Root>,
    /// The SNTP client.
    pub(crate) clock: Clock,
    /// How far the boot is.
    pub(crate) phase: Phase,
    pub(crate) options: Options<'a>,
    pub(crate) timeline: Timeline,
    pub(crate) sources: Sources<'a>,
    pub(crate) network: Option<Network<'a>>,
}

/// How long PID 1 waits at most when it is not woken by everything.
const TICK_MS: u64 = 1000;

/// Milliseconds since the kernel's start.
#[inline(never)]
pub(crate) fn now_ms() -> u64 {
    sys::boot_time_ns() / 1_000_000
}

/// Whether PID 1 is that of the kernel, and not of a namespace: swap, sysrq, entropy and the switch are the whole kernel's.
pub(crate) fn is_machine() -> bool {
    /// include/uapi/linux/nsfs.h, PID_NS_INIT_INO; before Linux 6.18 include/linux/proc_ns.h. No other has it.
    const PID_NS_INIT_INO: u64 = 0xEFFF_FFFC;
    fd::status(c"/proc/self/ns/pid").is_some_and(|status| status.inode == PID_NS_INIT_INO)
}

impl<'a> Machine<'a> {
    /// Opens the descriptors that PID 1 waits on. Signals are blocked and device events queued from here on.
    #[inline(always)] // It is made where it stays: all of it would be copied, and all that it is made of.
    pub(crate) fn new(
        sources: Sources<'a>,
        options: Options<'a>,
        network: Option<Network<'a>>,
        timeline: Timeline,
        seed: u32,
    ) -> Self {
        let signals = signal_fd();
        // Group 1 is the kernel's own voice; 2 is udev's.
        let uevents = fd::netlink_socket(NETLINK_KOBJECT_UEVENT, 1);
        let mut most_ms = NEVER;
        if let Some(errno) = signals.as_ref().err().or(uevents.as_ref().err()) {
            log_failure("signals or device events", b"", *errno);
            most_ms = TICK_MS;
        }
        Self {
            most_ms,
            signals: signals.ok(),
            uevents: uevents.ok(),
            sources,
            options,
            network,
            timeline,
            clock: Clock::new(seed),
            phase: Phase::LoadingDrivers,
            root: None,
            terminal: Terminal::default(),
            workload: None,
            shell: None,
            ended: None,
            exit_code: NOT_STARTED,
            no_children: true,
            children: 0,
            has_terminal: false,
            buttons: Buttons::default(),
            ports: Ports::default(),
        }
    }

    /// Handles the network's events and deadlines, without waiting.
    pub(crate) fn handle_network(&mut self) {
        if let Some(network) = &mut self.network {
            network.handle(now_ms(), &mut self.timeline);
        }
        let lease = self.network.as_ref().and_then(Network::lease);
        self.clock.handle(self.options.value(Value::Ntp), lease);
        if self.network.as_ref().is_some_and(|network| network.has_changed(now_ms())) {
            self.write_etc();
        }
    }

    /// Writes the files of /etc that depend on the network: at the end of the boot, and then each time that it changes.
    pub(crate) fn write_etc(&mut self) {
        self.network.iter_mut().for_each(|network| network.files_written(now_ms()));
        etc::write(&self.sources, &self.options, self.network.as_ref());
    }

    /// Releases the leases, and closes the network.
    pub(crate) fn release_network(&mut self) {
        self.network.take().iter_mut().for_each(Network::release);
    }

    /// Stops waiting for devices, except for a port of the host.
    pub(crate) fn stop_listening_for_devices(&mut self) {
        self.phase = self.phase.max(Phase::DriversLoaded);
        self.ports.open();
        if !self.ports.may_appear {
            self.uevents = None;
        }
    }

    /// Reports the exit code of the workload, or of one that could not be started: to the host's port, which waits for nobody; then,
    /// after what the workload wrote, to the console.
    pub(crate) fn report_exit(&mut self, code: u8) {
        self.ended = None;
        self.exit_code = code;
        // The port may have appeared a moment ago; without a root it was never looked for.
        self.stop_listening_for_devices();
        self.ports.send_exit_code(code);
        self.terminal.drain();
        error!("{}{}", EXIT, u64::from(code));
    }
}
