//! The workload's standard streams over a virtio port of the host, as docker attaches them: three pipes, or a pty.
//!
//! PID 1 moves the bytes as [frames](whit::frame). It does not wait for the host or the workload: a host that does not read stops the
//! workload's writes, and a workload that does not read stops the requests for input. Signals, the size of the terminal and the exit
//! code use the same port.

use whit::contract::NO_STREAMS;
use whit::frame::{self, HEADER_BYTES, Kind, MAX_DATA};
use whit::options;
use whit::time::{NEVER, after_s};

use crate::console::{self, SANE};
use crate::end::End;
use crate::events::{NEWS, bit};
use crate::machine::{Machine, now_ms};
use crate::message::error;
use crate::port::Ports;
use crate::supervise::wait_or_end;
use crate::sys::fd::{self, Fd, WINDOW_SIZE};
use crate::sys::stream::{INPUT, MAX_MOVED, OUTPUT, RETRY_MS};

/// Limit for the port to appear, and for the host to send the size of its terminal.
const PORT_WAIT_S: u32 = 2;
/// Limit for the host to receive the rest of the output and the exit code. The host is told before that the workload has ended, and
/// should then store what it cannot show.
const FINISH_WAIT_S: u32 = 30;

/// The streams of the workload, and the state of the port.
#[derive(Default)]
pub(crate) struct Streams {
    /// PID 1's side and the workload's of input, output and error. Of a pty, the master side is PID 1's of the output, and is for input
    /// too; the slave side is the workload's of the input, and is for output too. They stay open: a daemon keeps its terminal.
    sides: [[Option<Fd>; 2]; 3],
    /// The header that is being received, and its bytes so far.
    header: [u8; HEADER_BYTES],
    received: usize,
    /// The bytes of input that are still to be received of a frame.
    missing: usize,
    /// The signals that the host sent, one bit each, and [`NEWS`].
    signals: u64,
    /// The exit code that is sent after the output.
    code: Option<u8>,
    /// The size of the host's terminal, once it was received.
    size: Option<u32>,
    /// The port is used.
    is_active: bool,
    /// The host is connected to the port.
    has_host: bool,
    /// The host has been asked for input and has not sent it, or has sent its end.
    is_requested: bool,
    /// Input was requested since the workload was started: the host takes that as its start.
    is_announced: bool,
    /// The last frame was of standard output: standard error is next.
    is_error_next: bool,
    /// The host has received the exit code.
    is_acknowledged: bool,
}

/// Opens pipes or a pty for the next workload, if the options want that and the host has the port. Returns whether they are open; an
/// error is a shutdown request.
pub(crate) fn open(machine: &mut Machine<'_>) -> Result<bool, End> {
    let kind = machine.options.streams();
    machine.streams.is_active = kind != options::Streams::Console;
    let is_terminal = kind == options::Streams::Terminal;
    let deadline_ms = after_s(now_ms(), PORT_WAIT_S);
    while machine.streams.is_active && now_ms() < deadline_ms {
        let is_missing = machine.ports.streams.is_none();
        if !if is_missing { machine.ports.may_appear } else { is_terminal && machine.streams.size.is_none() } {
            break;
        }
        wait_or_end(machine, deadline_ms)?;
    }
    machine.streams.is_active &= machine.ports.streams.is_some() && machine.streams.open(is_terminal);
    machine.streams.is_announced = false;
    if !machine.streams.is_active {
        refuse(machine);
    }
    Ok(machine.streams.is_active)
}

/// Logs that the console is used, if the options want streams.
pub(crate) fn refuse(machine: &Machine<'_>) {
    if machine.options.streams() != options::Streams::Console {
        error!("{}", NO_STREAMS);
    }
}

/// Sends the rest of the workload's output, and its exit code; waits until the host has received them, but not longer than
/// [`FINISH_WAIT_S`].
pub(crate) fn finish(machine: &mut Machine<'_>, code: u8) {
    machine.streams.code = Some(code);
    machine.streams.is_acknowledged = !machine.streams.is_active;
    let deadline_ms = after_s(now_ms(), FINISH_WAIT_S);
    while !machine.streams.is_acknowledged && now_ms() < deadline_ms {
        machine.next_wakeup(deadline_ms);
    }
}

/// Sets descriptors that are not open.
fn set(place: &mut [Option<Fd>; 2], sides: [Option<Fd>; 2]) {
    core::mem::forget(core::mem::replace(place, sides)); // The compiler would add code that closes the old ones.
}

impl Streams {
    /// Opens both sides, for the first workload and for those that restart it. Returns whether they are open.
    fn open(&mut self, is_terminal: bool) -> bool {
        let [input, output, _] = &mut self.sides;
        if is_terminal {
            if let [_, None] = input
                && let Ok([master, slave]) = fd::open_pty()
            {
                set(input, [None, Some(slave)]);
                set(output, [Some(master), None]);
                self.resize();
            }
            if let [[_, Some(slave)], ..] = &self.sides {
                fd::set_modes(slave, SANE);
                console::lead_session(slave);
            }
        } else {
            for (number, sides) in self.sides.iter_mut().enumerate() {
                if sides[1].is_none() {
                    set(sides, fd::open_pipe(number == 0));
                }
            }
        }
        self.sides[0][1].is_some()
    }

