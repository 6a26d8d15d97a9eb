//! The socket between the commands of the runtime and a shim: one message with a request, and one with the answer.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, send, sendmsg,
    socket_with,
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

    /// Waits for a client.
    pub(super) fn accept(&self) -> io::Result<Connection> {
        Ok(Connection(accept_with(&self.0, SocketFlags::CLOEXEC)?))
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}
