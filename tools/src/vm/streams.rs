//! The host's side of the port for the workload's streams ([`whit::frame`]): moves them between descriptors of this program and the
//! machine.
//!
//! Session 0 is the workload's; the others are programs beside it.
//!
//! A slow reader of the output stops the workload once `MAX_RUNNING_BYTES` are stored. When the workload has ended, the rest of its
//! output is stored, so that the machine can end before the reader has taken everything.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use whit::frame::{self, HEADER_BYTES, Kind, MAX_DATA, PAUSE, RESUME, SESSIONS};

/// The most bytes of output that are stored while the workload runs.
const MAX_RUNNING_BYTES: usize = 1 << 20;
/// The most bytes of output that are stored after its end. A pipe has at most 1 MiB unless root has raised that limit (pipe(7)), and
/// the port's queue half of that.
const MAX_ENDED_BYTES: usize = 64 << 20;

/// The bytes that are received at once.
const MAX_RECEIVED: usize = 64 << 10;

/// The descriptors to connect. An output without one is discarded, and standard input without one is at its end.
#[derive(Default)]
pub struct Ends {
    /// Standard input.
    pub stdin: Option<File>,
    /// Standard output.
    pub stdout: Option<File>,
    /// Standard error.
    pub stderr: Option<File>,
    /// Whether the workload has a terminal: the end of input is ctrl-d.
    pub is_terminal: bool,
    /// Whether the keys of a terminal include ctrl-a x.
    pub has_escape: bool,
}

/// What happened on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The workload was started.
    Started,
    /// The workload ended, and its output was received.
    Ended,
    /// Standard output cannot be written to, for this reason: [`Errno::PIPE`] if its reader has gone.
    OutputClosed(Errno),
    /// The keys ctrl-a x.
    Quit,
}

/// A machine's port, and the threads that serve it.
pub struct Streams {
    socket: PathBuf,
    port: Arc<Port>,
    receiver: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// Sends frames to the machine, from any thread.
#[derive(Clone)]
pub struct Remote(Arc<Port>);

/// A program beside the workload.
pub struct Beside {
    session: Arc<Session>,
    writer: JoinHandle<()>,
}

/// Sends frames to a program beside the workload, from any thread.
#[derive(Clone)]
pub struct BesideRemote(Arc<Session>);

/// The port: the connection, and the sessions on it.
struct Port {
    workload: Arc<Session>,
    /// The other sessions that are open.
    beside: Mutex<Besides>,
}

/// Sessions by their numbers, each with the place where it is told that input is requested.
type Besides = BTreeMap<u8, (Arc<Session>, Sender<()>)>;

/// The streams of one program.
struct Session {
    number: u8,
    link: Arc<Mutex<Link>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Input was requested and is not sent yet.
    is_asked: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The output that is not written yet.
    output: VecDeque<(Kind, Vec<u8>)>,
    bytes: usize,
    /// The machine does not send more output of this session.
    is_paused: bool,
    /// The workload has ended: its output is stored.
    has_ended: bool,
    /// The program has ended, or QEMU has closed the port.
    is_over: bool,
    code: Option<u8>,
}

/// The connection to the machine.
#[derive(Default)]
struct Link {
    stream: Option<UnixStream>,
    /// The frames from before the connection.
    early: Vec<u8>,
}

impl Streams {
    /// Listens at `socket`, to which QEMU connects the port. Threads call `report`.
    ///
    /// # Errors
    /// Errors of bind(2).
    pub fn listen(socket: &Path, ends: Ends, report: impl Fn(Event) + Send + Sync + 'static) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let port = Arc::new(Port { workload: Session::new(0, Arc::default()), beside: Mutex::default() });
        let (requests, writer) = serve(&port.workload, ends, Arc::new(report), |report, event| report(event));
        let receiver = {
            let (port, report) = (Arc::clone(&port), writer.report);
            thread::spawn(move || {
                // An error is the end of the connection.
                let _ = port.receive(&listener, &requests, &*report);
                port.workload.change(|state| state.is_over = true);
                let beside = std::mem::take(&mut *port.lock_beside());
                beside.values().for_each(|(session, _)| session.change(|state| state.is_over = true));
            })
        };
        Ok(Self { socket: socket.to_owned(), port, receiver, writer: writer.thread })
    }