    /// Gives the terminal the size of the host's. The master side of a pty is a terminal, a pipe is none.
    fn resize(&self) {
        let size: [u8; WINDOW_SIZE] = u64::from(self.size.unwrap_or_default()).to_le_bytes();
        self.sides[1][0].iter().for_each(|master| fd::set_window_size(master, &size));
    }

    /// Duplicates the workload's side to descriptors 0 to 2. Called in the process that becomes the workload.
    pub(crate) fn enter(&self) {
        for (number, [_, side]) in self.sides.iter().enumerate() {
            if let Some(side) = side.as_ref().or(self.sides[0][1].as_ref()) {
                fd::duplicate(side, number as u32);
            }
        }
    }

    /// Returns the signals that the host sent since the last call, one bit each.
    pub(crate) fn take_signals(&mut self) -> u64 {
        core::mem::take(&mut self.signals)
    }

    /// Returns the port while it has a host and takes no bytes. The port raises no signal when it takes bytes again. Without a host,
    /// poll(2) would return at once.
    pub(crate) fn blocked_port<'a>(&self, ports: &'a Ports) -> Option<&'a Fd> {
        // While the rest of a frame is missing, it is unknown whether the host is still there.
        ports.streams.as_ref().filter(|_| self.has_host && self.missing == 0 && !OUTPUT.is_empty())
    }

    /// Moves the bytes that can be moved now. Returns in how many milliseconds to call this again if there is no signal before.
    #[inline(never)]
    pub(crate) fn advance(&mut self, ports: &Ports) -> u64 {
        let Some(port) = ports.streams.as_ref().filter(|_| self.is_active) else { return NEVER };
        self.receive(port);
        // Without a sink there is no input.
        let is_taken = self.sides[0][0].as_ref().or(self.sides[1][0].as_ref()).is_none_or(|sink| INPUT.flush(sink));
        for _ in 0..MAX_MOVED {
            if !OUTPUT.flush(port) {
                return if self.signals != 0 { 0 } else { RETRY_MS };
            }
            if !self.fill() {
                return match () {
                    () if self.signals != 0 => 0,
                    () if is_taken => NEVER,
                    () => RETRY_MS,
                };
            }
        }
        0
    }

    /// Fills the frame for the host. Returns `false` if there is nothing to send.
    fn fill(&mut self) -> bool {
        let is_due = !(self.is_requested && self.is_announced);
        if is_due && self.missing == 0 && INPUT.is_empty() && self.sides[0][1].is_some() {
            (self.is_requested, self.is_announced) = (true, true);
            OUTPUT.frame(Kind::Input, 0);
            return true;
        }
        for _ in 0..2 {
            // The outputs have turns: a flood of one does not stop the other.
            self.is_error_next = !self.is_error_next;
            let (kind, place) = if self.is_error_next { (Kind::Output, 1) } else { (Kind::Error, 2) };
            let length = self.sides[place][0].as_ref().map_or(0, |output| OUTPUT.fill(output, MAX_DATA));
            if length > 0 {
                OUTPUT.frame(kind, length as u32);
                return true;
            }
        }
        let code = self.code.take();
        if let Some(code) = code {
            OUTPUT.frame(Kind::Exit, code.into());
        }
        code.is_some()
    }

    /// Receives the frames that the host has sent.
    fn receive(&mut self, port: &Fd) {
        loop {
            if self.missing > 0 {
                let read = INPUT.fill(port, self.missing);
                if read == 0 {
                    return;
                }
                self.missing -= read;
                continue;
            }
            let Some(room) = self.header.get_mut(self.received..) else { return };
            let read = fd::read_into(port, room);
            self.has_host = read != Ok(0);
            let Ok(read @ 1..) = read else { return };
            self.received += read;
            if self.received == HEADER_BYTES {
                self.received = 0;
                self.take_frame();
            }
        }
    }

    /// Handles a frame whose header was received.
    fn take_frame(&mut self) {
        let Some((kind, number)) = frame::parse(self.header) else { return };
        if number == 0
            && let Some(sides) = self.sides.get_mut(kind as usize)
        {
            sides[0] = None;
        }
        match kind {
            // After its end, no more input is requested.
            Kind::Input => (self.is_requested, self.missing) = (number == 0, number as usize),
            Kind::Output | Kind::Error => {}
            Kind::Signal => self.signals |= bit(number as u8),
            Kind::Window => {
                self.size = Some(number);
                self.signals |= NEWS;
                self.resize();
            }
            Kind::Exit => {
                self.is_acknowledged = true;
                self.signals |= NEWS;
            }
        }
    }
}
