//! Addresses of sockets, and the calls that take one.
//!
//! An address is an array of words of a little-endian machine, laid out as its struct: the family and 16 bits more, then the fields of
//! the family.

use core::ptr;

use linux_raw_sys::net::AF_INET;
use whit::error::Errno;
use whit::ipv4::Address;

use super::fd::{Fd, raw};
use super::{done, result};

/// struct sockaddr_in: family, port, address, padding (ip(7)).
pub(crate) fn inet(address: Address, port: u16) -> [u32; 4] {
    [AF_INET | u32::from(port.to_be()) << 16, u32::from_ne_bytes(address.0), 0, 0]
}

/// `int bind(int socket, const struct sockaddr *address, socklen_t length)` — bind(2).
pub(crate) fn bind(socket: &Fd, address: &[u32]) -> Result<(), Errno> {
    // SAFETY: the address lives over the call and has that length.
    done(unsafe { sc::syscall!(BIND, raw(socket), address.as_ptr(), size_of_val(address)) })
}

/// `int connect(int socket, const struct sockaddr *address, socklen_t length)` — connect(2).
pub(crate) fn connect(socket: &Fd, address: &[u32]) -> Result<(), Errno> {
    // SAFETY: the address lives over the call and has that length.
    done(unsafe { sc::syscall!(CONNECT, raw(socket), address.as_ptr(), size_of_val(address)) })
}

/// `ssize_t sendto(int socket, const void *bytes, size_t count, int flags, const struct sockaddr *address, socklen_t length)` —
/// send(2), of a datagram.
pub(crate) fn send_to(socket: &Fd, bytes: &[u8], address: &[u32]) -> Result<(), Errno> {
    // SAFETY: bytes and address live over the call and have the lengths that are passed.
    let sent = unsafe {
        let length = size_of_val(address);
        sc::syscall!(SENDTO, raw(socket), bytes.as_ptr(), bytes.len(), 0, address.as_ptr(), length)
    };
    result(sent).map(drop)
}

/// `int setsockopt(int socket, int level, int name, const void *value, socklen_t length)` — setsockopt(2), of a number.
pub(crate) fn set_option(socket: &Fd, level: u32, name: u32, value: u32) -> Result<(), Errno> {
    set_option_to(socket, level, name, &value)
}

/// setsockopt(2), of any value.
pub(super) fn set_option_to<T>(socket: &Fd, level: u32, name: u32, value: &T) -> Result<(), Errno> {
    let value = ptr::from_ref(value);
    // SAFETY: the value lives over the call and has that size; the kernel copies the filter it points to.
    done(unsafe { sc::syscall!(SETSOCKOPT, raw(socket), level, name, value, size_of::<T>()) })
}
