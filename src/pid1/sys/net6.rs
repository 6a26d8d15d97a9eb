//! Datagrams of IPv6 on every interface, for DHCPv6.

use core::mem::MaybeUninit;

use linux_raw_sys::net::{AF_INET6, MSG_DONTWAIT};
use whit::error::Errno;
use whit::ipv6::Address;

use super::fd::{Fd, raw, written};
use super::result;

/// struct sockaddr_in6: family, port, flow, address, interface (ipv6(7)). The address is a constant: the compiler splits it.
#[inline(always)]
pub(crate) fn address(address: Address, port: u16, interface: u32) -> [u32; 7] {
    let bits = u128::from_le_bytes(address.0);
    let [a, b, c, d] = [bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32];
    [AF_INET6 | u32::from(port.to_be()) << 16, 0, a, b, c, d, interface]
}

/// `ssize_t recvfrom(int socket, void *buffer, size_t size, int flags, struct sockaddr *from, socklen_t *length)` — recv(2), of an IPv6
/// datagram, without waiting. Returns it with the interface that it came from if its sender is link-local, else with 0
/// (include/net/ipv6.h, ipv6_iface_scope_id()).
pub(crate) fn receive_from<'a>(socket: &Fd, buffer: &'a mut [MaybeUninit<u8>]) -> Result<(&'a [u8], u32), Errno> {
    let mut from = [0u32; 7];
    let mut length = size_of_val(&from) as u32;
    // SAFETY: buffer, address and length are writable over the call, and have the lengths that are passed.
    let received = unsafe {
        let (bytes, size) = (buffer.as_mut_ptr(), buffer.len());
        sc::syscall!(RECVFROM, raw(socket), bytes, size, MSG_DONTWAIT, from.as_mut_ptr(), &raw mut length)
    };
    let [.., interface] = from;
    let length = result(received)?;
    // SAFETY: without MSG_TRUNC the call returns how many bytes it has written.
    Ok((unsafe { written(buffer, length) }, interface))
}
