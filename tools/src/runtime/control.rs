//! The socket between the commands of the runtime and a shim: one message with a request, and one with the answer.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recv, send, socket_with,
};
use serde_json::{Value, json};

use super::state::Container;

/// The socket in the container's folder.
const NAME: &str = "control";
/// The longest message.
const MAX_MESSAGE: usize = 1 << 16;
/// Connections that wait.
const BACKLOG: i32 = 16;

/// A connection, of packets.
pub(super) struct Connection(OwnedFd);

impl Connection {
    /// Connects to the shim of a container.
    pub(super) fn open(container: &Container) -> io::Result<Self> {
        // By the folder's descriptor: the path may be longer than that of a socket.
        let folder = File::open(&container.folder)?;
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
        let mut room = vec![0; MAX_MESSAGE];
        match recv(&self.0, room.as_mut_slice(), RecvFlags::empty())?.0 {
            0 => Ok(None),
            length => Ok(Some(serde_json::from_slice(&room[..length])?)),
        }
    }

    /// Sends a request; returns the answer.
    ///
    /// # Errors
    /// The error that the shim answers, or of the socket.
    pub(super) fn ask(&self, request: &Value) -> Result<Value, String> {
        let answer = self.send(request).and_then(|()| self.receive());
        match answer.map_err(|error| format!("the machine's process does not answer: {error}"))? {
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
    /// Listens in the working directory.
    pub(super) fn new() -> io::Result<Self> {
        let socket = socket()?;
        bind(&socket, &SocketAddrUnix::new(Path::new(NAME))?)?;
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
