//! A running machine: its console, its keyboard, its power button, its end.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::command::CommandLine;
use super::console::{Console, Lost, find};
use super::control::Control;
use super::error::Error;
use super::events::Watch;
use crate::cli::temporary::Temporary;
use crate::programs::Program;
use crate::vm::child::end_with_this_thread;

/// A running QEMU. Dropping it kills it.
pub struct Machine {
    child: Child,
    input: Option<Input>,
    console: Arc<Console>,
    /// The position in the console up to which waiting has matched.
    position: usize,
    control: Arc<Mutex<Control>>,
    /// What the guest has opened, and whether it was stopped.
    watch: Watch,
    /// With the control's socket. Not the control's own: a thread that presses a button may still have that at the end.
    _folder: Temporary,
    program: Program,
    command: String,
    messages: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

/// The input of a machine's serial port.
pub struct Input(ChildStdin);

impl Input {
    /// Types `bytes`.
    ///
    /// # Errors
    /// Errors of writing to the pipe, if the machine has ended.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The escape key of QEMU's commands; doubled, it is sent to the guest.
        const CONTROL_A: u8 = 0x01;
        let repeats = |byte: &u8| if *byte == CONTROL_A { 2 } else { 1 };
        let escaped: Vec<u8> = bytes.iter().flat_map(|byte| std::iter::repeat_n(*byte, repeats(byte))).collect();
        self.send_keys(&escaped)
    }

    /// Types `bytes` with QEMU's commands: `ctrl-a x` ends QEMU, `ctrl-a c` opens its monitor.
    ///
    /// # Errors
    /// See [`Input::send`].
    pub fn send_keys(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }
}

impl Machine {
    /// Starts QEMU.
    ///
    /// # Errors
    /// A QEMU that is not installed or cannot be started. If it fails later, waiting reports it.
    pub fn start(command: &CommandLine) -> Result<Self, Error> {
        Self::spawn(command, |_| {}, false)
    }

    /// Starts QEMU, which ends with the calling thread. Another thread calls `watch` with the console's bytes as they arrive.
    ///
    /// # Errors
    /// See [`Machine::start`].
    pub fn start_with(command: &CommandLine, watch: impl FnMut(&[u8]) + Send + 'static) -> Result<Self, Error> {
        Self::spawn(command, watch, true)
    }

