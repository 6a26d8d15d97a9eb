//! A connection to the host over vsock(7), for one message.

use linux_raw_sys::general::{POLLIN, pollfd};
use linux_raw_sys::net::AF_VSOCK;
use whit::error::Errno;

use super::fd::{Fd, raw};
use super::{arch, net};

/// SHUT_WR of shutdown(2).
const SHUT_WR: u32 = 1;

/// `int socket(…)`, `int connect(…)`, `int shutdown(…)`, `int poll(…)` — connects a socket of this SOCK_* type, and calls `write`,
/// which writes a message and returns for how many milliseconds to wait until the host closes the connection.
///
/// Connecting takes 2 s at most (net/vmw_vsock/af_vsock.c, VSOCK_DEFAULT_CONNECT_TIMEOUT). PID 1 does not fork meanwhile, so there is
/// no O_CLOEXEC.
pub(crate) fn send(kind: u32, [cid, port]: [u32; 2], write: impl FnOnce(&Fd) -> u32) -> Result<(), Errno> {
    // struct sockaddr_vm of a little-endian machine: 16 bits of family and 16 of zeros, port, CID, flags (vm_sockets.h).
    let address = [AF_VSOCK, port, cid, 0];
    // SAFETY: the descriptor is new; address and struct live over the calls and have the lengths that are passed.
    unsafe {
        let socket = Fd::from_result(sc::syscall!(SOCKET, AF_VSOCK, kind, 0))?;
        let connected = net::connect(&socket, &address);
        if connected.is_ok() {
            let wait_ms = write(&socket);
            sc::syscall!(SHUTDOWN, raw(&socket), SHUT_WR);
            let mut closed = pollfd { fd: raw(&socket).cast_signed(), events: POLLIN as i16, revents: 0 };
            arch::poll(&raw mut closed, 1, wait_ms as usize);
        }
        connected
    }
}
