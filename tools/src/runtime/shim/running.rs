//! The life of a machine: created, started, ended.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use whit::contract::{EXIT_PORT, STREAMS_PORT};

use super::{Architecture, Cards, Connection, Files, Machine, Network, own, terminal_size};
use crate::archive::segment;
use crate::cli::temporary::Temporary;
use crate::runtime::commands::FAILED;
use crate::runtime::disk;
use crate::runtime::exec;
use crate::runtime::oom::Oom;
use crate::runtime::state::Container;
use crate::vm::qemu::{Accelerator, Board, CommandLine, DiskInterface, Nic};
use crate::vm::streams::{Ends, Event, Remote, Streams};
use crate::vm::{Daemon, End, ExitPort, Lines, Message, Volume, cause, check_line, explain, kernel_line, qemu};

/// What a machine may take to end after SIGKILL for its workload: less than podman waits for (libpod, killContainerTimeout, 5 s).
const KILL_WAIT: Duration = Duration::from_secs(2);
const KILL: u8 = 9;
/// SIGRTMIN+3 and +4 of a C library: to halt, and to power off (systemd(1), SIGNALS).
const HALT: u8 = 37;
const POWER_OFF: u8 = 38;

/// What a container is asked for.
pub(super) enum Order {
    /// To boot.
    Start(Connection),
    /// To pass on a signal.
    Signal(u8, Option<Connection>),
    /// To run a program beside the workload, with its streams.
    Exec(Connection, Value, [Option<File>; 3]),
    /// To pass on the size of the terminal.
    Resize,
}

/// What a machine is made of.
pub(super) struct Parts {
    /// The kernel's command line.
    pub(super) words: String,
    pub(super) machine: Machine,
    pub(super) point: PathBuf,
    pub(super) bundle: PathBuf,
    pub(super) files: Files,
    pub(super) cards: Cards,
    pub(super) orders: Receiver<Order>,
    pub(super) oom: Oom,
}

/// Sends QEMU a signal.
type Signaller = Box<dyn Fn(Signal) + Send + Sync>;

/// A machine that runs, as its threads see it.
#[derive(Default)]
struct Shared {
    /// The workload runs, and gets signals by its port.
    is_running: AtomicBool,
    end: End,
    /// The last signal that may have ended the machine, or 0.
    signal: AtomicU8,
}

impl Parts {
    /// Waits for the start, and runs the machine. Returns the exit code.
    pub(super) fn run(self) -> u8 {
        let connection = loop {
            match self.orders.recv() {
                Ok(Order::Start(connection)) => break connection,
                Ok(Order::Signal(signal, connection)) => {
                    connection.iter().for_each(|connection| connection.answer(Ok(())));
                    if is_ending(signal) {
                        return 128 + signal;
                    }
                }
                Ok(Order::Exec(connection, ..)) => connection.answer(Err("the container was not started".to_owned())),
                Ok(Order::Resize) => {}
                Err(_) => return FAILED, // the threads that send have failed
            }
        };
        let is_terminal = self.machine.terminal;
        self.boot(connection).unwrap_or_else(|error| {
            print_line(&format!("whit-runtime: {error}"), is_terminal);
            FAILED
        })
    }

