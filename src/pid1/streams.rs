//! The workload's standard streams over a virtio port of the host, as docker attaches them: three pipes, or a pty.
//!
//! PID 1 moves the bytes as [frames](whit::frame). It does not wait for the host or the workload: a host that does not read stops the
//! workload's writes, and a workload that does not read stops the requests for input. Signals, the size of the terminal and the exit
//! code use the same port.

use whit::contract::NO_STREAMS;
use whit::frame::{self, HEADER_BYTES, Kind, MAX_DATA};
use whit::options;
use whit::time::{NEVER, after_s};

use crate::console;
use crate::end::End;
use crate::events::bit;
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
    /// PID 1's side of the outputs: two pipes, or the master side of a pty.
    outputs: [Option<Fd>; 2],
    /// PID 1's side of standard input, unless it is a pty.
    input: Option<Fd>,
    /// The workload's side: input, output and error, or the slave side of a pty. PID 1 keeps the slave side open.
    workload: [Option<Fd>; 3],
    /// The frame that is being received: its header, then its data if it is no input; the bytes of both so far, and those of the data.
    head: [u8; HEADER_BYTES + WINDOW_SIZE],
    received: usize,
    data: usize,
    /// The bytes of input that are still to be received of a frame.
    missing: usize,
    /// The host has been asked for input and has not sent it; or it has sent the end.
    is_requested: bool,
    has_ended: bool,
    /// The host is connected to the port, and the port took no bytes.
    has_host: bool,
    is_blocked: bool,
    /// The host has sent the size of its terminal.
    has_size: bool,
    size: [u8; WINDOW_SIZE],
    /// The exit code that is sent after the output.
    code: Option<u8>,
    is_acknowledged: bool,
    /// The signals that the host sent, one bit each.
    signals: u64,
    /// A frame other than input came, which the caller of the event loop may wait for.
    has_news: bool,
}

/// Opens pipes or a pty for the next workload, if the options want that and the host has the port. Returns whether they are open; an
/// error is a shutdown request.
pub(crate) fn open(machine: &mut Machine<'_>) -> Result<bool, End> {
    let is_terminal = match machine.options.streams() {
        options::Streams::Console => return Ok(false),
        kind => kind == options::Streams::Terminal,
    };
    let deadline_ms = after_s(now_ms(), PORT_WAIT_S);
    while now_ms() < deadline_ms {
        let is_ready = machine.ports.streams.is_some() && (!is_terminal || machine.streams.has_size);
        if is_ready || machine.ports.streams.is_none() && !machine.ports.may_appear {
            break;
        }
        wait_or_end(machine, deadline_ms)?;
    }
    let is_open = machine.ports.streams.is_some() && machine.streams.open(is_terminal).is_some();
    if !is_open {
        refuse(machine);
    }
    Ok(is_open)
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
    let streams = &mut machine.streams;
    streams.code = Some(code);
    streams.is_acknowledged = false;
    let deadline_ms = after_s(now_ms(), FINISH_WAIT_S);
    while machine.ports.streams.is_some() && !machine.streams.is_acknowledged && now_ms() < deadline_ms {
        machine.next_wakeup(deadline_ms);
    }
}

impl Streams {
    /// Opens PID 1's side and the workload's.
    fn open(&mut self, is_terminal: bool) -> Option<()> {
        if is_terminal {
            let [master, slave] = fd::open_pty().ok()?;
            fd::set_window_size(&master, &self.size);
            console::lead_session(&slave);
            self.outputs = [Some(master), None];
            self.workload = [Some(slave), None, None];
            return Some(());
        }
        let [input, own_input] = fd::open_pipe(1).ok()?;
        let [own_output, output] = fd::open_pipe(0).ok()?;
        let [own_error, error] = fd::open_pipe(0).ok()?;
        self.input = if self.has_ended { None } else { Some(own_input) };
        self.outputs = [Some(own_output), Some(own_error)];
        self.workload = [Some(input), Some(output), Some(error)];
        Some(())
    }

    /// Duplicates the workload's side to descriptors 0 to 2. Called in the process that becomes the workload.
    pub(crate) fn enter(&self) {
        match &self.workload {
            [Some(input), Some(output), Some(error)] => {
                fd::duplicate(input, 0);
                fd::duplicate(output, 1);
                fd::duplicate(error, 2);
            }
            [Some(slave), ..] => console::use_terminal(slave),
            _ => {}
        }
    }

