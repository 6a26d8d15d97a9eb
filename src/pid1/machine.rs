//! The state of PID 1, and the operations that involve several parts of it.

use core::mem::MaybeUninit;

use linux_raw_sys::netlink::NETLINK_KOBJECT_UEVENT;
use rustix::process::Pid;
use whit::argv::Program;
use whit::contract::{EXIT, NOT_STARTED};
use whit::features::Feature;
use whit::options::{NO_SHELL, Options, Sources, Value};
use whit::time::NEVER;

use crate::button::Buttons;
use crate::clock::Clock;
use crate::console::log_step;
use crate::etc;
use crate::filesystems::Root;
use crate::hardware;
use crate::message::error;
use crate::network::Network;
use crate::port::Ports;
use crate::pty::Terminal;
use crate::streams;
use crate::streams::Streams;
use crate::sys;
use crate::sys::fd::{self, Fd};
use crate::sys::process::signal_fd;
use crate::timeline::Timeline;
use crate::workload;

/// Signals by their numbers on x86-64 and arm64 (signal(7)).
pub(crate) mod signal {
    pub(crate) const HUP: u8 = 1;
    pub(crate) const INT: u8 = 2;
    pub(crate) const QUIT: u8 = 3;
    pub(crate) const KILL: u8 = 9;
    pub(crate) const USR1: u8 = 10;
    pub(crate) const USR2: u8 = 12;
    pub(crate) const ALRM: u8 = 14;
    pub(crate) const TERM: u8 = 15;
    pub(crate) const CONT: u8 = 18;
    pub(crate) const TSTP: u8 = 20;
    pub(crate) const WINCH: u8 = 28;
    pub(crate) const IO: u8 = 29;
    /// SIGRTMIN+3 to +6 of a C library: the shutdown requests to PID 1 that systemd defines (systemd(1), SIGNALS).
    pub(crate) const SYSTEMD_HALT: u8 = 37;
    pub(crate) const SYSTEMD_POWER_OFF: u8 = 38;
    pub(crate) const SYSTEMD_REBOOT: u8 = 39;
    pub(crate) const SYSTEMD_KEXEC: u8 = 40;
}

/// The state of PID 1. Small fields come first: code that reaches the first 128 bytes is shorter.
#[repr(C)]
pub(crate) struct Machine<'a> {
    /// Room for the image's record.
    pub(crate) image_room: &'static mut [MaybeUninit<u8>],
    /// Room for the program that a child process becomes, or PID 1: it is empty in PID 1, unless a hand-over has failed.
    pub(crate) program: &'static mut Program,
    /// The longest wait of PID 1: unlimited, unless `signals` or `uevents` could not be opened.
    pub(crate) max_wait_ms: u64,
    /// Readable when a signal is pending.
    pub(crate) signals: Option<Fd>,
    /// The host's virtio ports.
    pub(crate) ports: Ports,
    /// The workload's terminal.
    pub(crate) terminal: Terminal,
    /// The workload, while it runs.
    pub(crate) workload: Option<Pid>,
    /// The console's shell, while it runs.
    pub(crate) shell: Option<Pid>,
    /// The exit code of the workload, once it has ended.
    pub(crate) ended: Option<u8>,
    /// The exit code that was reported last; NOT_STARTED before the first.
    pub(crate) exit_code: u8,
    /// PID 1 has no children of the kind that it waits for.
    pub(crate) no_children: bool,
    /// The kind of children that it waits for: 0, __WALL or __WCLONE (wait4(2)).
    pub(crate) children: u32,
    /// The shell of the other terminal (`shell=`) runs.
    pub(crate) has_terminal: bool,
    /// The root, once it is mounted.
    pub(crate) root: Option<Root>,
    pub(crate) options: Options<'a>,
    pub(crate) timeline: Timeline,
    /// The SNTP client.
    pub(crate) clock: Clock,
    pub(crate) sources: Sources<'a>,
    pub(crate) network: Option<Network<'a>>,
    /// The power buttons; none before their drivers are loaded.
    pub(crate) buttons: Buttons,
    /// The workload's standard streams, when a port of the host has them.
    pub(crate) streams: Streams,
    /// Netlink socket for device events, while a device may appear that matters.
    pub(crate) uevents: Option<Fd>,
}