    /// Returns a sender of frames.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote(Arc::clone(&self.port))
    }

    /// Waits until the output of a machine that has ended is written. Returns the workload's exit code.
    #[must_use]
    pub fn finish(self) -> Option<u8> {
        // If QEMU has not connected, this connection wakes the thread.
        drop(UnixStream::connect(&self.socket));
        for thread in [self.receiver, self.writer] {
            let _ = thread.join(); // a thread that panicked has reported it
        }
        self.port.workload.lock().code
    }
}

/// Starts the threads that send input and write output.
fn serve<R: Send + Sync + 'static>(
    session: &Arc<Session>,
    ends: Ends,
    report: Arc<R>,
    call: fn(&R, Event),
) -> (Sender<()>, Writer<R>) {
    let Ends { stdin, stdout, stderr, is_terminal, has_escape } = ends;
    let keys = (is_terminal && has_escape).then(Keys::default);
    let (requests, requested) = channel();
    {
        let (session, report) = (Arc::clone(session), Arc::clone(&report));
        // Not joined: it may wait for a key for as long as the program runs.
        thread::spawn(move || {
            send_input(&session, &requested, stdin, is_terminal, keys, &|event| call(&report, event));
        });
    }
    let thread = {
        let (session, report) = (Arc::clone(session), Arc::clone(&report));
        thread::spawn(move || write_output(&session, [stdout, stderr], &|event| call(&report, event)))
    };
    (requests, Writer { report, thread })
}

/// The thread that writes output, and what it reports to.
struct Writer<R> {
    report: Arc<R>,
    thread: JoinHandle<()>,
}

impl Remote {
    /// Sends a signal to the workload.
    pub fn signal(&self, number: u8) {
        self.0.workload.send(Kind::Signal, number.into());
    }

    /// Sends the size of the terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.0.workload.resize(rows, columns);
    }

    /// Stores the rest of the output without waiting for its reader: the workload has ended.
    pub fn store_rest(&self) {
        self.0.workload.change(|state| state.has_ended = true);
    }

    /// Starts a program beside the workload, in a machine whose init has the feature `exec`. `options` are those of [`Kind::Exec`].
    ///
    /// # Errors
    /// A message of one line: too many programs, or options that are too long.
    pub fn start_beside(&self, options: &[u8], ends: Ends, size: Option<[u16; 2]>) -> Result<Beside, String> {
        check_options(options)?;
        let mut beside = self.0.lock_beside();
        let number = (1..SESSIONS as u8).find(|number| !beside.contains_key(number));
        let number = number
            .ok_or_else(|| format!("exec: a machine runs at most {} programs beside its workload", SESSIONS - 1))?;
        let session = Session::new(number, Arc::clone(&self.0.workload.link));
        let (requests, writer) = serve(&session, ends, Arc::new(()), |(), _| {});
        beside.insert(number, (Arc::clone(&session), requests));
        drop(beside);
        if let Some([rows, columns]) = size {
            session.resize(rows, columns);
        }
        session.write(&[&frame::header(Kind::Exec, number, options.len() as u32), options].concat());
        Ok(Beside { session, writer: writer.thread })
    }
}

/// Refuses the options of a program that are longer than the init takes.
pub(crate) fn check_options(options: &[u8]) -> Result<(), String> {
    match options.len() {
        0..=MAX_DATA => Ok(()),
        length => {
            Err(format!("exec: the command and its variables have {length} bytes; the init takes at most {MAX_DATA}"))
        }
    }
}

impl Beside {
    /// Returns a sender of frames.
    #[must_use]
    pub fn remote(&self) -> BesideRemote {
        BesideRemote(Arc::clone(&self.session))
    }

    /// Waits for the end of the program, and until its output is written. Returns its exit code; `None` if the machine has ended.
    #[must_use]
    pub fn finish(self) -> Option<u8> {
        let _ = self.writer.join(); // a thread that panicked has reported it
        self.session.lock().code
    }
}

impl BesideRemote {
    /// Sends a signal to the program.
    pub fn signal(&self, number: u8) {
        self.0.send(Kind::Signal, number.into());
    }

