//! The workload's standard streams over a virtio port of the host, as docker attaches them: three pipes, or a pty.
//!
//! PID 1 moves the bytes as [frames](whit::frame). It does not wait for the host or the workload: a host that does not read stops the
//! workload's writes, and a workload that does not read stops the requests for input. Signals, the size of the terminal and the exit
//! code use the same port.

use rustix::process::Pid;
use whit::contract::{NO_STREAMS, NOT_STARTED};
use whit::features::Feature;
use whit::frame::{self, HEADER_BYTES, Kind, MAX_DATA, PAUSE};
use whit::options::{self, Switch};
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
use crate::{shutdown, workload};

/// Limit for the port to appear, and for the host to send the size of its terminal.
const PORT_WAIT_S: u32 = 2;
/// Limit for the host to receive the rest of the output and the exit code. The host is told before that the workload has ended, and
/// should then store what it cannot show.
const FINISH_WAIT_S: u32 = 30;

/// The streams of the workload and of the programs beside it, and the state of the port. Small fields come first, as in the machine.
#[repr(C)]
pub(crate) struct Streams {
    /// A program has to read its input.
    is_blocked: bool,
    /// The bytes of `header` that were received.
    received: usize,
    /// The bytes of input, or of a program to start, that are still to be received of a frame.
    missing: usize,
    /// The session of the last frame that was received, and of the last one that was sent.
    receiving: usize,
    sending: usize,
    /// The session whose program is to be started, or 0.
    starting: usize,
    /// The signals that the host sent, one bit each, and [`NEWS`].
    signals: u64,
    /// The header that is being received.
    header: [u8; HEADER_BYTES],
    /// The port is used.
    is_active: bool,
    /// The host is connected to the port.
    has_host: bool,
    /// The host has received the exit code.
    is_acknowledged: bool,
    /// That of the workload comes first.
    sessions: [Session; SESSIONS],
}

/// The streams of one program.
struct Session {
    /// PID 1's side and the program's of input, output and error. Of a pty, the master side is PID 1's of the output, and is for input
    /// too; the slave side is the program's of the input, and is for output too. They stay open: a daemon keeps its terminal.
    sides: [[Option<Fd>; 2]; 3],
    /// The exit code that is sent after the output.
    code: Option<u8>,
    /// The size of the host's terminal, once it was received.
    size: Option<u32>,
    /// The program, if it is not the workload.
    process: Option<Pid>,
    /// The last frame was of standard output: standard error is next.
    is_error_next: bool,
    /// Input was requested since the program was started: the host takes that as its start.
    is_announced: bool,
    /// The host has been asked for input and has not sent it, or has sent its end.
    is_requested: bool,
    /// The host does not want output now.
    is_paused: bool,
}

/// The sessions of this init.
const SESSIONS: usize = if Feature::Exec.is_enabled() { frame::SESSIONS } else { 1 };

