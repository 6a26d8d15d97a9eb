//! `exec`: programs beside the workload of a machine that runs.
//!
//! The client keeps its process id, for the engine, and passes its descriptors to the shim, which carries the streams. The connection
//! stays: signals and sizes go one way, the exit code the other.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use oci_spec::runtime::Process;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;

use super::commands::{FAILED, connect, describe, terminal};
use super::config;
use super::control::Connection;
use super::shim::{self, PASSED};
use super::state::Root;
use crate::cli::temporary;
use crate::vm::streams::{Ends, Remote, check_options};

/// The arguments of `exec`.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// The container's id.
    pub id: String,
    /// A file with the process in the specification's form.
    pub process: Option<PathBuf>,
    /// Without such a file, the program and its arguments.
    pub args: Vec<String>,
    /// Its variables, beside those of the container.
    pub env: Vec<String>,
    /// Its working directory.
    pub cwd: Option<String>,
    /// Its user, as `UID[:GID]`.
    pub user: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its input is at its end.
    pub no_input: bool,
    /// Whether to return once it was started.
    pub detach: bool,
    /// Gets the master side of the terminal.
    pub console_socket: Option<PathBuf>,
    /// Gets the process id.
    pub pid_file: Option<PathBuf>,
}

/// Runs a program beside the workload. Returns its exit code, or 0 once it was started.
///
/// # Errors
/// A message of one line.
pub fn exec(root: &Root, request: &Exec) -> Result<u8, String> {
    let container = root.find(&request.id)?;
    let state = container.load()?;
    if state["status"] != "running" {
        return Err(format!("container {}: container not running", request.id));
    }
    let (options, is_terminal) = options(request, &state)?;
    if request.detach || request.console_socket.is_some() {
        return detach(&container.folder, request, &options, is_terminal);
    }
    client(&connect(&container)?, &options, is_terminal, request.no_input)
}

/// Returns the options of the program for the init, and whether it has a terminal.
fn options(request: &Exec, state: &Value) -> Result<(Vec<u8>, bool), String> {
    let mut lines = Lines(Vec::new());
    let process = match &request.process {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| describe(path, &error))?;
            let mut process: Value = serde_json::from_slice(&text).map_err(|error| describe(path, &error))?;
            // podman leaves out what the specification requires.
            for (name, default) in [("user", json!({ "uid": 0, "gid": 0 })), ("cwd", "/".into())] {
                if process[name].is_null() {
                    process[name] = default;
                }
            }
            Some(serde_json::from_value::<Process>(process).map_err(|error| describe(path, &error))?)
        }
        None => None,
    };
    lines.push("entrypoint", "")?;
    let args = process.as_ref().map_or(&request.args, |process| process.args().as_ref().unwrap_or(&request.args));
    config::check_args(args).map_err(|error| format!("exec{error}"))?;
    for word in args {
        lines.push("whit.arg", word)?;
    }
    // The program has the variables of the container: the others are enough.
    let config = shim::load(Path::new(state["bundle"].as_str().unwrap_or_default())).ok();
    let known = config.as_ref().and_then(|spec| spec.process().as_ref()).and_then(|process| process.env().as_ref());
    let env = process.as_ref().and_then(|process| process.env().as_ref()).unwrap_or(&request.env);
    for variable in env.iter().filter(|variable| !known.is_some_and(|known| known.contains(variable))) {
        lines.push("whit.env", variable)?;
    }
    let user = process.as_ref().map(config::user).or_else(|| request.user.clone());
    let cwd = process.as_ref().and_then(|process| process.cwd().to_str()).or(request.cwd.as_deref());
    for (name, value) in [("whit.user", user.as_deref()), ("whit.workdir", cwd.filter(|cwd| !cwd.is_empty()))] {
        if let Some(value) = value {
            lines.push(name, value)?;
        }
    }
    if let Some(process) = &process {
        for line in config::privileges(process).lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            lines.push(&format!("whit.{name}"), value)?;
        }
    }
    let is_terminal = process.as_ref().map_or(request.tty, |process| process.terminal().unwrap_or_default());
    lines.push("whit.streams", if is_terminal { "terminal" } else { "pipes" })?;
    // Here, too: a message to the shim has its own limit.
    check_options(&lines.0)?;
    Ok((lines.0, is_terminal))
}

