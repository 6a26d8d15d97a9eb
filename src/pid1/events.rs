//! The event loop: the one place where PID 1 waits.

use linux_raw_sys::general::{__WCLONE, WNOHANG, WUNTRACED};
use whit::features::Feature;
use whit::time::NEVER;

use crate::end::End;
use crate::hardware;
use crate::machine::{Machine, now_ms, signal};
use crate::network::Network;
use crate::streams;
use crate::sys::fd::{Polled, poll};
use crate::sys::process::{kill, next_signal, restore_limit, wait4};

/// Not a signal of the host: something else came that a caller of the event loop may wait for. It has the bit of a signal that no
/// program may send: the C library has it for its threads (nptl(7)).
pub(crate) const NEWS: u64 = bit(32);

/// The events that [`Machine::next_wakeup`] returns for.
#[derive(Default)]
pub(crate) struct Wakeup {
    /// The signals that came, one bit each.
    signals: u64,
    /// Those that the host sent for the workload.
    host_signals: u64,
    /// The kernel itself sent SIGINT: ctrl-alt-del.
    ctrl_alt_del: bool,
    /// The power button was pressed.
    power_button: bool,
    /// A device appeared or changed.
    pub(crate) device: bool,
}

impl Wakeup {
    /// Returns whether the signal came, from a process or from the host.
    pub(crate) fn has(&self, signal: u8) -> bool {
        (self.signals | self.host_signals) & bit(signal) != 0
    }

    /// Returns whether a process of the machine sent the signal to PID 1.
    pub(crate) fn has_own(&self, signal: u8) -> bool {
        self.signals & bit(signal) != 0
    }

    /// Returns the signals of processes that `forwarded` has, and those of the host.
    pub(crate) fn for_workload(&self, forwarded: u64) -> u64 {
        self.signals & forwarded | self.host_signals & !NEWS
    }

    /// Returns the shutdown request by ctrl-alt-del, the power button or systemd's signals, which are not forwarded to the workload.
    pub(crate) fn end(&self) -> Option<End> {
        if self.power_button || self.has(signal::SYSTEMD_POWER_OFF) {
            return Some(End::PowerOff);
        }
        if self.ctrl_alt_del || self.has(signal::SYSTEMD_REBOOT) || self.has(signal::SYSTEMD_KEXEC) {
            return Some(End::Reboot);
        }
        self.has(signal::SYSTEMD_HALT).then_some(End::Halt)
    }

    /// Takes all pending signals; waits for the first one at most `wait_s`.
    fn read_signals(&mut self, mut wait_s: u64) {
        /// include/uapi/asm-generic/siginfo.h
        const SI_KERNEL: i32 = 0x80;
        while let Some((number, code)) = next_signal(wait_s) {
            wait_s = 0;
            self.signals |= bit(number);
            self.ctrl_alt_del |= number == signal::INT && code == SI_KERNEL;
        }
    }
}

/// Returns the bit of a signal. Signals are numbered from 1 to 64.
pub(crate) const fn bit(signal: u8) -> u64 {
    1u64.wrapping_shl((signal as u32).wrapping_sub(1))
}

/// Returns the signal of the lowest bit.
pub(crate) const fn lowest(signals: u64) -> u8 {
    signals.trailing_zeros() as u8 + 1
}

impl Machine<'_> {
    /// Waits for a signal, a device, the network or the deadline; handles the network and reaps children meanwhile.
    pub(crate) fn next_wakeup(&mut self, deadline_ms: u64) -> Wakeup {
        let network_deadline_ms = self.network.as_ref().map_or(NEVER, Network::deadline_ms);
        let wait_ms = deadline_ms.min(network_deadline_ms).min(self.clock.deadline_ms()).saturating_sub(now_ms());
        let wait_ms = wait_ms.min(self.max_wait_ms).min(self.terminal.advance()).min(self.streams.advance(&self.ports));
        if wait_ms > 0 {
            self.network.iter_mut().for_each(Network::filter_packets);
        }
        let network = self.network.as_ref();
        let [links, packets, claims] = network.map_or([Polled::NONE; 3], Network::descriptors);
        let [button, other] = self.buttons.descriptors();
        // The result is not needed: each source below is read until it is empty.
        let polled = poll(
            [
                Polled::new(self.signals.as_ref()),
                Polled::new(self.uevents.as_ref()),
                links,
                packets,
                claims,
                Polled::new(self.clock.descriptor()),
                button,
                other,
                #[cfg(feature = "dhcpv6")]
                Polled::new(network.and_then(Network::dhcpv6_descriptor)),
                Polled::new(self.streams.blocked_port(&self.ports)),
            ],
            wait_ms,
        );

        let waited = polled.is_ok();
        if !waited {
            restore_limit();
        }
        let power_button = self.buttons.pressed();
        let mut wakeup = Wakeup {
            device: hardware::handle_events(self) | (self.max_wait_ms < NEVER),
            power_button,
            ..Wakeup::default()
        };
        wakeup.host_signals = self.streams.take_signals();
        if Feature::Exec.is_enabled() {
            streams::start_session(self);
        }
        if wakeup.device {
            self.buttons.open();
        }
        wakeup.read_signals(u64::from(!waited));
        self.ports.update_window_size(); // After SIGIO was read: a later change raises it again.
        self.reap();
        // The interface of a driver that a child has loaded is there when the child has ended.
        self.handle_network();
        if wakeup.device && self.ports.may_appear {
            self.stop_listening_for_devices();
        }
        wakeup
    }

    /// Reaps every exited child, its own or an orphan.
    pub(crate) fn reap(&mut self) {
        while Feature::Modules.is_enabled() {
            let Ok((Some(_), _)) = wait4(WNOHANG | __WCLONE) else { break };
            hardware::ended();
        }
        loop {
            let (child, status) = match wait4(WNOHANG | WUNTRACED | self.children) {
                Ok((Some(child), status)) => (child, status),
                none => {
                    // ECHILD, the only error: PID 1 has no children.
                    self.no_children = none.is_err();
                    return;
                }
            };
            if let Some(signal) = status.stopped_by() {
                // ctrl-z: no shell could continue the workload; in a container it would be PID 1, and not stop.
                if Some(child) == self.workload && signal == signal::TSTP {
                    let _ = kill(-child.as_raw_pid(), signal::CONT);
                }
                continue;
            }
            if Some(child) == self.workload {
                self.workload = None;
                self.ended = Some(status.code());
            } else if Some(child) == self.shell {
                self.shell = None;
            } else if Feature::Exec.is_enabled() {
                self.streams.ended(child, status.code());
            }
        }
    }
}
