//! Runs a machine, and connects it with its user: keys, signals, the terminal's size, the console.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;
use whit::contract::{EXIT_PORT, WINDOW_PORT};
use whit_tools::cli::temporary::{self, Temporary};
use whit_tools::cli::terminal::{self, Raw};
use whit_tools::vm::qemu::{self, CommandLine, Input, Machine};
use whit_tools::vm::{Clean, Daemon, Timeline};

use crate::port::ExitPort;

/// One run of a machine.
pub(crate) struct Session {
    /// The daemons of shared folders.
    pub(crate) daemons: Vec<Daemon>,
    /// Whether each key goes to the machine.
    pub(crate) tty: bool,
    /// Whether the boot's stages are shown.
    pub(crate) timeline: bool,
    /// Whether the machine reacts to its power button.
    pub(crate) has_button: bool,
}

impl Session {
    /// Boots, and waits for the machine's end. Returns the exit status.
    pub(crate) fn run(mut self, mut command: CommandLine) -> Result<u8, String> {
        let failed = |error| format!("cannot create the machine's ports: {error}");
        // The folder is removed at the end of this function. The thread of the socket runs until the program ends.
        let folder = Temporary::directory(&std::env::temp_dir(), "whit-").map_err(failed)?;
        let mut window = None;
        if self.tty {
            let path = folder.path().join("window");
            window = Some(Window::listen(&path).map_err(failed)?);
            command = command.port(WINDOW_PORT, path);
        }
        let path = folder.path().join("exit");
        let port = ExitPort::listen(&path).map_err(failed)?;
        command = command.port_into(EXIT_PORT, path);
        // Before the machine starts: a signal in between would leave it running.
        let signals = Signals::new(temporary::ending_signals().into_iter().chain([SIGWINCH]))
            .map_err(|error| format!("cannot wait for signals: {error}"))?;
        temporary::leave_signals();
        let (ended, daemon_ends) = channel();
        for daemon in &mut self.daemons {
            let ended = ended.clone();
            // It fails at the end of the program, when the receiver is dropped.
            daemon.start(move || ended.send(()).unwrap_or_default())?;
        }
        let console = Console { clean: Clean::default(), timeline: self.timeline };
        let console = Arc::new(Mutex::new(console));
        let shown = Arc::clone(&console);
        let watch = move |bytes: &[u8]| shown.lock().unwrap_or_else(PoisonError::into_inner).show(bytes);
        let mut machine = Machine::start_with(&command, watch).map_err(|error| error.to_string())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let missed = watch_daemons(daemon_ends, machine.signaller(), Arc::clone(&is_over));
        let signal = handle_signals(signals, &machine, self.has_button, window);
        let terminal = if self.tty { Raw::enter() } else { Ok(None) };
        let terminal = terminal.map_err(|error| format!("cannot set the terminal to raw mode: {error}"))?;
        if let Some(input) = machine.take_input() {
            let is_raw = terminal.is_some();
            thread::spawn(move || copy_keyboard(input, is_raw));
        }
        let status = machine.join().map_err(|error| error.to_string())?;
        is_over.store(true, Ordering::Relaxed);
        let is_missed = missed.load(Ordering::Relaxed);
        console.lock().unwrap_or_else(PoisonError::into_inner).finish();
        drop(terminal);
        let failures: Vec<_> = self.daemons.into_iter().filter_map(|daemon| daemon.end(is_missed)).collect();
        if let Some(error) = machine.internal_error() {
            return Err(error.to_string());
        }
        for line in machine.messages().lines() {
            eprintln!("runvm: {line}");
        }
        if is_missed && !failures.is_empty() {
            return Err(failures.join("; "));
        }
        for line in failures {
            eprintln!("runvm: {line}");
        }
        // Any process in the machine can write an exit line to the console, but only the init can open the port.
        let has_port = machine.has_opened(EXIT_PORT);
        let reported = port.finish();
        let reported = reported.or_else(|| if has_port { None } else { last_exit_line(&machine) });
        match (reported, signal.load(Ordering::Relaxed)) {
            (Some(status), _) => Ok(status),
            (None, signal @ 1..) => Ok(128_u8.wrapping_add(signal as u8)), // one of three small numbers
            (None, _) if status.success() => {
                Err("the machine ended without reporting the workload's status".to_owned())
            }
            (None, _) => Err(format!("QEMU failed ({status}); its command line: {command}")),
        }
    }
}