    /// Closes the workload's side of the pipes, so that they end with the workload.
    pub(crate) fn started(&mut self) {
        if let [_, Some(_), _] = self.workload {
            self.workload = [None, None, None];
        }
    }

    /// Returns the signals that the host sent since the last call, one bit each.
    pub(crate) fn take_signals(&mut self) -> u64 {
        core::mem::take(&mut self.signals)
    }

    /// Returns the port while it has a host and takes no bytes. The port raises no signal when it takes bytes again. Without a host,
    /// poll(2) would return at once.
    pub(crate) fn blocked_port<'a>(&self, ports: &'a Ports) -> Option<&'a Fd> {
        ports.streams.as_ref().filter(|_| self.is_blocked && self.has_host)
    }

    /// Moves the bytes that can be moved now. Returns in how many milliseconds to call this again if there is no signal before.
    pub(crate) fn advance(&mut self, ports: &Ports) -> u64 {
        let Some(port) = &ports.streams else { return NEVER };
        self.receive(port);
        let mut wait_ms = NEVER;
        match self.input.as_ref().or(self.outputs[0].as_ref()) {
            Some(input) if INPUT.flush(input) => {}
            Some(_) => wait_ms = RETRY_MS,
            None => INPUT.clear(),
        }
        self.is_blocked = false;
        for _ in 0..MAX_MOVED {
            if !OUTPUT.flush(port) {
                self.is_blocked = true;
                return RETRY_MS;
            }
            if !self.fill() {
                return if core::mem::take(&mut self.has_news) { 0 } else { wait_ms };
            }
        }
        0
    }

    /// Fills the frame for the host. Returns `false` if there is nothing to send.
    fn fill(&mut self) -> bool {
        if !self.is_requested && !self.has_ended && self.missing == 0 && INPUT.is_empty() && self.outputs[0].is_some() {
            self.is_requested = true;
            OUTPUT.frame(Kind::Input);
            return true;
        }
        for (output, kind) in self.outputs.iter().zip([Kind::Output, Kind::Error]) {
            if let Some(output) = output
                && OUTPUT.fill(output, MAX_DATA) > 0
            {
                OUTPUT.frame(kind);
                return true;
            }
        }
        if let Some(code) = self.code.take() {
            OUTPUT.frame_byte(Kind::Exit, code);
            return true;
        }
        false
    }

    /// Receives the frames that the host has sent. After an invalid one, nothing more is received.
    fn receive(&mut self, port: &Fd) {
        loop {
            if self.missing > 0 {
                let read = INPUT.fill(port, self.missing);
                self.missing -= read;
                if read == 0 {
                    return;
                }
                continue;
            }
            let wanted = HEADER_BYTES + self.data;
            let Some(room) = self.head.get_mut(self.received..wanted) else { return };
            let read = fd::read_into(port, room);
            self.has_host = read != Ok(0);
            let Ok(read @ 1..) = read else { return };
            self.received += read;
            if self.received == wanted {
                self.take_frame();
            }
        }
    }

    /// Handles the frame whose header, or whose header and short data, were received.
    fn take_frame(&mut self) -> Option<()> {
        let (header, data) = self.head.split_first_chunk()?;
        let (kind, length) = frame::parse(*header)?;
        if kind != Kind::Input && self.data < length {
            self.data = length;
            return None;
        }
        (self.received, self.data) = (0, 0);
        self.has_news = true;
        match kind {
            Kind::Input => {
                (self.is_requested, self.missing) = (false, length);
                if length == 0 {
                    (self.has_ended, self.input) = (true, None);
                }
            }
            Kind::Output => self.outputs[0] = None,
            Kind::Error => self.outputs[1] = None,
            Kind::Signal => self.signals |= bit(*data.first()?),
            Kind::Window => {
                self.size = *data.first_chunk()?;
                self.has_size = true;
                if let [Some(master), None] = &self.outputs {
                    fd::set_window_size(master, &self.size);
                }
            }
            Kind::Exit => self.is_acknowledged = true,
        }
        Some(())
    }
}
