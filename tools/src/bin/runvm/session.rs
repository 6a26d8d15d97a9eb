//! Runs a machine, and connects it with its user: the workload's streams, signals, the terminal's size, the console.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;
use signal_hook::consts::SIGPIPE;
use whit::contract::{EXIT_PORT, STREAMS_PORT, WINDOW_PORT};
use whit_tools::cli::output;
use whit_tools::cli::temporary::{self, Temporary};
use whit_tools::cli::terminal::Raw;
use whit_tools::runtime::Named;
use whit_tools::vm::qemu::{self, CommandLine, Input, Machine};
use whit_tools::vm::streams::{Ends, Event, Streams};
use whit_tools::vm::{Daemon, End, ExitPort};

use crate::arguments::Stream;
use crate::console::{self, Console};
use crate::signals::{self, Ender, Phase};
use crate::window::Window;

/// One run of a machine.
pub(crate) struct Session {
    /// The daemons of shared folders.
    pub(crate) daemons: Vec<Daemon>,
    /// Whether the workload has a terminal, which gets each key.
    pub(crate) tty: bool,
    /// The streams to connect, if the machine has the port for them. Without it, the console is shown.
    pub(crate) streams: Option<Vec<Stream>>,
    /// Whether a shell takes the console after the workload's exit.
    pub(crate) has_shell: bool,
    /// Whether the boot's stages are shown.
    pub(crate) timeline: bool,
    /// Whether the machine reacts to its power button.
    pub(crate) has_button: bool,
    /// Gets all bytes of the console.
    pub(crate) console: Option<File>,
    /// The time from the stop signal to SIGKILL.
    pub(crate) stop_timeout: Duration,
    /// The machine's memory.
    pub(crate) memory_mib: u32,
    /// The machine's name.
    pub(crate) name: Option<Named>,
}