/// Returns the exit code from the console, for a machine without a driver for the port.
fn last_exit_line(machine: &Machine) -> Option<u8> {
    machine.transcript().lines().rev().find_map(qemu::exit_line)
}

/// Starts a thread that ends the machine if a daemon ends, because its processes would wait for the folder for ever. The
/// returned flag is set if that happens.
fn watch_daemons(
    ends: Receiver<()>,
    signal: impl Fn(Signal) + Send + 'static,
    is_over: Arc<AtomicBool>,
) -> Arc<AtomicBool> {
    /// The grace period: at power-off, a daemon ends just before QEMU.
    const ORDERLY_END: Duration = Duration::from_secs(1);
    let missed = Arc::new(AtomicBool::new(false));
    let is_missed = Arc::clone(&missed);
    thread::spawn(move || {
        if ends.recv().is_err() {
            return;
        }
        thread::sleep(ORDERLY_END);
        for end in [Signal::TERM, Signal::KILL] {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            is_missed.store(true, Ordering::Relaxed);
            signal(end);
            thread::sleep(ORDERLY_END);
        }
    });
    missed
}

/// Shows the machine's console.
struct Console {
    clean: Clean,
    timeline: bool,
}

impl Console {
    fn show(&mut self, bytes: &[u8]) {
        let shown = self.clean.push(bytes);
        self.write(&shown);
        if let Some(line) = self.clean.take_timeline().filter(|_| self.timeline) {
            for line in Timeline::parse(&line).iter().flat_map(Timeline::lines) {
                // A raw terminal needs a carriage return.
                eprint!("{line}\r\n");
            }
        }
    }

    fn finish(&mut self) {
        let rest = self.clean.finish();
        self.write(&rest);
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut stdout = io::stdout();
        // If standard output is closed, the machine continues without it.
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }
}

/// Copies standard input to the machine until either ends.
fn copy_keyboard(mut input: Input, is_raw: bool) {
    let mut buffer = [0; 1024];
    loop {
        let bytes = match io::stdin().read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => &buffer[..count],
        };
        let sent = if is_raw { input.send_keys(bytes) } else { input.send(bytes) };
        if sent.is_err() {
            break;
        }
    }
}

/// Starts a thread that presses the power button at the first signal, ends QEMU at the next, and sends the terminal's size.
/// The returned number is the last ending signal, or 0.
fn handle_signals(
    mut signals: Signals,
    machine: &Machine,
    has_button: bool,
    mut window: Option<Window>,
) -> Arc<AtomicI32> {
    let received = Arc::new(AtomicI32::new(0));
    let last = Arc::clone(&received);
    let (press, end) = (Arc::new(machine.power_button()), Arc::new(machine.terminator()));
    thread::spawn(move || {
        window.iter_mut().for_each(Window::send_size);
        for signal in signals.forever() {
            if signal == SIGWINCH {
                window.iter_mut().for_each(Window::send_size);
                continue;
            }
            let is_first = last.swap(signal, Ordering::Relaxed) == 0;
            if !is_first || !has_button {
                end();
                continue;
            }
            eprint!("runvm: requesting power-off; a second signal ends the machine at once\r\n");
            // QEMU may answer late, and the next signal must not wait for that.
            let (press, end) = (Arc::clone(&press), Arc::clone(&end));
            thread::spawn(move || {
                if press().is_err() {
                    end();
                }
            });
        }
    });
    received
}

/// The port on which the machine receives the terminal's size.
struct Window {
    listener: UnixListener,
    stream: Option<UnixStream>,
}

impl Window {
    fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(path)?, stream: None })
    }

    /// Sends the size, which the machine reads later. Errors are ignored.
    fn send_size(&mut self) {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => match self.listener.accept() {
                Ok((stream, _)) => none.insert(stream),
                Err(_) => return,
            },
        };
        if let Some(size) = terminal::size() {
            let _ = stream.write_all(&size);
        }
    }
}
