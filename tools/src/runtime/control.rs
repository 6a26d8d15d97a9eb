//! The socket between the commands of the runtime and a shim: one message with a request, and one with the answer.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recvmsg, send, sendmsg, socket_with,
};
use serde_json::{Value, json};

use super::state::Container;

/// The socket in the container's folder.
const NAME: &str = "control";
/// The longest message.
const MAX_MESSAGE: usize = 1 << 16;
/// The standard streams.
const MAX_DESCRIPTORS: usize = 3;
/// Connections that wait.
const BACKLOG: i32 = 16;
/// The pause after a client that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection, of packets.
pub(super) struct Connection(OwnedFd);

impl Connection {
    /// Connects to the shim of a container.
    pub(super) fn open(container: &Container) -> io::Result<Self> {
        Self::at(&container.folder)
    }

    /// Connects to the shim in a folder.
    pub(super) fn at(folder: &Path) -> io::Result<Self> {
        // By the folder's descriptor: the path may be longer than that of a socket.
        let folder = File::open(folder)?;
        let path = format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd());
        let socket = socket()?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    /// Sends a message.
    pub(super) fn send(&self, message: &Value) -> io::Result<()> {
        send(&self.0, message.to_string().as_bytes(), SendFlags::NOSIGNAL).map(drop).map_err(io::Error::from)
    }

    /// Receives a message; `None` at the end.
    pub(super) fn receive(&self) -> io::Result<Option<Value>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    /// Receives a message, and the descriptors that came with it.
    pub(super) fn receive_with(&self) -> io::Result<Option<(Value, Vec<OwnedFd>)>> {
        let mut room = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut room)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::other(format!("a message of more than {MAX_MESSAGE} bytes")));
        }
        match received.bytes {
            0 => Ok(None),
            length => Ok(Some((serde_json::from_slice(&room[..length])?, descriptors))),
        }
    }

    /// Sends a request with descriptors; the answer is that it was executed.
    pub(super) fn ask_with(
        &self,
        request: &Value,
        descriptors: [BorrowedFd<'_>; MAX_DESCRIPTORS],
    ) -> Result<(), String> {
        let text = request.to_string();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL);
        sent.map_err(|error| format!("the machine's process does not answer: {error}"))?;
        self.answered().map(drop)
    }

    /// Sends a request; returns the answer.
    ///
    /// # Errors
    /// The error that the shim answers, or of the socket.
    pub(super) fn ask(&self, request: &Value) -> Result<Value, String> {
        self.send(request).map_err(|error| format!("the machine's process does not answer: {error}"))?;
        self.answered()
    }

    /// Receives the outcome of a request.
    fn answered(&self) -> Result<Value, String> {
        match self.receive().map_err(|error| format!("the machine's process does not answer: {error}"))? {
            Some(answer) => match answer["error"].as_str() {
                Some(error) => Err(error.to_owned()),
                None => Ok(answer),
            },
            None => Err("the machine's process has ended".to_owned()),
        }
    }

    /// Sends the outcome of a request.
    pub(super) fn answer(&self, outcome: Result<(), String>) {
        let answer = match outcome {
            Ok(()) => json!({}),
            Err(error) => json!({ "error": error }),
        };
        let _ = self.send(&answer); // a client that has gone needs none
    }
}

/// The shim's end.
pub(super) struct Listener(OwnedFd);

impl Listener {
    /// Listens in a folder.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let folder = File::open(folder)?;
        let socket = socket()?;
        bind(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))?)?;
        listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Waits for a request: the client, what it asks for, and the standard streams that it gives. A request that cannot be read is
    /// answered so.
    pub(super) fn next(&self) -> (Connection, Value, [Option<File>; MAX_DESCRIPTORS]) {
        loop {
            let connection = match accept_with(&self.0, SocketFlags::CLOEXEC) {
                Ok(socket) => Connection(socket),
                Err(_) => {
                    // No descriptor or no memory is free; no event tells when one is.
                    thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            match connection.receive_with() {
                Ok(Some((request, descriptors))) => {
                    let mut files = descriptors.into_iter().map(File::from);
                    return (connection, request, [files.next(), files.next(), files.next()]);
                }
                Ok(None) => {}
                Err(error) => connection.answer(Err(format!("the request: {error}"))),
            }
        }
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_cannot_be_read_is_answered_and_the_next_one_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::new(folder.path()).unwrap();
        let server = thread::spawn(move || {
            let (connection, request, files) = listener.next();
            connection.answer(Ok(()));
            (request, files.iter().flatten().count())
        });
        let ask = |request: &Value| Connection::at(folder.path()).unwrap().ask(request);
        assert_eq!(
            ask(&json!("x".repeat(MAX_MESSAGE))),
            Err("the request: a message of more than 65536 bytes".to_owned())
        );
        let broken = Connection::at(folder.path()).unwrap();
        send(&broken.0, b"{", SendFlags::NOSIGNAL).unwrap();
        assert!(broken.answered().unwrap_err().starts_with("the request: "));
        drop(Connection::at(folder.path()).unwrap()); // a client that asks for nothing
        let null = File::open("/dev/null").unwrap();
        let null = std::os::fd::AsFd::as_fd(&null);
        Connection::at(folder.path()).unwrap().ask_with(&json!({ "do": "x" }), [null; 3]).unwrap();
        assert_eq!(server.join().unwrap(), (json!({ "do": "x" }), 3));
    }
}