impl Session {
    /// Boots, and waits for the machine's end. Returns the exit status.
    pub(crate) fn run(mut self, mut command: CommandLine) -> Result<u8, String> {
        let failed = |error| format!("cannot create the machine's ports: {error}");
        // The folder is removed at the end of this function.
        let folder = Temporary::for_sockets().map_err(failed)?;
        let (shown, is_shown) = channel();
        let console = Arc::new(Mutex::new(Console::new(self.console.take(), self.timeline, shown)));
        let (output_error, has_quit) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
        // The threads of the ports start before the machine, which they may have to end.
        let ender: Arc<OnceLock<Arc<Ender>>> = Arc::default();
        let mut streams = None;
        if let Some(attached) = self.streams.take() {
            let path = folder.path().join("streams");
            let report = self.reporter(&console, &ender, &output_error, &has_quit);
            streams = Some(Streams::listen(&path, ends(&attached, self.tty), report).map_err(failed)?);
            command = command.port(STREAMS_PORT, path);
        } else {
            lock(&console).show();
        }
        let remote = streams.as_ref().map(Streams::remote);
        if let (Some(name), Some(remote)) = (&mut self.name, &remote) {
            name.serve(remote.clone())?;
        }
        let path = folder.path().join("exit");
        let ended = remote.clone();
        let port = ExitPort::listen(&path, move || ended.iter().for_each(|remote| remote.store_rest()));
        let port = port.map_err(failed)?;
        command = command.port_into(EXIT_PORT, path);
        let mut window = None;
        if self.tty {
            let path = folder.path().join("window");
            window = Some(Window::listen(&path, remote.clone()).map_err(failed)?);
            command = command.port(WINDOW_PORT, path);
        }
        let signals = signals::install()?;
        let (ended, daemon_ends) = channel();
        for daemon in &mut self.daemons {
            let ended = ended.clone();
            // It fails at the end of the program, when the receiver is dropped.
            daemon.start(move || ended.send(()).unwrap_or_default())?;
        }
        let watched = Arc::clone(&console);
        let watch = move |bytes: &[u8]| lock(&watched).push(bytes);
        let mut machine = Machine::start_with(&command, watch).map_err(|error| error.to_string())?;
        let ender = ender.get_or_init(|| {
            let press = machine.power_button();
            Arc::new(Ender {
                remote,
                press: if self.has_button { Some(Box::new(move || press().is_ok())) } else { None },
                signal_qemu: Box::new(machine.signaller()),
                stop_timeout: self.stop_timeout,
                signal: AtomicI32::new(0),
                phase: AtomicU8::new(Phase::Booting as u8),
            })
        });
        let end = Arc::new(End::default());
        let missed = watch_daemons(daemon_ends, machine.signaller(), Arc::clone(&end));
        signals::handle(signals, ender, window);
        let terminal = if self.tty { Raw::enter() } else { Ok(None) };
        let terminal = terminal.map_err(|error| format!("cannot set the terminal to raw mode: {error}"))?;
        let is_raw = terminal.is_some();
        console::IS_RAW.store(is_raw, Ordering::Relaxed);
        if let Some(input) = machine.take_input() {
            thread::spawn(move || copy_keyboard(input, &is_shown, is_raw));
        }
        let status = machine.join().map_err(|error| error.to_string())?;
        end.set();
        ender.set_over();
        let is_missed = missed.load(Ordering::Relaxed);
        let is_console_shown = lock(&console).finish();
        // No key can reach the machine any more, and ctrl-c has to end this program.
        drop(terminal);
        console::IS_RAW.store(false, Ordering::Relaxed);
        let code = streams.and_then(Streams::finish);
        let failures: Vec<_> = self.daemons.into_iter().filter_map(|daemon| daemon.end(is_missed)).collect();
        if let Some(error) = machine.internal_error() {
            return Err(error.to_string());
        }
        // QEMU tells of the signal that ended it, which this program has sent.
        for line in machine.messages().lines().filter(|line| !line.contains("terminating on signal")) {
            output::say(format_args!("runvm: {line}"));
        }
        if is_missed && !failures.is_empty() {
            return Err(failures.join("; "));
        }
        for line in failures {
            output::say(format_args!("runvm: {line}"));
        }
        match output_error.get() {
            // A terminal that was hung up fails with EIO.
            Some(&(Errno::PIPE | Errno::IO)) => temporary::end_by(SIGPIPE),
            Some(errno) => return Err(format!("standard output cannot be written: {errno}")),
            None => {}
        }
        // Any process in the machine can write an exit line to the console, but only the init can open the ports.
        let has_port = machine.has_opened(EXIT_PORT);
        let reported = port.finish();
        let reported = code.or(reported).or_else(|| if has_port { None } else { last_exit_line(&machine) });
        match (reported, ender.signal.load(Ordering::Relaxed)) {
            (Some(status), _) => Ok(status),
            (None, signal @ 1..) => Ok(128_u8.wrapping_add(signal as u8)), // a small number
            (None, _) if has_quit.load(Ordering::Relaxed) => Err("ctrl-a x ended the machine".to_owned()),
            // The image's own init has ended the machine.
            (None, _) if has_port && machine.has_powered_off() => Ok(0),
            (None, _) => Err(failure(&machine, status, (!is_console_shown).then_some(self.memory_mib))),
        }
    }

    /// Returns the function that handles the events of the workload's port.
    fn reporter(
        &self,
        console: &Arc<Mutex<Console>>,
        ender: &Arc<OnceLock<Arc<Ender>>>,
        output_error: &Arc<OnceLock<Errno>>,
        has_quit: &Arc<AtomicBool>,
    ) -> impl Fn(Event) + Send + Sync + 'static {
        let (console, ender, output_error) = (Arc::clone(console), Arc::clone(ender), Arc::clone(output_error));
        let (has_shell, has_quit) = (self.has_shell, Arc::clone(has_quit));
        move |event| {
            // There are no events before the machine has started.
            let Some(ender) = ender.get() else { return };
            match event {
                Event::Started => {
                    ender.change(Phase::Booting, Phase::Running);
                    // A power button that was pressed before its driver was loaded had no effect.
                    if ender.signal.load(Ordering::Relaxed) != 0 {
                        ender.power_off();
                    }
                }
                Event::Ended => {
                    ender.change(Phase::Running, Phase::Booting);
                    if has_shell {
                        lock(&console).show();
                    }
                }
                Event::OutputClosed(errno) => {
                    let _ = output_error.set(errno); // the first and only one
                    ender.power_off();
                }
                Event::Quit => {
                    has_quit.store(true, Ordering::Relaxed);
                    ender.end();
                }
            }
        }
    }
}

