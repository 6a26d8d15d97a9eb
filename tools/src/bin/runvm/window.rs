//! The size of this program's terminal, for the machine.

use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use whit_tools::cli::terminal;
use whit_tools::vm::streams::Remote;

/// Where the size is sent: to the console by a port of its own, and to the workload's terminal by the port of its streams.
pub(crate) struct Window {
    listener: UnixListener,
    stream: Option<UnixStream>,
    remote: Option<Remote>,
}

impl Window {
    /// Listens for QEMU, which connects the console's port.
    pub(crate) fn listen(path: &Path, remote: Option<Remote>) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(path)?, stream: None, remote })
    }

    /// Sends the size, which the machine reads later: zeros if there is no terminal. Errors are ignored.
    pub(crate) fn send(&mut self) {
        let size = terminal::size();
        let [rows, columns] = size.map_or([0; 2], |[a, b, c, d, ..]| [[a, b], [c, d]].map(u16::from_le_bytes));
        self.remote.iter().for_each(|remote| remote.resize(rows, columns));
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => match self.listener.accept() {
                Ok((stream, _)) => none.insert(stream),
                Err(_) => return,
            },
        };
        if let Some(size) = size {
            let _ = stream.write_all(&size);
        }
    }
}
