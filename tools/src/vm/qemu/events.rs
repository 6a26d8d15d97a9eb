//! What QEMU reports of a machine: which of its ports the guest has opened (QMP event VSERPORT_CHANGE), an internal error that stops it
//! (STOP, of which `query-status` says why), and how it ended (SHUTDOWN).

use std::collections::BTreeSet;
use std::io;
use std::mem::take;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::control::Control;

/// Watches a machine, by a machine protocol of its own.
pub(super) struct Watch {
    socket: PathBuf,
    opened: Arc<Mutex<BTreeSet<String>>>,
    has_failed: Arc<AtomicBool>,
    has_powered_off: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Listens for QEMU at `socket`. `ports` are pairs of chardev id and port name.
    pub(super) fn listen(socket: &Path, ports: Vec<(String, String)>) -> io::Result<Self> {
        let mut control = Control::listen(socket)?;
        let opened = Arc::new(Mutex::new(BTreeSet::new()));
        let found = Arc::clone(&opened);
        let open = move |name: &str| {
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        };
        let has_failed = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&has_failed);
        let has_powered_off = Arc::new(AtomicBool::new(false));
        let powered_off = Arc::clone(&has_powered_off);
        let thread = thread::spawn(move || {
            // Ends with QEMU, or where there never was one that speaks the protocol.
            let _ = watch(&mut control, &ports, open, &failed, &powered_off);
        });
        Ok(Self { socket: socket.to_owned(), opened, has_failed, has_powered_off, thread: Some(thread) })
    }

    /// Reads the remaining events of a QEMU that has ended.
    pub(super) fn finish(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // If QEMU has not connected, this connection wakes the thread.
        drop(UnixStream::connect(&self.socket));
        let _ = thread.join(); // a thread that panicked has reported it
    }

    /// Returns whether the guest has ever opened this port.
    pub(super) fn has_opened(&self, name: &str) -> bool {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Returns whether the guest powered itself off.
    pub(super) fn has_powered_off(&self) -> bool {
        self.has_powered_off.load(Ordering::Relaxed)
    }

    /// Whether an internal error stopped the machine, which was ended then.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

fn watch(
    control: &mut Control,
    ports: &[(String, String)],
    open: impl Fn(&str),
    has_failed: &AtomicBool,
    has_powered_off: &AtomicBool,
) -> io::Result<()> {
    let mut has_stopped = false;
    let note = |event: &Value, has_stopped: &mut bool| {
        *has_stopped |= event["event"] == "STOP";
        if event["event"] == "VSERPORT_CHANGE" && event["data"]["open"] == true {
            event["data"]["id"].as_str().into_iter().for_each(&open);
        }
        if event["event"] == "SHUTDOWN" {
            // Others are guest-reset, guest-panic, host-signal and host-qmp-quit (qapi/run-state.json, ShutdownCause).
            has_powered_off.store(event["data"]["reason"] == "guest-shutdown", Ordering::Relaxed);
        }
    };
    // What was opened before there were events.
    let ends = control.ask("query-chardev", &Value::Null, &mut |event| note(event, &mut has_stopped))?;
    for end in ends.as_array().into_iter().flatten().filter(|end| end["frontend-open"] == true) {
        if let Some((_, name)) = ports.iter().find(|(id, _)| end["label"] == id.as_str()) {
            open(name);
        }
    }
    // The machine may have stopped before there were events.
    has_stopped = true;
    loop {
        if take(&mut has_stopped) {
            let status = control.ask("query-status", &Value::Null, &mut |event| note(event, &mut has_stopped));
            // A QEMU that has ended does not answer, but has left its events.
            if status.is_ok_and(|status| status["status"] == "internal-error") {
                has_failed.store(true, Ordering::Relaxed);
                // Nothing else would end it.
                control.execute("quit", &Value::Null)?;
            }
        }
        note(&control.event()?, &mut has_stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};

    /// Simulates a QEMU that sends three answers and `more`.
    fn play(chardev: &str, more: &str) -> Watch {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let mut watch = Watch::listen(&socket, vec![("port0".into(), "org.x".into())]).unwrap();
        let mut stream = BufReader::new(UnixStream::connect(&socket).unwrap());
        for answer in ["{\"QMP\": {}}\n", "{\"return\": {}}\n", &format!("{{\"return\": {chardev}}}\n{more}\n")] {
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if !answer.contains("label") {
                stream.read_line(&mut String::new()).unwrap();
            }
        }
        drop(stream);
        watch.finish();
        watch
    }

    #[test]
    fn a_port_that_was_ever_open_is_recorded() {
        let end = |is_open| format!("[{{\"label\": \"port0\", \"frontend-open\": {is_open}}}]");
        let event = |id, is_open| {
            format!("{{\"event\": \"VSERPORT_CHANGE\", \"data\": {{\"id\": \"{id}\", \"open\": {is_open}}}}}\n")
        };
        for (chardev, more, expected) in [
            (end(false), String::new(), false),
            (end(true), String::new(), true),
            (end(true), event("org.x", false), true),
            (end(false), event("org.x", true) + &event("org.x", false), true),
            (end(false), event("org.y", true), false),
            (end(false), "no JSON".into(), false),
        ] {
            assert_eq!(play(&chardev, &more).has_opened("org.x"), expected, "{chardev} {more}");
        }
    }

    #[test]
    fn a_machine_that_an_internal_error_stopped_is_ended() {
        let play = |status: &str| {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("qmp");
            let mut watch = Watch::listen(&socket, Vec::new()).unwrap();
            let mut stream = BufReader::new(UnixStream::connect(&socket).unwrap());
            stream.get_mut().write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut asked = String::new();
            for answer in ["{}", "[]", "{\"status\": \"running\"}", &format!("{{\"status\": \"{status}\"}}")] {
                stream.read_line(&mut asked).unwrap();
                let event = if asked.contains("query-status") { "{\"event\": \"STOP\"}\n" } else { "" };
                write!(stream.get_mut(), "{{\"return\": {answer}}}\n{event}").unwrap();
            }
            stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
            stream.read_to_string(&mut asked).unwrap();
            watch.finish();
            (watch.has_failed(), asked.contains("\"quit\""))
        };
        assert_eq!(play("internal-error"), (true, true));
        assert_eq!(play("paused"), (false, false));
    }

    #[test]
    fn a_qemu_that_never_came_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::listen(&folder.path().join("qmp"), Vec::new()).unwrap();
        watch.finish();
        assert!(!watch.has_opened("org.x"));
    }
}