/// Locks the console; it is valid even if a thread has panicked.
fn lock(console: &Mutex<Console>) -> std::sync::MutexGuard<'_, Console> {
    console.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns this program's descriptors for the streams that are connected.
fn ends(attached: &[Stream], is_terminal: bool) -> Ends {
    let end = |stream: Stream, descriptor: &dyn AsFd| {
        let is_attached = attached.contains(&stream);
        // A descriptor that is closed is not connected.
        is_attached.then(|| descriptor.as_fd().try_clone_to_owned().ok()).flatten().map(File::from)
    };
    Ends {
        stdin: end(Stream::Stdin, &io::stdin()),
        stdout: end(Stream::Stdout, &io::stdout()),
        stderr: end(Stream::Stderr, &io::stderr()),
        is_terminal,
        has_escape: true,
    }
}

/// Returns the streams to connect: those of `-a`; by default both outputs, with `-i` standard input too, and with `-t` the keys of a
/// terminal.
pub(crate) fn attached(given: &[Stream], interactive: bool, tty: bool) -> Vec<Stream> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let mut streams = vec![Stream::Stdout, Stream::Stderr];
    if interactive || tty && io::stdin().is_terminal() {
        streams.push(Stream::Stdin);
    }
    streams
}

/// Describes a machine that ended without an exit code. If its console was not shown, shows the part that explains this; `memory_mib`
/// is the machine's memory then.
fn failure(machine: &Machine, status: ExitStatus, memory_mib: Option<u32>) -> String {
    if !status.success() {
        return format!("QEMU failed ({status}); --debug shows its command line");
    }
    let explain = |memory_mib| {
        let transcript = machine.transcript();
        whit_tools::vm::cause(&transcript).lines().for_each(output::say);
        whit_tools::vm::explain(&transcript, memory_mib)
    };
    memory_mib
        .and_then(explain)
        .unwrap_or_else(|| "the machine ended without reporting the workload's status".to_owned())
}

/// Returns the exit code from the console, for a machine without a driver for the port.
fn last_exit_line(machine: &Machine) -> Option<u8> {
    machine.transcript().lines().rev().find_map(qemu::exit_line)
}

/// Starts a thread that ends the machine if a daemon ends, because its processes would wait for the folder for ever. The
/// returned flag is set if that happens.
fn watch_daemons(ends: Receiver<()>, signal: impl Fn(Signal) + Send + 'static, end: Arc<End>) -> Arc<AtomicBool> {
    /// The grace period: at power-off, a daemon ends just before QEMU.
    const ORDERLY_END: Duration = Duration::from_secs(1);
    let missed = Arc::new(AtomicBool::new(false));
    let is_missed = Arc::clone(&missed);
    thread::spawn(move || {
        if ends.recv().is_err() {
            return;
        }
        for ending in [Signal::TERM, Signal::KILL] {
            if end.wait(ORDERLY_END) {
                return;
            }
            is_missed.store(true, Ordering::Relaxed);
            signal(ending);
        }
    });
    missed
}

/// Copies standard input to the machine's console, once that is shown, until either ends.
fn copy_keyboard(mut input: Input, is_shown: &Receiver<()>, is_raw: bool) {
    // QEMU loses output of a console whose input is closed: it stays open until the console is shown, or the program ends.
    if is_shown.recv().is_err() {
        return;
    }
    let mut buffer = [0; 1024];
    loop {
        let bytes = match io::stdin().read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => &buffer[..count],
        };
        let sent = if is_raw { input.send_keys(bytes) } else { input.send(bytes) };
        if sent.is_err() {
            return;
        }
    }
    // As above.
    std::mem::forget(input);
}