    /// Boots, and waits for the machine's end.
    fn boot(self, connection: Connection) -> Result<u8, String> {
        let answer_error = |error: String| {
            connection.answer(Err(error.clone()));
            error
        };
        let failed = |error: io::Error| format!("the machine's ports: {error}");
        let is_terminal = self.machine.terminal;
        let folder = Temporary::for_sockets().map_err(failed).map_err(answer_error)?;
        let shared = Arc::new(Shared::default());
        let path = folder.socket("streams");
        let streams = Streams::listen(&path, self.ends(), reporter(&shared)).map_err(failed).map_err(answer_error)?;
        let mut command = self.command().map_err(answer_error)?.port(STREAMS_PORT, path);
        let remote = streams.remote();
        let path = folder.socket("exit");
        let ended = remote.clone();
        let port = ExitPort::listen(&path, move || ended.store_rest()).map_err(failed).map_err(answer_error)?;
        command = command.port_into(EXIT_PORT, path);
        let record = segment::with_record(&self.files.initramfs, &self.machine.record);
        let record = record.map_err(|error| error.to_string()).map_err(answer_error)?;
        command = command.initrd(record.path());
        // QEMU opens it by this process's descriptor.
        let mut disk = None;
        let mut daemon = match &self.files.why_disk {
            None => {
                let volume = Volume { folder: self.point.clone(), path: "/".to_owned(), read_only: false };
                let daemon = Daemon::listen(&volume).map_err(answer_error)?.with_attributes();
                command = command.share(daemon.share());
                Some(daemon)
            }
            Some(why) => {
                let folders = [self.machine.root.as_path(), &self.bundle];
                let (path, file) = disk::make(&self.point, folders).map_err(answer_error)?;
                command = command.disk(DiskInterface::Virtio, path);
                disk = Some(file);
                print_line(&format!("whit-runtime: {why}: the root is a disk of the machine's own"), is_terminal);
                None
            }
        };
        if is_terminal {
            // The init waits for the size.
            let [rows, columns] = terminal_size().or(self.machine.size).unwrap_or_default();
            remote.resize(rows, columns);
        }
        let signal_later: Arc<OnceLock<Signaller>> = Arc::default();
        let (later, state) = (Arc::clone(&signal_later), Arc::clone(&shared));
        if let Some(daemon) = &mut daemon {
            daemon.start(move || end_without_folder(&later, &state)).map_err(answer_error)?;
        }
        let mut lines = Lines::default();
        let oom = self.oom.clone();
        let show = move |bytes: &[u8]| {
            for line in bytes.iter().filter_map(|byte| lines.push(*byte)) {
                oom.look_at(&line);
                if Message::of(&line) == Some(Message::Other) {
                    print_line(&line, is_terminal);
                }
            }
        };
        let mut machine =
            qemu::Machine::start_with(&command, show).map_err(|error| error.to_string()).map_err(answer_error)?;
        let _ = signal_later.set(Box::new(machine.signaller())); // the only place
        Container::mark_started(Path::new(""))
            .map_err(|error| format!("the container's folder: {error}"))
            .map_err(answer_error)?;
        connection.answer(Ok(()));
        let signal_qemu = machine.signaller();
        let (state, orders) = (Arc::clone(&shared), self.orders);
        let has_exec = self.files.has_exec;
        thread::spawn(move || obey(has_exec, &orders, &state, &remote, Arc::new(signal_qemu)));
        let status = machine.join().map_err(|error| error.to_string())?;
        drop(disk);
        shared.end.set(); // The daemon's thread waits for it, and is waited for below.
        let code = streams.finish();
        let reported = port.finish();
        let transcript = machine.transcript();
        // A daemon that ends well has ended after QEMU, if the kernel has ended that.
        let has_panicked = transcript.contains("Kernel panic");
        let is_sudden = shared.signal.load(Ordering::Relaxed) == 0 && code.is_none() && !has_panicked;
        let lost = daemon.and_then(|daemon| daemon.end(is_sudden));
        if let Some(code) = code.or(reported) {
            return Ok(code);
        }
        match (shared.signal.load(Ordering::Relaxed), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (signal @ 1.., _) => return Ok(128 + signal),
            // The host's kernel ended QEMU, most likely for its memory.
            (_, Some(signal)) => return Ok(128 + signal as u8),
            (0, None) => {}
        }
        if machine.has_powered_off() {
            return Ok(0); // the image's own init has ended the machine
        }
        cause(&transcript).lines().for_each(|line| print_line(line, is_terminal));
        machine.messages().lines().for_each(|line| print_line(line, is_terminal));
        let explained = explain(&transcript, self.machine.memory_mib);
        Err(lost.or(explained).unwrap_or_else(|| "the machine ended without the workload's exit code".to_owned()))
    }

    /// Returns the workload's streams: this process's own.
    fn ends(&self) -> Ends {
        Ends {
            stdin: own(&io::stdin()),
            stdout: own(&io::stdout()),
            // A terminal has one output.
            stderr: own(&io::stderr()),
            is_terminal: self.machine.terminal,
            has_escape: false,
        }
    }

    fn command(&self) -> Result<CommandLine, String> {
        let accelerator = match self.files.accelerator.as_str() {
            "" | "auto" => Accelerator::Auto,
            "kvm" => Accelerator::Kvm,
            "tcg" => Accelerator::Tcg,
            other => return Err(format!("accelerator \"{other}\": not auto, kvm or tcg")),
        };
        let command = CommandLine::new(&self.files.kernel)
            .board(board(super::HOST)?)
            .accelerator(accelerator)
            .memory_mib(self.machine.memory_mib)
            .cpus(self.machine.cpus)
            .append(&self.words)
            .nic(if self.machine.network == Network::Host { Nic::VirtioNet } else { Nic::None });
        Ok(self.cards.taps.iter().cloned().fold(command, CommandLine::tap))
    }
}

/// Returns the kernel's command line.
pub(super) fn words(machine: &Machine, cards: &Cards, has_disk: bool) -> Result<String, String> {
    let more = machine.annotations.get("append").map(String::as_str).unwrap_or_default();
    let network = match (&machine.network, cards.taps.is_empty()) {
        (Network::Host, _) => "",
        // The loopback alone, as in a container.
        (_, true) => " whit.net=bg",
        _ => cards.words.as_str(),
    };
    let root = match (has_disk, machine.read_only) {
        (true, true) => "/dev/vda ro".to_owned(),
        (true, false) => "/dev/vda".to_owned(),
        // A read-only root is so on the host's side: the machine's mount is that of the whole tree, with folders that are writable.
        (false, _) => format!("virtiofs:{}", qemu::share_tag(0)),
    };
    let words = format!("{} root={root}{network} {more}", kernel_line(super::HOST, more));
    check_line(&words, "annotation io.whit.append")?;
    Ok(words.trim_end().to_owned())
}