/// Options as the init takes them.
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.contains('\0') {
            return Err(format!("exec: {name} contains a NUL byte"));
        }
        self.0.extend(format!("{name} {value}\0").into_bytes());
        Ok(())
    }
}

/// Starts a client in the background, with this process's descriptors or a new terminal.
fn detach(folder: &Path, request: &Exec, options: &[u8], is_terminal: bool) -> Result<u8, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let (report, reported) = io::pipe().map_err(|error| format!("a pipe: {error}"))?;
    rustix::io::fcntl_setfd(&reported, rustix::io::FdFlags::empty()).map_err(|error| format!("a pipe: {error}"))?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&reported).to_string();
    let mut command = Command::new(&program);
    command.args(["client", "--report", &number, "--folder"]).arg(folder);
    command.args(is_terminal.then_some("--tty"));
    // Not on the command line, which all users read.
    let (input, mut given) = io::pipe().map_err(|error| format!("a pipe: {error}"))?;
    rustix::io::fcntl_setfd(&input, rustix::io::FdFlags::empty()).map_err(|error| format!("a pipe: {error}"))?;
    command.args(["--options", &std::os::fd::AsRawFd::as_raw_fd(&input).to_string()]);
    if let Some(path) = &request.console_socket {
        let slave = terminal(path).map_err(|error| describe(path, &error))?;
        let copy = || slave.try_clone().map(Stdio::from).map_err(|error| format!("the terminal: {error}"));
        command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
    }
    let mut child = command.process_group(0).spawn().map_err(|error| describe(&program, &error))?;
    drop((reported, input));
    io::Write::write_all(&mut given, options).map_err(|error| format!("the client: {error}"))?;
    drop(given);
    let mut line = String::new();
    let read = io::BufRead::read_line(&mut io::BufReader::new(report), &mut line);
    if !matches!(read, Ok(1..)) || !line.trim_end().is_empty() {
        let _ = child.wait(); // its message counts
        return Err(line.trim_end().to_owned());
    }
    if let Some(path) = &request.pid_file {
        std::fs::write(path, child.id().to_string()).map_err(|error| describe(path, &error))?;
    }
    Ok(0)
}

/// Runs a client that `exec` has started. Returns the exit code.
#[must_use]
pub fn run_client(folder: &Path, report: u32, options: u32, is_terminal: bool) -> u8 {
    let open = |number: u32| format!("/proc/self/fd/{number}");
    let Ok(mut report) = std::fs::OpenOptions::new().write(true).open(open(report)) else { return FAILED };
    crate::vm::child::keep_descriptors();
    let started = || {
        let options = std::fs::read(open(options)).map_err(|error| format!("the options: {error}"))?;
        let connection = Connection::at(folder).map_err(|error| describe(folder, &error))?;
        let _ = setsid();
        let signals = begin(&connection, &options, is_terminal, false)?;
        Ok::<_, String>((connection, signals))
    };
    let (connection, signals) = match started() {
        Ok(started) => started,
        Err(error) => {
            let _ = io::Write::write_all(&mut report, format!("{error}\n").as_bytes()); // its reader has gone
            return FAILED;
        }
    };
    let _ = io::Write::write_all(&mut report, b"\n"); // as above
    drop(report);
    wait(&connection, signals)
}

/// Runs a program in this process's terminal and streams.
fn client(connection: &Connection, options: &[u8], is_terminal: bool, no_input: bool) -> Result<u8, String> {
    let raw = if is_terminal { crate::cli::terminal::Raw::enter() } else { Ok(None) };
    let raw = raw.map_err(|error| format!("cannot set the terminal to raw mode: {error}"))?;
    let signals = begin(connection, options, is_terminal, no_input)?;
    let code = wait(connection, signals);
    drop(raw);
    Ok(code)
}

