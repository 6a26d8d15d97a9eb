use super::*;
use std::time::Duration;

/// A port with pipes as its descriptors, and the machine's side of it.
struct Rig {
    _folder: tempfile::TempDir,
    streams: Streams,
    machine: UnixStream,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: File,
    events: Receiver<Event>,
}

fn pipe() -> (File, File) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    (File::from(read), File::from(write))
}

fn rig(is_terminal: bool) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("streams");
    let ((stdin, keyboard), (shown, stdout), (errors, stderr)) = (pipe(), pipe(), pipe());
    let (report, events) = channel();
    let report = Mutex::new(report);
    let ends = Ends { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr), is_terminal, has_escape: true };
    let streams =
        Streams::listen(&socket, ends, move |event| report.lock().unwrap().send(event).unwrap_or_default()).unwrap();
    let machine = UnixStream::connect(&socket).unwrap();
    machine.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    Rig { _folder: folder, streams, machine, stdin: Some(keyboard), stdout: Some(shown), stderr: errors, events }
}

impl Rig {
    fn send(&mut self, kind: Kind, data: &[u8]) {
        self.machine.write_all(&[&frame::header(kind, data.len() as u32), data].concat()).unwrap();
    }

    fn exit(&mut self, code: u8) {
        self.machine.write_all(&frame::header(Kind::Exit, code.into())).unwrap();
    }

    fn next(&mut self) -> (Kind, Vec<u8>) {
        let mut header = [0; HEADER_BYTES];
        self.machine.read_exact(&mut header).unwrap();
        let (kind, length) = frame::parse(header).unwrap();
        let mut data = vec![0; length as usize];
        self.machine.read_exact(&mut data).unwrap();
        (kind, data)
    }

    fn request(&mut self) -> (Kind, Vec<u8>) {
        self.send(Kind::Input, &[]);
        self.next()
    }

    /// Ends the machine. Returns the exit code, and what was left to read of both outputs.
    fn finish(mut self) -> (Option<u8>, Vec<u8>, Vec<u8>) {
        drop(self.machine);
        let stdout = self.stdout.take();
        let read = thread::spawn(move || stdout.map(read_to_end).unwrap_or_default());
        let code = self.streams.finish();
        (code, read.join().unwrap(), read_to_end(self.stderr))
    }
}

fn read_to_end(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn outputs_stay_apart_and_the_exit_code_is_acknowledged_after_them() {
    let mut rig = rig(false);
    rig.send(Kind::Output, b"out\0\xff");
    rig.send(Kind::Error, b"error");
    rig.send(Kind::Output, b" more");
    rig.exit(7);
    assert_eq!(rig.next(), (Kind::Exit, vec![]));
    assert_eq!(rig.events.recv(), Ok(Event::Ended));
    assert_eq!(rig.finish(), (Some(7), b"out\0\xff more".to_vec(), b"error".to_vec()));
}

#[test]
fn input_is_sent_on_request_up_to_its_end() {
    let mut rig = rig(false);
    let text = vec![b'x'; MAX_DATA + 1];
    rig.stdin.as_mut().unwrap().write_all(&text).unwrap();
    rig.stdin = None;
    let (mut received, mut ends) = (Vec::new(), 0);
    while ends == 0 {
        let (kind, data) = rig.request();
        assert_eq!(kind, Kind::Input);
        ends += usize::from(data.is_empty());
        received.extend(data);
    }
    assert_eq!(received, text);
    assert_eq!(rig.events.recv(), Ok(Event::Started));
    // A request after the end has no answer, and does no harm.
    rig.send(Kind::Input, &[]);
    rig.exit(0);
    assert_eq!(rig.next(), (Kind::Exit, vec![]));
}

#[test]
fn a_terminal_sends_keys_and_ends_with_control_d() {
    let mut rig = rig(true);
    rig.stdin.as_mut().unwrap().write_all(b"a\x01\x01\x01b").unwrap();
    assert_eq!(rig.request(), (Kind::Input, b"a\x01\x01b".to_vec()));
    rig.stdin = None;
    assert_eq!(rig.request(), (Kind::Input, vec![4]));
    assert_eq!(rig.request(), (Kind::Input, vec![]));
}

#[test]
fn control_a_x_quits() {
    let mut keys = Keys::default();
    assert_eq!(keys.filter(b"x\x01"), Some(b"x".to_vec()));
    assert_eq!(keys.filter(b"x"), None);
    let mut rig = rig(true);
    rig.stdin.as_mut().unwrap().write_all(b"\x01x").unwrap();
    rig.send(Kind::Input, &[]);
    assert_eq!(rig.events.recv(), Ok(Event::Started));
    assert_eq!(rig.events.recv(), Ok(Event::Quit));
}

#[test]
fn a_reader_that_has_gone_is_told_to_the_machine() {
    let mut rig = rig(false);
    rig.stdout = None;
    rig.send(Kind::Output, b"lost");
    assert_eq!(rig.next(), (Kind::Output, vec![]));
    assert_eq!(rig.events.recv(), Ok(Event::OutputClosed(Errno::PIPE)));
    rig.send(Kind::Output, b"lost");
    rig.send(Kind::Error, b"kept");
    assert_eq!(rig.finish(), (None, vec![], b"kept".to_vec()));
}

#[test]
fn a_slow_reader_stops_a_running_workload_and_not_the_end_of_the_machine() {
    let mut rig = rig(false);
    let remote = rig.streams.remote();
    let frames = 4 * MAX_RUNNING_BYTES / MAX_DATA;
    let mut machine = rig.machine.try_clone().unwrap();
    let sender = thread::spawn(move || {
        for number in 0..frames {
            machine.write_all(&frame::header(Kind::Output, MAX_DATA as u32)).unwrap();
            machine.write_all(&[number as u8; MAX_DATA]).unwrap();
        }
        machine.write_all(&frame::header(Kind::Exit, 3)).unwrap();
    });
    // Nothing reads standard output: the sender waits until the rest is stored.
    drop(rig.streams.shared.wait(|state| state.bytes >= MAX_RUNNING_BYTES));
    assert!(!sender.is_finished());
    remote.store_rest();
    assert_eq!(rig.next(), (Kind::Exit, vec![]));
    sender.join().unwrap();
    let (code, output, _) = rig.finish();
    assert_eq!((code, output.len()), (Some(3), frames * MAX_DATA));
    assert!(output.chunks(MAX_DATA).enumerate().all(|(number, chunk)| chunk.iter().all(|byte| *byte == number as u8)));
}

#[test]
fn frames_wait_for_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("streams");
    let ends = Ends { stdin: None, stdout: None, stderr: None, is_terminal: false, has_escape: true };
    let streams = Streams::listen(&socket, ends, |_| ()).unwrap();
    let remote = streams.remote();
    remote.resize(0x102, 0x304);
    let mut machine = UnixStream::connect(&socket).unwrap();
    let mut bytes = [0; HEADER_BYTES];
    machine.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [4, 0, 0, 0, 3, 4, 1, 2]);
    remote.signal(15);
    machine.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [3, 0, 0, 0, 0, 0, 0, 15]);
    // Without standard input, the first request is answered with its end.
    machine.write_all(&frame::header(Kind::Input, 0)).unwrap();
    machine.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0; HEADER_BYTES]);
    drop(machine);
    assert_eq!(streams.finish(), None);
}

#[test]
fn a_machine_that_never_came_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let ends = Ends { stdin: None, stdout: None, stderr: None, is_terminal: false, has_escape: true };
    let streams = Streams::listen(&folder.path().join("streams"), ends, |_| ()).unwrap();
    assert_eq!(streams.finish(), None);
}
