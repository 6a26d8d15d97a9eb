//! Records the ports that a guest has opened, from the QMP event VSERPORT_CHANGE.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::control::Control;

/// Watches a machine's ports over a separate QMP connection.
pub(super) struct Watch {
    socket: PathBuf,
    opened: Arc<Mutex<BTreeSet<String>>>,
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
        let thread = thread::spawn(move || {
            // Ends with QEMU, or with an invalid answer.
            let _ = watch(&mut control, &ports, open);
        });
        Ok(Self { socket: socket.to_owned(), opened, thread: Some(thread) })
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
}

fn watch(control: &mut Control, ports: &[(String, String)], open: impl Fn(&str)) -> io::Result<()> {
    let mut note = |event: &Value| {
        if event["event"] == "VSERPORT_CHANGE" && event["data"]["open"] == true {
            event["data"]["id"].as_str().into_iter().for_each(&open);
        }
    };
    // Ports that were opened before this connection.
    let ends = control.ask("query-chardev", &Value::Null, &mut note)?;
    for end in ends.as_array().into_iter().flatten().filter(|end| end["frontend-open"] == true) {
        if let Some((_, name)) = ports.iter().find(|(id, _)| end["label"] == id.as_str()) {
            open(name);
        }
    }
    control.listen_on(&mut note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};

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
    fn finish_does_not_wait_for_a_qemu_that_never_connected() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::listen(&folder.path().join("qmp"), Vec::new()).unwrap();
        watch.finish();
        assert!(!watch.has_opened("org.x"));
    }
}
