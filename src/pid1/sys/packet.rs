//! packet(7) sockets: one for DHCP answers on every interface, with or without an address, and one for ARP.

use core::mem::{self, MaybeUninit};

use linux_raw_sys::general::iovec;
use linux_raw_sys::if_ether::{ETH_P_ARP, ETH_P_IP};
use linux_raw_sys::if_packet::{
    PACKET_AUXDATA, PACKET_OTHERHOST, TP_STATUS_CSUMNOTREADY, sockaddr_ll, tpacket_auxdata,
};
use linux_raw_sys::net::{AF_PACKET, SO_ATTACH_FILTER, SOL_PACKET, SOL_SOCKET, cmsghdr, msghdr};
use linux_raw_sys::ptrace::{sock_filter, sock_fprog};
use rustix::net::{AddressFamily, SocketType};
use whit::dhcp::CLIENT_PORT;
use whit::error::Errno;
use whit::ipv4::UdpChecksum;

use super::fd::{Fd, raw, socket, written};
use super::net::{bind, send_to, set_option, set_option_to};
use super::result;

/// The longest packet that is received: an Ethernet frame's payload, and some room.
pub(crate) const MAX_PACKET: usize = 1536;

/// The protocol of a socket.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    Ip = ETH_P_IP as isize,
    Arp = ETH_P_ARP as isize,
}

/// struct sockaddr_ll: family, protocol, interface, hardware and packet type, and for sending the broadcast address of the link with
/// its length (packet(7)).
fn link_address(interface: u32, protocol: Protocol) -> [u32; 5] {
    [AF_PACKET | u32::from((protocol as u16).to_be()) << 16, interface, 6 << 24, 0xffff_ffff, 0xffff]
}

/// Opens a socket for all interfaces. Created without a protocol and bound once: each later bind, like the close, would
/// wait for an RCU grace period of 7 to 24 ms (net/packet/af_packet.c, packet_do_bind).
pub(crate) fn open(protocol: Protocol) -> Result<Fd, Errno> {
    let socket = socket(AddressFamily::PACKET, SocketType::DGRAM, 0)?;
    if let Protocol::Ip = protocol {
        set_option(&socket, SOL_PACKET, PACKET_AUXDATA, 1)?;
    }
    bind(&socket, &link_address(0, protocol))?;
    Ok(socket)
}

/// Attaches a filter: only answers of DHCP servers wake PID 1. The kernel takes 0.1 ms to compile it. A failure is ignored: the filter
/// only saves wakeups.
pub(crate) fn filter(socket: &Fd) {
    let program = sock_fprog { len: FILTER.len() as u16, filter: FILTER.as_ptr().cast_mut() };
    let _ = set_option_to(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program);
}

/// Broadcasts a packet on an interface's link.
pub(crate) fn broadcast(socket: &Fd, interface: u32, protocol: Protocol, packet: &[u8]) -> Result<(), Errno> {
    send_to(socket, packet, &link_address(interface, protocol))
}

/// The instructions that pass an unfragmented UDP datagram to the client's port with a server's message, and nothing else
/// (Documentation/networking/filter.rst). Everything is checked again in Rust: the filter only saves wakeups.
static FILTER: [sock_filter; 13] = {
    // Offsets of the kernel's own data (include/uapi/linux/filter.h, SKF_AD_OFF + SKF_AD_PKTTYPE).
    const PACKET_TYPE: u32 = (-0x1000i32).cast_unsigned() + 4;
    const DROP: u8 = 12;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_HEADER_LENGTH: u16 = 0xb1; // x = 4 * (packet[k] & 0xf)
    const LOAD_HALF_AT_X: u16 = 0x48;
    const LOAD_BYTE_AT_X: u16 = 0x50;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const fn load(code: u16, k: u32) -> sock_filter {
        sock_filter { code, jt: 0, jf: 0, k }
    }
    /// Continues when equal, drops otherwise; `at` is the index of the instruction.
    const fn want(at: u8, k: u32) -> sock_filter {
        sock_filter { code: JUMP_EQUAL, jt: 0, jf: DROP - at - 1, k }
    }
    [
        load(LOAD_BYTE, PACKET_TYPE),
        // A frame for another host: of a foreign VLAN, its tag already removed.
        sock_filter { code: JUMP_EQUAL, jt: DROP - 2, jf: 0, k: PACKET_OTHERHOST },
        load(LOAD_BYTE, 9), // protocol: UDP
        want(3, 17),
        load(LOAD_HALF, 6), // more fragments, fragment offset: none
        sock_filter { code: JUMP_SET, jt: DROP - 6, jf: 0, k: 0x3fff },
        load(LOAD_HEADER_LENGTH, 0),
        load(LOAD_HALF_AT_X, 2), // destination port
        want(8, CLIENT_PORT as u32),
        load(LOAD_BYTE_AT_X, 8), // op: BOOTREPLY
        want(10, 2),
        load(RETURN, u32::MAX), // the whole packet
        load(RETURN, 0),
    ]
};

/// A packet that was received.
pub(crate) struct Received<'a> {
    /// The interface that received it.
    pub(crate) interface: u32,
    /// Its bytes from the header of its protocol on.
    pub(crate) packet: &'a [u8],
    /// Whether its UDP checksum was computed.
    pub(crate) udp_checksum: UdpChecksum,
}

/// The ancillary data that PACKET_AUXDATA adds (packet(7)).
#[repr(C)]
struct Ancillary {
    header: cmsghdr,
    auxdata: tpacket_auxdata,
}

/// `ssize_t recvmsg(int fd, struct msghdr *message, int flags)` — recvmsg(2). `None` when no packet waits; packets that do
/// not fit the buffer are skipped.
#[inline(never)]
pub(crate) fn receive<'a>(socket: &Fd, buffer: &'a mut [MaybeUninit<u8>; MAX_PACKET]) -> Option<Received<'a>> {
    loop {
        // SAFETY: all three are plain numbers, for which zero is a value.
        let (mut from, mut ancillary, mut message) =
            unsafe { (mem::zeroed::<sockaddr_ll>(), mem::zeroed::<Ancillary>(), mem::zeroed::<msghdr>()) };
        let mut part = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: MAX_PACKET as u64 };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of::<sockaddr_ll>() as i32;
        message.msg_iov = (&raw mut part).cast();
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut ancillary).cast();
        message.msg_controllen = size_of::<Ancillary>();
        // SAFETY: everything that the message points to lives over the call and has the length that is passed.
        let received = result(unsafe { sc::syscall!(RECVMSG, raw(socket), &raw mut message, MSG_TRUNC) });
        let length = match received {
            // A frame for another host, of a foreign VLAN, may have been received before the filter.
            Ok(length) if length <= MAX_PACKET && u32::from(from.sll_pkttype) != PACKET_OTHERHOST => length,
            Ok(_) | Err(Errno::NETDOWN | Errno::INTR) => continue,
            Err(_) => return None,
        };
        let computed = ancillary.header.cmsg_level as u32 != SOL_PACKET
            || ancillary.header.cmsg_type as u32 != PACKET_AUXDATA
            || ancillary.auxdata.tp_status & TP_STATUS_CSUMNOTREADY == 0;
        return Some(Received {
            interface: from.sll_ifindex as u32,
            // SAFETY: the length of a packet that was not cut.
            packet: unsafe { written(buffer, length) },
            udp_checksum: if computed { UdpChecksum::Verify } else { UdpChecksum::NotComputed },
        });
    }
}

/// Returns the real length of a packet that was cut.
const MSG_TRUNC: u32 = 0x20;
