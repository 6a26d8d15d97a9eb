//! The machine's network: its address, its default gateway, and whether the gateway answers.

use core::mem::size_of_val;

use crate::kernel::{self, clock_boottime_ns};
use crate::text::{lines, word};

/// The address and the default gateway that were found.
pub(crate) struct Network {
    pub(crate) address: Option<[u8; 4]>,
    pub(crate) router: Option<[u8; 4]>,
}

const AF_INET: usize = 2;
const SOCK_DGRAM: usize = 2;
const SOCK_RAW: usize = 3;
const IPPROTO_ICMP: usize = 1;

/// Finds the address and the default gateway.
pub(crate) fn look() -> Network {
    Network { address: address(), router: router() }
}

/// `struct ifreq` (netdevice(7)): a name, then an address or something else.
#[repr(C)]
#[derive(Clone, Copy)]
struct InterfaceRequest {
    name: [u8; 16],
    family: u16,
    port: u16,
    address: [u8; 4],
    rest: [u8; 16],
}

/// `struct ifconf`.
#[repr(C)]
struct InterfaceList {
    length: i32,
    requests: *mut InterfaceRequest,
}

/// Returns the first IPv4 address that is not a loopback one.
fn address() -> Option<[u8; 4]> {
    const SIOCGIFCONF: usize = 0x8912;
    const NONE: InterfaceRequest =
        InterfaceRequest { name: [0; 16], family: 0, port: 0, address: [0; 4], rest: [0; 16] };
    let mut requests = [NONE; 8];
    let mut list = InterfaceList { length: size_of_val(&requests) as i32, requests: requests.as_mut_ptr() };
    let socket = kernel::socket(AF_INET, SOCK_DGRAM, 0)?;
    kernel::ioctl(socket, SIOCGIFCONF, &mut list)?;
    let count = usize::try_from(list.length).ok()? / size_of::<InterfaceRequest>();
    let addresses = requests.iter().take(count).map(|request| request.address);
    addresses.into_iter().find(|address| !matches!(address, [127 | 0, ..]))
}

/// Returns the default gateway.
fn router() -> Option<[u8; 4]> {
    let mut buffer = [0; 4096];
    // Iface Destination Gateway Flags …: addresses in hexadecimal, least byte first.
    lines(kernel::read_proc(c"/proc/net/route", &mut buffer)).find_map(|line| {
        let gateway = word(line, 2)?;
        if word(line, 1)? != b"00000000" || gateway == b"00000000" {
            return None;
        }
        let value = gateway
            .iter()
            .try_fold(0_u32, |value, byte| Some(value.checked_mul(16)? + char::from(*byte).to_digit(16)?))?;
        Some(value.to_le_bytes())
    })
}

/// `struct sockaddr_in` (ip(7)).
#[repr(C)]
struct SocketAddress {
    family: u16,
    port: u16,
    address: [u8; 4],
    zero: [u8; 8],
}

/// Sends an ICMP echo request (RFC 792), waits for the reply, and returns its time. It is the first packet of the workload, so it
/// waits for the router's hardware address too.
pub(crate) fn ping(router: [u8; 4], own: [u8; 4]) -> Option<u64> {
    const TIMEOUT_MS: usize = 2000;
    const ECHO: [u8; 8] = [8, 0, 0xf7, 0xfe, 0, 1, 0, 0];
    const ECHO_REPLY: u8 = 0;
    let socket = kernel::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)?;
    let to = SocketAddress { family: AF_INET as u16, port: 0, address: router, zero: [0; 8] };
    kernel::send_to(socket, &ECHO, &to)?;
    let mut packet = [0; 256];
    // A raw socket receives every ICMP message, with its IPv4 header; the limit is for a network with other ICMP traffic.
    for _ in 0..16 {
        kernel::wait_readable(socket, TIMEOUT_MS)?;
        let packet = kernel::receive(socket, &mut packet)?;
        let header = usize::from(packet.first()? & 0xf) * 4;
        if packet.get(12..16)? == router && packet.get(16..20)? == own && *packet.get(header)? == ECHO_REPLY {
            return Some(clock_boottime_ns());
        }
    }
    None
}
