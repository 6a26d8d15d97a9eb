//! The bare exchange, which every client is compared with: DISCOVER, OFFER, REQUEST, ACK, the address, and nothing else.
//!
//! It has no retransmission, accepts any server, and does not end. Like the init it has neither a libc nor a loader, and it uses
//! the init's codec: the additional time of a client is the time of its additional work.
#![no_std]
#![no_main]

#[path = "../../../../../src/pid1/sys/mem.rs"]
mod mem;

use whit::dhcp::wire::{Encoded, HardwareAddress, Kind, MAX_SENT, Message, Query, code};
use whit::dhcp::{CLIENT_PORT, SERVER_PORT};
use whit::ipv4::{self, Address, Endpoint, UdpChecksum};
use whit::rtnetlink::{self, InterfaceAddress, Request};

const AF_NETLINK: u16 = 16;
const AF_PACKET: u16 = 17;
const SOCK_DGRAM: usize = 2;
const SOCK_RAW: usize = 3;
const ETH_P_IP: u16 = 0x0800;
const RTMGRP_LINK: u32 = 1;

/// struct sockaddr_ll
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: u32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

/// struct sockaddr_nl
#[repr(C)]
struct NetlinkAddress {
    family: u16,
    padding: u16,
    port: u32,
    groups: u32,
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "call {main}", "ud2", main = sym main)
}

extern "C" fn main() -> ! {
    // Before any effect: outside of the benchmark's namespaces, it would send to the host's network.
    // SAFETY: getpid(2) takes nothing.
    if unsafe { sc::syscall!(GETPID) } == 1 {
        exchange();
    }
    loop {
        // SAFETY: pause(2) takes nothing.
        unsafe { sc::syscall!(PAUSE) };
    }
}

fn exchange() -> Option<()> {
    let links = socket(AF_NETLINK, SOCK_RAW)?;
    let address = NetlinkAddress { family: AF_NETLINK, padding: 0, port: 0, groups: RTMGRP_LINK };
    // SAFETY: the address outlives the call and has that size.
    unsafe { sc::syscall!(BIND, links, &raw const address, size_of::<NetlinkAddress>()) };
    send_to_kernel(links, &rtnetlink::dump_links());
    let packets = socket(AF_PACKET, SOCK_DGRAM)?;
    let (index, chaddr) = wait_for_carrier(links);
    let broadcast_address = LinkAddress {
        family: AF_PACKET,
        protocol: ETH_P_IP.to_be(),
        index,
        hardware: 0,
        kind: 0,
        length: 6,
        address: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    };
    // SAFETY: the address outlives the call and has that size.
    unsafe { sc::syscall!(BIND, packets, &raw const broadcast_address, size_of::<LinkAddress>()) };
    let mut query = Query {
        kind: Kind::Discover,
        xid: u32::from_le_bytes(*chaddr.last_chunk()?),
        secs: 0,
        ciaddr: Address::UNSPECIFIED,
        requested: None,
        server: None,
        broadcast: false,
        chaddr,
    };
    let (offered, server, _) = exchange_message(packets, &broadcast_address, &query, Kind::Offer)?;
    query = Query { kind: Kind::Request, requested: Some(offered), server: Some(server), ..query };
    let (address, _, prefix_length) = exchange_message(packets, &broadcast_address, &query, Kind::Ack)?;
    send_to_kernel(links, &InterfaceAddress { interface: index, address, prefix_length }.add(None));
    Some(())
}

fn socket(family: u16, kind: usize) -> Option<usize> {
    // SAFETY: socket(2) takes no pointers. Protocol 0: NETLINK_ROUTE, or none yet.
    let descriptor = unsafe { sc::syscall!(SOCKET, family, kind, 0) };
    (descriptor < 1024).then_some(descriptor)
}

fn send_to_kernel(links: usize, request: &Request) {
    let bytes = request.bytes();
    // SAFETY: that many bytes are readable during the call.
    unsafe { sc::syscall!(SENDTO, links, bytes.as_ptr(), bytes.len(), 0, 0, 0) };
}

fn receive(socket: usize, buffer: &mut [u8]) -> &[u8] {
    // SAFETY: the buffer is writable during the call.
    let length = unsafe { sc::syscall!(RECVFROM, socket, buffer.as_mut_ptr(), buffer.len(), 0, 0, 0) };
    buffer.get(..length).unwrap_or_default()
}

/// Waits for the first Ethernet interface with a carrier.
fn wait_for_carrier(links: usize) -> (u32, HardwareAddress) {
    let mut buffer = [0; rtnetlink::MAX_REPLY];
    loop {
        for message in rtnetlink::messages(receive(links, &mut buffer)) {
            let rtnetlink::Message::Link(link) = message else { continue };
            if let (Some(address), true) = (link.ethernet(), link.carrier()) {
                return (link.interface(), address);
            }
        }
    }
}

/// Sends a query, and waits for its answer; returns the address, the server, and the length of the prefix.
fn exchange_message(
    socket: usize,
    broadcast_address: &LinkAddress,
    query: &Query,
    wanted: Kind,
) -> Option<(Address, Address, u8)> {
    let mut message = Encoded::new();
    query.encode(b"", false, &mut message);
    let source = Endpoint { address: Address::UNSPECIFIED, port: CLIENT_PORT };
    let destination = Endpoint { address: Address::BROADCAST, port: SERVER_PORT };
    let mut packet = [0; ipv4::HEADERS + MAX_SENT];
    let (headers, payload) = packet.split_at_mut(ipv4::HEADERS);
    headers.copy_from_slice(&ipv4::headers(source, destination, &message));
    payload.get_mut(..message.len())?.copy_from_slice(&message);
    let (length, size) = (ipv4::HEADERS + message.len(), size_of::<LinkAddress>());
    // SAFETY: that many bytes are readable during the call, and so is the address.
    unsafe { sc::syscall!(SENDTO, socket, packet.as_ptr(), length, 0, core::ptr::from_ref(broadcast_address), size) };
    let mut buffer = [0; 1536];
    loop {
        let Some(datagram) = ipv4::datagram(receive(socket, &mut buffer), UdpChecksum::NotComputed) else { continue };
        let Some(answer) = Message::parse(datagram.payload) else { continue };
        if answer.kind == wanted && answer.xid() == query.xid {
            let prefix_length = answer.address(code::SUBNET_MASK).and_then(ipv4::prefix_length)?;
            return Some((answer.yiaddr(), answer.address(code::SERVER_IDENTIFIER)?, prefix_length));
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