    fn spawn(
        command: &CommandLine,
        mut watch: impl FnMut(&[u8]) + Send + 'static,
        ends_with_thread: bool,
    ) -> Result<Self, Error> {
        let folder = Temporary::for_sockets().map_err(Error::Control)?;
        let path = folder.socket("qmp");
        let control = Control::listen(&path).map_err(Error::Control)?;
        let events = folder.socket("events");
        let command = command.clone().control(&path).control(&events);
        let watch_events = Watch::listen(&events, command.ports()).map_err(Error::Control)?;
        let program = command.machine().qemu();
        let mut qemu = Command::new(program.name);
        // A separate process group: the terminal's signals go to the caller, not to QEMU.
        qemu.args(command.arguments()).process_group(0);
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if ends_with_thread {
            end_with_this_thread(&mut qemu);
        }
        let mut child = qemu.spawn().map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Error::Missing(program)
            } else {
                Error::Start { program, error }
            }
        })?;
        let console = Arc::new(Console::default());
        let messages = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            let console = Arc::clone(&console);
            readers.push(thread::spawn(move || {
                read_all(output, |bytes| {
                    console.push(bytes);
                    watch(bytes);
                });
                console.end();
            }));
        }
        if let Some(output) = child.stderr.take() {
            let messages = Arc::clone(&messages);
            readers.push(thread::spawn(move || {
                read_all(output, |bytes| {
                    messages.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                });
            }));
        }
        let input = child.stdin.take().map(Input);
        let command = command.to_string();
        let control = Arc::new(Mutex::new(control));
        Ok(Self {
            child,
            program,
            input,
            console,
            position: 0,
            control,
            watch: watch_events,
            _folder: folder,
            command,
            messages,
            readers,
        })
    }

    /// Waits until the console shows `marker` after the last match. Returns its line up to the marker's end.
    ///
    /// # Errors
    /// The machine ends first, or the timeout expires; the error contains command and console.
    pub fn wait_for(&mut self, marker: &str, within: Duration) -> Result<String, Error> {
        let mut searched = 0;
        let found = self.console.wait(&mut self.position, Some(within), |unread, _| {
            // The marker may begin in the part that was searched before.
            let start = searched.min(unread.len()).saturating_sub(marker.len());
            searched = unread.len();
            let end = start + find(&unread[start..], marker.as_bytes())? + marker.len();
            let line = unread[..end - marker.len()].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            Some((end, String::from_utf8_lossy(&unread[line..end]).into_owned()))
        });
        found.map_err(|lost| self.lost(lost, &format!("the console did not show \"{marker}\""), within))
    }

    /// Waits for a line that contains `marker`, and returns it.
    ///
    /// # Errors
    /// See [`Machine::wait_for`].
    pub fn wait_for_line(&mut self, marker: &str, within: Duration) -> Result<String, Error> {
        let start = self.wait_for(marker, within)?;
        let rest = self.next_line(within)?;
        Ok(start + &rest)
    }

    /// Waits for the next line of the console, and returns it without its newline; at the machine's end, an incomplete one.
    ///
    /// # Errors
    /// See [`Machine::wait_for`].
    pub fn next_line(&mut self, within: Duration) -> Result<String, Error> {
        let line = self.console.wait(&mut self.position, Some(within), |unread, ended| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            match unread.iter().position(|byte| *byte == b'\n') {
                Some(length) => Some((length + 1, text(&unread[..length]))),
                None if ended && !unread.is_empty() => Some((unread.len(), text(unread))),
                None => None,
            }
        });
        line.map_err(|lost| self.lost(lost, "the console showed no further line", within))
    }

    /// Types `bytes` on the console.
    ///
    /// # Errors
    /// A machine that has ended, or whose input was taken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = match &mut self.input {
            Some(input) => input.send(bytes),
            None => Err(io::Error::other("the machine's input was taken")),
        };
        sent.map_err(|error| self.failed(format!("the console took no input: {error}")))
    }

    /// Takes the input of the serial port, for example for a thread that copies the keyboard.
    pub fn take_input(&mut self) -> Option<Input> {
        self.input.take()
    }

    /// Returns the console's output, without terminal control.
    #[must_use]
    pub fn transcript(&self) -> String {
        self.console.transcript()
    }

    /// Returns QEMU's standard error; complete after waiting for the machine's end.
    #[must_use]
    pub fn messages(&self) -> String {
        String::from_utf8_lossy(&self.messages.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The error of a machine that an internal error stopped: KVM cannot run the guest.
    #[must_use]
    pub fn internal_error(&self) -> Option<Error> {
        let messages = self.messages();
        // QEMU shows the processor's registers as well.
        let first = messages.lines().find(|line| line.contains("KVM")).unwrap_or("QEMU does not say which");
        self.watch.has_failed().then(|| Error::Stopped(first.to_owned()))
    }

    /// Returns the error for a failure that the caller saw, with QEMU's messages and the command line as in [`Error::Failed`].
    #[must_use]
    pub fn failed(&self, what: String) -> Error {
        if let Some(error) = self.internal_error() {
            return error;
        }
        Error::Failed { what, command: self.command.clone(), console: self.transcript(), messages: self.messages() }
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn power_down(&mut self) -> Result<(), Error> {
        self.execute("system_powerdown", &Value::Null)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.execute("system_reset", &Value::Null)
    }

    /// Executes a command of QEMU's machine protocol; `arguments` is an object, or null for none.
    ///
    /// # Errors
    /// QEMU refuses the command or does not answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<(), Error> {
        execute(&self.control, command, arguments)
    }

    /// Ends QEMU at once. Writes that QEMU has accepted reach the disk image.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn quit(&mut self) -> Result<(), Error> {
        self.execute("quit", &Value::Null)
    }

    /// Returns a function that presses the power button from another thread, as [`Machine::power_down`] does.
    pub fn power_button(&self) -> impl Fn() -> Result<(), Error> + Send + Sync + 'static {
        let control = Arc::clone(&self.control);
        move || execute(&control, "system_powerdown", &Value::Null)
    }

    /// Returns a function that ends QEMU from another thread by SIGTERM, on which QEMU ends normally.
    pub fn terminator(&self) -> impl Fn() + Send + Sync + 'static {
        let end = self.signaller();
        move || end(Signal::TERM)
    }

    /// Returns a function that sends QEMU a signal from another thread.
    pub fn signaller(&self) -> impl Fn(Signal) + Send + Sync + 'static {
        let pid = Pid::from_child(&self.child);
        move |signal| {
            // It fails only if QEMU has ended already.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for the machine's end.
    ///
    /// # Errors
    /// The timeout expires; the error contains command and console.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, Error> {
        match self.ended(Some(within)) {
            Ok(()) => self.join(),
            Err(lost) => Err(self.lost(lost, "the machine did not end", within)),
        }
    }

    /// Waits for the machine's end without a timeout.
    ///
    /// # Errors
    /// Errors of waitpid(2).
    pub fn join(&mut self) -> Result<ExitStatus, Error> {
        // The console ends when QEMU exits, which closes its outputs. Waiting with a deadline works only by reading.
        let _ = self.ended(None);
        let status = self.child.wait().map_err(|error| Error::Start { program: self.program, error })?;
        for reader in self.readers.drain(..) {
            // A panic of the reader was already reported.
            let _ = reader.join();
        }
        self.watch.finish();
        Ok(status)
    }

    /// Returns whether the guest has ever opened the port of this name; complete after waiting for the machine's end.
    #[must_use]
    pub fn has_opened(&self, port: &str) -> bool {
        self.watch.has_opened(port)
    }

    /// Returns whether the guest powered itself off, in order: not after a reset or a panic. Complete after waiting for the machine's
    /// end.
    #[must_use]
    pub fn has_powered_off(&self) -> bool {
        self.watch.has_powered_off()
    }

    /// Kills QEMU, which is a power failure for the guest.
    pub fn kill(&mut self) {
        // Both fail only after QEMU has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn ended(&self, within: Option<Duration>) -> Result<(), Lost> {
        let mut position = self.position;
        self.console.wait(&mut position, within, |_, ended| ended.then_some((0, ())))
    }

    fn lost(&self, lost: Lost, what: &str, within: Duration) -> Error {
        self.failed(match lost {
            Lost::Ended => format!("{what} before the machine ended"),
            Lost::Late => format!("{what} within {} s", within.as_secs_f32()),
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn execute(control: &Mutex<Control>, command: &str, arguments: &Value) -> Result<(), Error> {
    let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
    control.execute(command, arguments).map_err(Error::Control)
}

/// Reads to the end; an error counts as the end.
fn read_all(mut source: impl Read, mut sink: impl FnMut(&[u8])) {
    let mut buffer = [0; 8192];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => sink(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
