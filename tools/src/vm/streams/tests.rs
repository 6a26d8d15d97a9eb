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
        self.machine.write_all(&[&frame::header(kind, 0, data.len() as u32), data].concat()).unwrap();
    }

    fn exit(&mut self, code: u8) {
        self.machine.write_all(&frame::header(Kind::Exit, 0, code.into())).unwrap();
    }

    fn next(&mut self) -> (Kind, Vec<u8>) {
        let mut header = [0; HEADER_BYTES];
        self.machine.read_exact(&mut header).unwrap();
        let (kind, session, length) = frame::parse(header).unwrap();
        assert_eq!(session, 0);
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
            machine.write_all(&frame::header(Kind::Output, 0, MAX_DATA as u32)).unwrap();
            machine.write_all(&[number as u8; MAX_DATA]).unwrap();
        }
        machine.write_all(&frame::header(Kind::Exit, 0, 3)).unwrap();
    });
    // Nothing reads standard output: the sender waits until the rest is stored.
    drop(rig.streams.port.workload.wait(|state| state.bytes >= MAX_RUNNING_BYTES));
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
    machine.write_all(&frame::header(Kind::Input, 0, 0)).unwrap();
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

/// Reads a frame: kind, session, number and data.
fn frame_of(machine: &mut UnixStream) -> (Kind, u8, u32, Vec<u8>) {
    let mut header = [0; HEADER_BYTES];
    machine.read_exact(&mut header).unwrap();
    let (kind, session, number) = frame::parse(header).unwrap();
    let mut data = vec![0; if kind.has_data() && number > 2 { number as usize } else { 0 }];
    machine.read_exact(&mut data).unwrap();
    (kind, session, number, data)
}

#[test]
fn programs_beside_the_workload_have_sessions() {
    let Rig { streams, mut machine, stdout, _folder, .. } = rig(false);
    let remote = streams.remote();
    let start = |stdout| {
        let ends = Ends { stdin: None, stdout: Some(stdout), stderr: None, is_terminal: false, has_escape: false };
        remote.start_beside(b"whit.arg a\0", ends, Some([3, 4]))
    };
    let (shown, output) = pipe();
    let first = start(output).unwrap();
    assert_eq!(frame_of(&mut machine), (Kind::Window, 1, 4 << 16 | 3, vec![]));
    assert_eq!(frame_of(&mut machine), (Kind::Exec, 1, 11, b"whit.arg a\0".to_vec()));
    let others: Vec<_> = (2..9).map(|_| start(pipe().1).unwrap()).collect();
    let error = start(pipe().1).err().unwrap();
    assert_eq!(error, "exec: a machine runs at most 8 programs beside its workload");
    for session in 2..9 {
        assert_eq!((frame_of(&mut machine).1, frame_of(&mut machine).1), (session, session));
    }
    let mut send = |kind, session, data: &[u8]| {
        machine.write_all(&[&frame::header(kind, session, data.len() as u32), data].concat()).unwrap();
    };
    send(Kind::Output, 1, b"one");
    send(Kind::Output, 0, b"workload");
    send(Kind::Input, 1, b"");
    send(Kind::Output, 9, b"of no session");
    assert_eq!(frame_of(&mut machine), (Kind::Input, 1, 0, vec![]));
    first.remote().signal(15);
    assert_eq!(frame_of(&mut machine), (Kind::Signal, 1, 15, vec![]));
    machine.write_all(&frame::header(Kind::Exit, 1, 7)).unwrap();
    let remote_of_first = first.remote();
    assert_eq!((first.finish(), read_to_end(shown)), (Some(7), b"one".to_vec()));
    // A session that has ended sends nothing; its number is used again.
    remote_of_first.signal(9);
    let again = start(pipe().1).unwrap();
    assert_eq!((frame_of(&mut machine).0, frame_of(&mut machine).0), (Kind::Window, Kind::Exec));
    drop(machine);
    assert_eq!((again.finish(), others.into_iter().filter_map(Beside::finish).count()), (None, 0));
    assert_eq!((streams.finish(), read_to_end(stdout.unwrap())), (None, b"workload".to_vec()));
    let long = remote.start_beside(&[b'x'; MAX_DATA + 1], Ends::default(), None).err().unwrap();
    assert_eq!(long, "exec: the command and its variables have 4089 bytes; the init takes at most 4088");
}

#[test]
fn a_slow_reader_of_one_program_does_not_stop_the_workload() {
    let Rig { streams, mut machine, stdout, _folder, .. } = rig(false);
    let (shown, output) = pipe();
    let ends = Ends { stdout: Some(output), ..Ends::default() };
    let beside = streams.remote().start_beside(b"", ends, None).unwrap();
    assert_eq!(frame_of(&mut machine).0, Kind::Exec);
    let frames = MAX_RUNNING_BYTES / MAX_DATA + 64 * 1024 / MAX_DATA + 2;
    for _ in 0..frames {
        machine.write_all(&[&frame::header(Kind::Output, 1, MAX_DATA as u32)[..], &[b'x'; MAX_DATA]].concat()).unwrap();
    }
    assert_eq!(frame_of(&mut machine), (Kind::Output, 1, PAUSE, vec![]));
    machine.write_all(&[&frame::header(Kind::Output, 0, 8)[..], b"workload"].concat()).unwrap();
    let mut read = [0; 8];
    stdout.unwrap().read_exact(&mut read).unwrap();
    assert_eq!(&read, b"workload");
    let reader = thread::spawn(|| read_to_end(shown).len());
    assert_eq!(frame_of(&mut machine), (Kind::Output, 1, RESUME, vec![]));
    machine.write_all(&frame::header(Kind::Exit, 1, 0)).unwrap();
    assert_eq!((beside.finish(), reader.join().unwrap()), (Some(0), frames * MAX_DATA));
}