/// The longest wait when signals or device events cannot wake PID 1.
const TICK_MS: u64 = 1000;

/// Returns the milliseconds since the kernel started.
#[inline(never)]
pub(crate) fn now_ms() -> u64 {
    sys::boot_time_ns() / 1_000_000
}

/// Returns whether this is the kernel's own PID 1, and not that of a PID namespace: swap, sysrq, entropy and power-off belong to the
/// whole kernel.
pub(crate) fn is_machine() -> bool {
    /// include/uapi/linux/nsfs.h, PID_NS_INIT_INO; before Linux 6.18 include/linux/proc_ns.h. No other namespace has it.
    const PID_NS_INIT_INO: u64 = 0xEFFF_FFFC;
    fd::status(c"/proc/self/ns/pid").is_some_and(|status| status.inode == PID_NS_INIT_INO)
}

impl<'a> Machine<'a> {
    /// Opens the descriptors that PID 1 waits on. Signals are blocked and device events queued from here on.
    #[inline(always)] // Built in place: otherwise the struct and its parts would be copied.
    pub(crate) fn new(
        sources: Sources<'a>,
        (image_room, program): (&'static mut [MaybeUninit<u8>], &'static mut Program),
        options: Options<'a>,
        network: Option<Network<'a>>,
        timeline: Timeline,
        seed: u32,
    ) -> Self {
        let signals = signal_fd();
        // Multicast group 1 has the kernel's events; group 2 has udev's.
        let uevents = fd::netlink_socket(NETLINK_KOBJECT_UEVENT, 1);
        let mut max_wait_ms = NEVER;
        if let Some(errno) = signals.as_ref().err().or(uevents.as_ref().err()) {
            log_step(c"signals or device events", *errno);
            max_wait_ms = TICK_MS;
        }
        Self {
            max_wait_ms,
            signals: signals.ok(),
            uevents: uevents.ok(),
            sources,
            image_room,
            program,
            options,
            network,
            timeline,
            clock: Clock::new(seed),
            root: None,
            terminal: Terminal::default(),
            streams: const { Streams::new() },
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
        let now_ms = now_ms();
        if let Some(network) = &mut self.network {
            network.handle(now_ms, &mut self.timeline);
        }
        let lease = self.network.as_ref().and_then(Network::lease);
        self.clock.handle(now_ms, self.options.value(Value::Ntp), lease);
        if self.network.as_ref().is_some_and(|network| network.has_changed(now_ms)) {
            self.write_etc();
        }
    }

    /// Writes the files in /etc that depend on the network. Called at the end of the boot, and then after each change of the network.
    pub(crate) fn write_etc(&mut self) {
        self.network.iter_mut().for_each(|network| network.files_written(now_ms()));
        etc::write(&self.sources, &self.options, self.network.as_ref());
    }

    /// Returns whether a shell may run on the console: the initramfs has one.
    pub(crate) fn has_shell(&self) -> bool {
        workload::has_shell() && !(Feature::OnFail.is_enabled() && self.options.value(Value::Shell) == NO_SHELL)
    }

    /// Releases the leases, and closes the network.
    pub(crate) fn release_network(&mut self) {
        self.network.iter_mut().for_each(Network::release);
        self.network = None;
    }

    /// Stops listening for device events, unless a port of the host may still appear, or the initramfs has drivers for devices that may.
    pub(crate) fn stop_listening_for_devices(&mut self) {
        self.ports.open();
        if !(self.ports.may_appear || hardware::has_index()) {
            self.uevents = None;
        }
    }

    /// Reports the exit code of the workload, or of one that could not be started: to the host's port, which is non-blocking; then,
    /// after the workload's output, to the console.
    pub(crate) fn report_exit(&mut self, code: u8) {
        self.ended = None;
        self.exit_code = code;
        // The port may have appeared since the last search; without a root there was no search.
        self.stop_listening_for_devices();
        self.ports.send_exit_code(code);
        self.terminal.drain();
        streams::finish(self, code);
        error!("{}{}", EXIT, u64::from(code));
    }
}
