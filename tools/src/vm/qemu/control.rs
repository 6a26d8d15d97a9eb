//! A client of QEMU's machine protocol (QMP, docs/interop/qmp-spec): one JSON object per line.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

/// The timeout for an answer of QEMU, which takes milliseconds unless the host is stalled.
const ANSWER: Duration = Duration::from_secs(30);

/// The control socket of a machine. It listens before QEMU starts, and QEMU connects to it, so there is no race.
pub(super) struct Control {
    listener: UnixListener,
    stream: Option<BufReader<UnixStream>>,
}

impl Control {
    /// Creates the socket at `path`.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(path)?, stream: None })
    }

    /// Executes a command; `arguments` is an object, or null for none.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> io::Result<()> {
        self.ask(command, arguments, &mut |_| ()).map(drop)
    }

    /// Executes a command and returns the answer. Calls `note` with events that precede it.
    pub(super) fn ask(&mut self, command: &str, arguments: &Value, note: &mut dyn FnMut(&Value)) -> io::Result<Value> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let mut stream = accept(&self.listener)?;
                stream.get_ref().set_read_timeout(Some(ANSWER))?;
                read(&mut stream)?; // the greeting
                ask(&mut stream, "qmp_capabilities", &Value::Null, note)?;
                none.insert(stream)
            }
        };
        ask(stream, command, arguments, note)
    }

    /// Waits for the next event, however long it takes. A command was executed before.
    pub(super) fn event(&mut self) -> io::Result<Value> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.get_ref().set_read_timeout(None)?;
        let event = read(stream);
        stream.get_ref().set_read_timeout(Some(ANSWER))?;
        event
    }
}

fn accept(listener: &UnixListener) -> io::Result<BufReader<UnixStream>> {
    let mut ready = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec { tv_sec: ANSWER.as_secs() as i64, tv_nsec: 0 };
    if poll(&mut ready, Some(&timeout))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "QEMU did not connect"));
    }
    Ok(BufReader::new(listener.accept()?.0))
}

/// Sends a command and reads up to its answer.
fn ask(
    stream: &mut BufReader<UnixStream>,
    command: &str,
    arguments: &Value,
    note: &mut dyn FnMut(&Value),
) -> io::Result<Value> {
    let mut request = json!({ "execute": command });
    if !arguments.is_null() {
        request["arguments"] = arguments.clone();
    }
    stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
    loop {
        let mut answer = read(stream)?;
        if let Some(error) = answer.get("error") {
            return Err(io::Error::other(format!("{command}: {error}")));
        }
        if let Some(returned) = answer.get_mut("return") {
            return Ok(returned.take());
        }
        note(&answer);
    }
}

fn read(stream: &mut BufReader<UnixStream>) -> io::Result<Value> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU has ended"));
    }
    serde_json::from_str(&line).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Simulates QEMU: sends a greeting, answers the commands with `answers`, and returns the received commands.
    fn play(answers: &'static [&'static str]) -> (Control, thread::JoinHandle<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let control = Control::listen(&path).unwrap();
        let qemu = thread::spawn(move || {
            let mut stream = BufReader::new(UnixStream::connect(path).unwrap());
            drop(folder);
            stream.get_mut().write_all(b"{\"QMP\": {\"version\": {}}}\r\n").unwrap();
            let mut asked = Vec::new();
            for answer in answers {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                asked.push(line);
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        (control, qemu)
    }

    #[test]
    fn events_before_an_answer_are_skipped() {
        let (mut control, qemu) = play(&["{\"return\": {}}\r\n", "{\"event\": \"POWERDOWN\"}\r\n{\"return\": {}}\r\n"]);
        control.execute("device_del", &json!({ "id": "disk0" })).unwrap();
        assert_eq!(
            qemu.join().unwrap(),
            ["{\"execute\":\"qmp_capabilities\"}\n", "{\"arguments\":{\"id\":\"disk0\"},\"execute\":\"device_del\"}\n"]
        );
    }

    #[test]
    fn refused_commands_and_the_end_of_qemu_are_errors() {
        let (mut control, qemu) = play(&["{\"return\": {}}\n", "{\"error\": {\"desc\": \"no such command\"}}\n", ""]);
        assert!(control.execute("nix", &Value::Null).unwrap_err().to_string().contains("no such command"));
        assert_eq!(control.execute("quit", &Value::Null).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(qemu.join().unwrap().len(), 3);
    }
}