/// Starts the program. Returns the signals that are to be passed on.
fn begin(connection: &Connection, options: &[u8], is_terminal: bool, no_input: bool) -> Result<Signals, String> {
    let signals = Signals::new(temporary::not_ignored(&PASSED)).map_err(|error| format!("signals: {error}"))?;
    let stdin = io::stdin();
    if is_terminal {
        let _ = ioctl_tiocsctty(&stdin); // it has one already, or is no session's leader
        if let Ok(mut modes) = tcgetattr(&stdin) {
            modes.make_raw();
            let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
        }
    }
    let request = json!({ "do": "exec", "options": options, "terminal": is_terminal, "size": size() });
    let nothing = std::fs::File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    let input = if no_input { nothing.as_fd() } else { stdin.as_fd() };
    connection.ask_with(&request, [input, io::stdout().as_fd(), io::stderr().as_fd()])?;
    Ok(signals)
}

fn size() -> Option<[u16; 2]> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    (size.ws_row > 0).then_some([size.ws_row, size.ws_col])
}

/// Passes on signals, and waits for the exit code.
fn wait(connection: &Connection, mut signals: Signals) -> u8 {
    thread::scope(|scope| {
        let handle = signals.handle();
        scope.spawn(move || {
            for signal in signals.forever() {
                let message = if signal == SIGWINCH { json!({ "size": size() }) } else { json!({ "signal": signal }) };
                let _ = connection.send(&message); // the machine has ended
            }
        });
        let code = match connection.receive() {
            Ok(Some(answer)) => answer["code"].as_u64().and_then(|code| u8::try_from(code).ok()),
            _ => None,
        };
        handle.close();
        // As a process that its container's end kills.
        code.unwrap_or(137)
    })
}

/// Serves a client, in the shim: starts the program and waits for its end.
pub(super) fn serve(connection: Connection, request: &Value, ends: [Option<std::fs::File>; 3], remote: &Remote) {
    let options: Vec<u8> = serde_json::from_value(request["options"].clone()).unwrap_or_default();
    let is_terminal = request["terminal"].as_bool().unwrap_or_default();
    let size = |message: &Value| serde_json::from_value::<[u16; 2]>(message["size"].clone()).ok();
    let [stdin, stdout, stderr] = ends;
    let ends = Ends { stdin, stdout, stderr, is_terminal, has_escape: false };
    // The init waits for the size of a terminal.
    let started = remote.start_beside(&options, ends, size(request).or(is_terminal.then_some([0, 0])));
    let beside = match started {
        Ok(beside) => beside,
        Err(error) => return connection.answer(Err(error)),
    };
    connection.answer(Ok(()));
    let connection = Arc::new(connection);
    let (client, remote) = (Arc::clone(&connection), beside.remote());
    thread::spawn(move || {
        while let Ok(Some(message)) = client.receive() {
            if let Some(signal) = message["signal"].as_u64().and_then(|signal| u8::try_from(signal).ok()) {
                remote.signal(signal);
            }
            if let Some([rows, columns]) = size(&message) {
                remote.resize(rows, columns);
            }
        }
        // The client was killed, or has its answer.
        remote.signal(9);
    });
    let code = beside.finish();
    let _ = connection.send(&json!({ "code": code })); // it was killed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_too_long_is_refused_by_its_length() {
        let length = |bytes: usize| {
            let request = Exec { args: vec!["x".repeat(bytes)], ..Exec::default() };
            options(&request, &Value::Null).map(|(options, _)| options.len())
        };
        let others = length(1).unwrap() - 1;
        assert_eq!(length(4088 - others), Ok(4088));
        let program = |args: &[&str]| {
            let args = args.iter().map(|word| (*word).to_owned()).collect();
            options(&Exec { args, ..Exec::default() }, &Value::Null).unwrap_err()
        };
        assert_eq!(program(&[]), "exec: nothing to run");
        assert_eq!(program(&["", "x"]), "exec \"\": executable file not found in $PATH");
        for bytes in [4089, 20_000, 100_000] {
            let error = format!("exec: the command and its variables have {bytes} bytes; the init takes at most 4088");
            assert_eq!(length(bytes - others), Err(error));
        }
    }
}