/// Opens pipes or a pty for the next workload, if the options want that and the host has the port. Returns whether they are open; an
/// error is a shutdown request.
pub(crate) fn open(machine: &mut Machine<'_>) -> Result<bool, End> {
    let kind = machine.options.streams();
    machine.streams.is_active = kind != options::Streams::Console;
    let is_terminal = kind == options::Streams::Terminal;
    let deadline_ms = after_s(now_ms(), PORT_WAIT_S);
    while machine.streams.is_active && now_ms() < deadline_ms {
        let is_missing = machine.ports.streams.is_none();
        if !if is_missing {
            machine.ports.may_appear
        } else {
            is_terminal && machine.streams.sessions[0].size.is_none()
        } {
            break;
        }
        wait_or_end(machine, deadline_ms)?;
    }
    machine.streams.is_active &= machine.ports.streams.is_some() && machine.streams.sessions[0].open(is_terminal);
    machine.streams.sessions[0].is_announced = false;
    if is_terminal && let [[_, Some(slave)], ..] = &machine.streams.sessions[0].sides {
        console::lead_session(slave);
    }
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
    machine.streams.sessions[0].code = Some(code);
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

/// Starts the program for which the host has sent options.
pub(crate) fn start_session(machine: &mut Machine<'_>) {
    if !machine.streams.is_starting() {
        return;
    }
    let number = core::mem::take(&mut machine.streams.starting);
    // After the workload only its daemons go on, if they are to.
    let started = if machine.workload.is_none() && !machine.options.has(Switch::Linger) {
        Err(NOT_STARTED)
    } else {
        workload::start_beside(machine, number)
    };
    INPUT.clear();
    if let Some(session) = machine.streams.sessions.get_mut(number) {
        match started {
            Ok(child) => session.process = Some(child),
            Err(code) => session.code = Some(code),
        }
    }
}

impl Session {
    const fn new() -> Self {
        Self {
            sides: [const { [const { None }; 2] }; 3],
            code: None,
            size: None,
            process: None,
            is_requested: false,
            is_announced: false,
            is_error_next: false,
            is_paused: false,
        }
    }

    /// Opens both sides, for the first program and for those that restart it. Returns whether they are open.
    #[inline(never)]
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

    /// Closes all descriptors, for the next program.
    #[inline(never)]
    fn close(&mut self) {
        for side in self.sides.as_flattened_mut() {
            *side = None;
        }
        (self.is_requested, self.is_announced, self.is_paused) = (false, false, false);
    }

    /// Returns the descriptor for input, unless it was closed.
    fn sink(&self) -> Option<&Fd> {
        match &self.sides {
            [[Some(input), _], ..] => Some(input),
            [_, [master, None], _] => master.as_ref(),
            _ => None,
        }
    }

    /// Fills the frame for the host, without its header. Returns its kind and number; `None` if there is nothing to send. Sets
    /// `is_blocked` if the program has to read before input can be requested.
    #[inline(never)]
    fn fill(&mut self, is_blocked: &mut bool) -> Option<(Kind, u32)> {
        let is_due = !(self.is_requested && self.is_announced) && self.sides[0][1].is_some();
        if is_due {
            // A pipe that is writable has room for a frame: a page (fs/pipe.c, pipe_full()).
            if self.sink().is_none_or(|sink| fd::wait_writable(sink, 0)) {
                (self.is_requested, self.is_announced) = (true, true);
                return Some((Kind::Input, 0));
            }
            *is_blocked = true;
        }
        for _ in 0..2 {
            // The outputs have turns: a flood of one does not stop the other.
            self.is_error_next = !self.is_error_next;
            let (kind, place) = if self.is_error_next { (Kind::Output, 1) } else { (Kind::Error, 2) };
            let output = self.sides[place][0].as_ref().filter(|_| !self.is_paused);
            let length = output.map_or(0, |output| OUTPUT.fill(output, MAX_DATA));
            if length > 0 {
                return Some((kind, length as u32));
            }
        }
        if self.is_paused {
            return None;
        }
        self.code.take().map(|code| (Kind::Exit, code.into()))
    }
}

impl Streams {
    /// Streams that are not open. A constant is zeros to the compiler, where the default of each field would be an instruction.
    pub(crate) const fn new() -> Self {
        Self {
            header: [0; _],
            received: 0,
            missing: 0,
            receiving: 0,
            sending: 0,
            starting: 0,
            signals: 0,
            is_blocked: false,
            is_active: false,
            has_host: false,
            is_acknowledged: false,
            sessions: [const { Session::new() }; SESSIONS],
        }
    }

    /// Opens both sides of a session.
    pub(crate) fn open_session(&mut self, number: usize, is_terminal: bool) {
        let _ = self.sessions.get_mut(number).is_some_and(|session| session.open(is_terminal));
    }

    /// Duplicates the program's side to descriptors 0 to 2. Called in the process that becomes the program.
    pub(crate) fn enter(&self, session: usize) {
        let Some(Session { sides, .. }) = self.sessions.get(session) else { return };
        for (number, [_, side]) in sides.iter().enumerate() {
            if let Some(side) = side.as_ref().or(sides[0][1].as_ref()) {
                fd::duplicate(side, number as u32);
            }
        }
    }

    /// Notes the exit code of a program beside the workload.
    pub(crate) fn ended(&mut self, child: Pid, code: u8) {
        for session in &mut self.sessions {
            if session.process == Some(child) {
                session.process = None;
                session.code = Some(code);
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
        self.is_blocked = !INPUT.is_empty();
        for _ in 0..MAX_MOVED {
            if !OUTPUT.flush(port) {
                return if self.signals != 0 { 0 } else { RETRY_MS };
            }
            if !self.fill() {
                return match () {
                    () if self.signals != 0 || self.is_starting() => 0,
                    () if self.is_blocked => RETRY_MS,
                    () => NEVER,
                };
            }
        }
        0
    }

    /// Whether the options of a program to start were received.
    fn is_starting(&self) -> bool {
        self.starting > 0 && self.missing == 0
    }

    /// Fills the frame for the host; the sessions have turns. Returns `false` if there is nothing to send.
    fn fill(&mut self) -> bool {
        for _ in 0..SESSIONS {
            self.sending = if self.sending + 1 < SESSIONS { self.sending + 1 } else { 0 };
            let Some(session) = self.sessions.get_mut(self.sending) else { continue };
            if let Some((kind, number)) = session.fill(&mut self.is_blocked) {
                OUTPUT.frame(kind, self.sending, number);
                if kind == Kind::Exit && self.sending > 0 {
                    session.close();
                }
                return true;
            }
        }
        false
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
            if self.starting > 0 {
                return; // The next frames may be for it.
            }
            match self.sessions.get(self.receiving).and_then(Session::sink) {
                Some(sink) if !INPUT.flush(sink) => return,
                Some(_) => {}
                None => INPUT.clear(),
            }
            let Some(room) = self.header.get_mut(self.received..) else { return };
            self.has_host = true;
            match fd::read_into(port, room) {
                Ok(0) => return self.has_host = false,
                Ok(read) => self.received += read,
                Err(_) => return,
            }
            if self.received == HEADER_BYTES {
                self.received = 0;
                self.take_frame();
            }
        }
    }

    /// Handles a frame whose header was received.
    fn take_frame(&mut self) {
        let Some((kind, number, length)) = frame::parse(self.header) else { return };
        let number = usize::from(number);
        let Some(session) = self.sessions.get_mut(number) else { return };
        if length == 0
            && let Some(sides) = session.sides.get_mut(kind as usize)
        {
            sides[0] = None;
        }
        match kind {
            Kind::Exec => {
                session.is_paused = false;
                (self.starting, self.receiving, self.missing) = (number, number, length as usize);
            }
            // After its end, no more input is requested.
            Kind::Input => {
                (session.is_requested, self.receiving, self.missing) = (length == 0, number, length as usize);
            }
            Kind::Output | Kind::Error => session.is_paused = length == PAUSE,
            // 0 asks whether the process is there; signals are numbered from 1 to 64.
            Kind::Signal if length.wrapping_sub(1) >= 64 => {}
            Kind::Signal if number > 0 => {
                session.process.iter().for_each(|child| shutdown::signal_workload(*child, length as u8));
            }
            Kind::Signal => self.signals |= bit(length as u8),
            Kind::Window => {
                session.size = Some(length);
                self.signals |= NEWS;
                session.resize();
            }
            Kind::Exit => {
                self.is_acknowledged = true;
                self.signals |= NEWS;
            }
        }
    }
}
