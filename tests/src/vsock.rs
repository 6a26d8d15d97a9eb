//! A host for vsock(7) connections of machines, without /dev/vhost-vsock: rust-vmm's vhost-device-vsock provides the device, and a
//! Unix socket of this host for each port of CID 2.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use whit_tools::vm::qemu::CommandLine;
use xtask::crates::{self, Crate};

use crate::whole::DEADLINE;

/// The port that [`Host`] listens at.
pub const PORT: u32 = 1234;
/// The device, in the version that the tests were written for.
const DEVICE: Crate =
    Crate { program: "vhost-device-vsock", name: "vhost-device-vsock", version: "0.3.0", profile: "dev" };

/// The drivers of the guest, where a kernel has them as modules.
pub const MODULES: [&str; 2] = ["virtio_pci", "vmw_vsock_virtio_transport"];

/// A host that listens.
pub struct Host {
    folder: TempDir,
    device: Child,
    listener: UnixListener,
}

impl Host {
    /// Starts the device of one machine.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it starts a program")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap(); // The path of a socket is short.
        let (socket, host) = (folder.path().join("device"), folder.path().join("host"));
        let listener = UnixListener::bind(folder.path().join(format!("host_{PORT}"))).unwrap();
        let mut command = Command::new(crates::build(&DEVICE, |line| println!("{line}")).unwrap());
        command.arg("--guest-cid=3").arg("--socket").arg(&socket).arg("--uds-path").arg(&host);
        let device = command.stdin(Stdio::null()).spawn().unwrap();
        let host = Self { folder, device, listener };
        let start = Instant::now();
        // The program does not report that it listens. net/unix/af_unix.c, unix_seq_show(), shows __SO_ACCEPTCON.
        let listens = |line: &str| line.ends_with(socket.to_str().unwrap()) && line.contains(" 00010000 ");
        while !std::fs::read_to_string("/proc/net/unix").unwrap().lines().any(listens) {
            assert!(start.elapsed() < DEADLINE, "vhost-device-vsock does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        host
    }

    /// Adds the device to a machine with the default memory.
    #[must_use]
    pub fn attach(&self, command: CommandLine) -> CommandLine {
        let socket = self.folder.path().join("device");
        command
            .option("-object", "memory-backend-memfd,id=memory,size=256M,share=on")
            .option("-machine", "memory-backend=memory")
            .option("-chardev", format!("socket,id=vsock,path={}", socket.display()))
            .option("-device", "vhost-user-vsock-pci,chardev=vsock")
    }

    /// Waits for a message that ends in `end`; returns it and its connection.
    #[must_use]
    pub fn message(&self, end: &str) -> (String, UnixStream) {
        // A listener has no deadline of its own.
        self.listener.set_nonblocking(true).unwrap();
        let start = Instant::now();
        let mut stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
            }
            assert!(start.elapsed() < DEADLINE, "the machine does not connect");
            thread::sleep(Duration::from_millis(10));
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut message = Vec::new();
        let mut buffer = [0; 256];
        while !message.ends_with(end.as_bytes()) {
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(
                count,
                0,
                "the message ended after \"{}\", without \"{end}\"",
                String::from_utf8_lossy(&message)
            );
            message.extend_from_slice(&buffer[..count]);
        }
        (String::from_utf8(message).unwrap(), stream)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its machine may have ended it already.
        let _ = self.device.kill();
        let _ = self.device.wait();
    }
}