    /// Sends the size of the terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.0.resize(rows, columns);
    }
}

impl Session {
    fn new(number: u8, link: Arc<Mutex<Link>>) -> Arc<Self> {
        let (state, changed, is_asked) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Arc::new(Self { number, link, state, changed, is_asked })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `condition` holds.
    fn wait(&self, mut condition: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        let waiting = self.changed.wait_while(self.lock(), |state| !condition(state));
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame without data.
    fn send(&self, kind: Kind, number: u32) {
        self.write(&frame::header(kind, self.number, number));
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.send(Kind::Window, u32::from(columns) << 16 | u32::from(rows));
    }

    /// Requests input. A request is repeated for a workload that is restarted; it has one answer.
    fn ask(&self, requests: &Sender<()>) {
        if !self.is_asked.swap(true, Ordering::Relaxed) {
            let _ = requests.send(()); // it fails after the end of input
        }
    }

    /// Sends standard input, at most [`MAX_DATA`] bytes.
    fn send_input(&self, data: &[u8]) {
        self.is_asked.store(false, Ordering::Relaxed);
        self.write(&[&frame::header(Kind::Input, self.number, data.len() as u32), data].concat());
    }

    /// Writes a frame. An error means that the machine has ended.
    fn write(&self, frame: &[u8]) {
        // The init takes frames of a session that has ended for the next one of its number.
        if self.number > 0 && self.lock().is_over {
            return;
        }
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut link.stream {
            Some(stream) => drop(stream.write_all(frame)),
            None => link.early.extend(frame),
        }
    }

    /// Stores output. That of the workload waits for room; that of another program is paused by the init.
    fn store(&self, kind: Kind, data: Vec<u8>) {
        let mut state = if self.number == 0 {
            self.wait(|state| state.bytes < if state.has_ended { MAX_ENDED_BYTES } else { MAX_RUNNING_BYTES })
        } else {
            self.lock()
        };
        state.bytes += data.len();
        state.output.push_back((kind, data));
        let is_full = self.number > 0 && state.bytes >= MAX_RUNNING_BYTES && !state.is_paused;
        state.is_paused |= is_full;
        drop(state);
        self.changed.notify_all();
        if is_full {
            self.send(Kind::Output, PAUSE);
        }
    }

    /// Notes that output was written.
    fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes -= bytes;
        let has_room = state.is_paused && state.bytes < MAX_RUNNING_BYTES / 2;
        state.is_paused &= !has_room;
        drop(state);
        self.changed.notify_all();
        if has_room {
            self.send(Kind::Output, RESUME);
        }
    }
}

impl Port {
    fn lock_beside(&self) -> MutexGuard<'_, Besides> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives frames until QEMU closes the connection.
    fn receive(&self, listener: &UnixListener, requests: &Sender<()>, report: &dyn Fn(Event)) -> io::Result<()> {
        let stream = listener.accept()?.0;
        {
            let mut link = self.workload.link.lock().unwrap_or_else(PoisonError::into_inner);
            let mut sending = stream.try_clone()?;
            sending.write_all(&std::mem::take(&mut link.early))?;
            link.stream = Some(sending);
        }
        let mut stream = BufReader::with_capacity(MAX_RECEIVED, stream);
        let mut is_started = false;
        let mut header = [0; HEADER_BYTES];
        loop {
            stream.read_exact(&mut header)?;
            let (kind, session, number) = frame::parse(header).ok_or(io::ErrorKind::InvalidData)?;
            let length = if kind.has_data() { number as usize } else { 0 };
            if length > MAX_DATA {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut data = vec![0; length];
            stream.read_exact(&mut data)?;
            if session > 0 {
                self.take_beside(session, kind, number, data);
                continue;
            }
            let workload = &self.workload;
            match kind {
                Kind::Input => {
                    if !std::mem::replace(&mut is_started, true) {
                        report(Event::Started);
                    }
                    workload.ask(requests);
                }
                Kind::Output | Kind::Error => workload.store(kind, data),
                Kind::Exit => {
                    workload.change(|state| (state.code, state.has_ended) = (Some(number as u8), false));
                    workload.send(Kind::Exit, 0);
                    // A workload that is restarted requests input again.
                    is_started = false;
                    report(Event::Ended);
                }
                Kind::Signal | Kind::Window | Kind::Exec => {} // only to the machine
            }
        }
    }

    /// Handles a frame of a program beside the workload.
    fn take_beside(&self, number: u8, kind: Kind, value: u32, data: Vec<u8>) {
        let mut beside = self.lock_beside();
        let Some((session, requests)) = beside.get(&number) else { return };
        match kind {
            Kind::Input => session.ask(requests),
            Kind::Output | Kind::Error => {
                let session = Arc::clone(session);
                drop(beside);
                session.store(kind, data);
            }
            Kind::Exit => {
                session.change(|state| (state.code, state.is_over) = (Some(value as u8), true));
                beside.remove(&number);
            }
            Kind::Signal | Kind::Window | Kind::Exec => {}
        }
    }
}

/// Writes the output until QEMU has closed the port.
fn write_output(session: &Session, mut files: [Option<File>; 2], report: &dyn Fn(Event)) {
    loop {
        let mut state = session.wait(|state| !state.output.is_empty() || state.is_over);
        let Some((kind, data)) = state.output.pop_front() else { return };
        drop(state);
        let file = &mut files[usize::from(kind == Kind::Error)];
        if let Some(error) = file.as_ref().and_then(|file| write_all(file, &data).err()) {
            *file = None;
            session.send(kind, 0);
            if kind == Kind::Output {
                report(Event::OutputClosed(Errno::from_io_error(&error).unwrap_or(Errno::PIPE)));
            }
        }
        session.wrote(data.len());
    }
}

/// Writes all bytes, also to a file that another program has made non-blocking.
fn write_all(mut file: &File, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match file.write(data) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => data = &data[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(file, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends standard input, a frame for each request, and its end.
fn send_input(
    session: &Session,
    requested: &Receiver<()>,
    mut stdin: Option<File>,
    is_terminal: bool,
    mut keys: Option<Keys>,
    report: &dyn Fn(Event),
) {
    let mut buffer = [0; MAX_DATA];
    while requested.recv().is_ok() {
        let data = loop {
            let read = stdin.as_mut().map_or(&[][..], |stdin| read_some(stdin, &mut buffer));
            let Some(keys) = keys.as_mut().filter(|_| !read.is_empty()) else { break read.to_vec() };
            let keys = keys.filter(read);
            if keys.is_none() {
                report(Event::Quit);
            }
            match keys {
                Some(keys) if keys.is_empty() => {}
                keys => break keys.unwrap_or_default(),
            }
        };
        let is_end = data.is_empty();
        if is_end && is_terminal {
            /// The control character VEOF of a new terminal.
            const CONTROL_D: u8 = 4;
            session.send_input(&[CONTROL_D]);
            if requested.recv().is_err() {
                return;
            }
        }
        session.send_input(&data);
        if is_end {
            return;
        }
    }
}

/// Reads the bytes that are there; waits for the first one. An error counts as the end.
fn read_some<'a>(file: &mut File, buffer: &'a mut [u8]) -> &'a [u8] {
    loop {
        match file.read(buffer) {
            Ok(count) => return &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if poll(&mut [PollFd::new(file, PollFlags::IN)], None).is_err() {
                    return &[];
                }
            }
            Err(_) => return &[],
        }
    }
}

/// The escape sequences of a terminal, as QEMU has them: ctrl-a x ends the machine, ctrl-a ctrl-a is ctrl-a.
#[derive(Default)]
struct Keys {
    is_escaped: bool,
}

impl Keys {
    /// Returns the keys for the workload; `None` after ctrl-a x.
    fn filter(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        const CONTROL_A: u8 = 1;
        let mut keys = Vec::with_capacity(typed.len());
        for key in typed {
            match (self.is_escaped, *key) {
                (false, CONTROL_A) => self.is_escaped = true,
                (true, b'x' | b'X') => return None,
                (was_escaped, key) => {
                    // Any other key after ctrl-a is sent with it.
                    if was_escaped && key != CONTROL_A {
                        keys.push(CONTROL_A);
                    }
                    self.is_escaped = false;
                    keys.push(key);
                }
            }
        }
        Some(keys)
    }
}

#[cfg(test)]
mod tests;