/// Returns the board of the machines of an architecture.
fn board(machine: Architecture) -> Result<Board, String> {
    match machine {
        // It boots in less time than QEMU's usual board.
        Architecture::X86_64 => Ok(Board::Q35),
        other => Board::of(other).ok_or_else(|| format!("{other}: there is no board for its machines")),
    }
}

/// Returns the function that handles the events of the workload's port.
fn reporter(shared: &Arc<Shared>) -> impl Fn(Event) + Send + Sync + 'static {
    let shared = Arc::clone(shared);
    move |event| match event {
        Event::Started => shared.is_running.store(true, Ordering::Relaxed),
        Event::Ended => shared.is_running.store(false, Ordering::Relaxed),
        // The engine's reader has ended. The workload's writes fail, and it may go on.
        Event::OutputClosed(_) | Event::Quit => {}
    }
}

/// Executes orders to a machine that runs.
fn obey(
    has_exec: bool,
    orders: &Receiver<Order>,
    shared: &Arc<Shared>,
    remote: &Remote,
    signal_qemu: Arc<impl Fn(Signal) + Send + Sync + 'static>,
) {
    for order in orders {
        match order {
            Order::Start(connection) => connection.answer(Err("the container is not in state created".to_owned())),
            Order::Exec(connection, ..) if !has_exec => {
                connection.answer(Err("exec: the init has not this feature; whole has it".to_owned()));
            }
            Order::Exec(connection, request, ends) => {
                let remote = remote.clone();
                thread::spawn(move || exec::serve(connection, &request, ends, &remote));
            }
            Order::Resize => terminal_size().into_iter().for_each(|[rows, columns]| remote.resize(rows, columns)),
            Order::Signal(signal, connection) => {
                let is_running = shared.is_running.load(Ordering::Relaxed);
                if is_ending(signal) {
                    shared.signal.store(signal, Ordering::Relaxed);
                }
                match (signal, is_running) {
                    // The stop signal of images with systemd. The machine ends, where a container's PID 1 would only halt.
                    (HALT, true) => remote.signal(POWER_OFF),
                    (0, _) => {}
                    (KILL, false) => signal_qemu(Signal::KILL),
                    (signal, _) => remote.signal(signal),
                }
                if signal == KILL && is_running {
                    let (shared, signal_qemu) = (Arc::clone(shared), Arc::clone(&signal_qemu));
                    thread::spawn(move || {
                        if !shared.end.wait(KILL_WAIT) {
                            signal_qemu(Signal::KILL);
                        }
                    });
                }
                connection.iter().for_each(|connection| connection.answer(Ok(())));
            }
        }
    }
}

/// Whether the signal's default action ends a process.
fn is_ending(signal: u8) -> bool {
    use signal_hook::consts::{SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    const OTHERS: [i32; 8] = [SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH];
    signal != 0 && !OTHERS.contains(&i32::from(signal))
}

/// Ends a machine whose daemon has ended: its processes would wait for their files for ever.
fn end_without_folder(signal_qemu: &OnceLock<Signaller>, shared: &Shared) {
    /// At power-off, a daemon ends just before QEMU.
    const ORDERLY_END: Duration = Duration::from_secs(1);
    if !shared.end.wait(ORDERLY_END) {
        signal_qemu.get().iter().for_each(|signal| signal(Signal::TERM));
    }
}

/// Prints a line to the container's standard error.
fn print_line(line: &str, is_terminal: bool) {
    let _ = write!(io::stderr(), "{line}{}", if is_terminal { "\r\n" } else { "\n" }); // its reader has gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_machine_and_its_kernel_are_of_the_host() {
        assert_eq!(board(Architecture::X86_64), Ok(Board::Q35));
        assert_eq!(board(Architecture::Aarch64), Ok(Board::Virt));
        assert!(board(Architecture::Riscv64).is_err());
        assert_eq!(board(Architecture::HOST).unwrap().machine(), Architecture::HOST);
        let other = Architecture::ALL.into_iter().find(|machine| *machine != Architecture::HOST).unwrap();
        let refused = format!("/k: the kernel is for {other}, but the machine is {}", Architecture::HOST);
        assert_eq!(super::super::check_machine(Path::new("/k"), Some(other)), Err(refused));
        for fitting in [Some(Architecture::HOST), None] {
            assert_eq!(super::super::check_machine(Path::new("/k"), fitting), Ok(()));
        }
    }

    #[test]
    fn a_command_line_is_not_longer_than_the_kernel_takes() {
        let with = |append: String| {
            let machine = Machine {
                root: PathBuf::new(),
                read_only: false,
                mounts: Vec::new(),
                points: Vec::new(),
                record: Vec::new(),
                memory_mib: 256,
                cpus: 1,
                terminal: false,
                size: None,
                network: Network::None,
                annotations: HashMap::from([("append".to_owned(), append)]),
            };
            words(&machine, &Cards::default(), false)
        };
        assert!(with("one".to_owned()).unwrap().ends_with(" whit.net=bg one"));
        let error = with("x".repeat(2048)).unwrap_err();
        assert!(error.starts_with("annotation io.whit.append: the kernel's command line has "), "{error}");
    }
}
