//! A DHCP server that builds its answers frame by frame, to send frames that no real server sends.
//!
//! [`Frames`] is a packet socket in a [`Lan`]'s namespace. It receives the machine's messages as [`Query`]; an [`Answer`] is a
//! server's message in which every field can be made wrong, from the options up to the Ethernet header.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, recvfrom, sendto,
    socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use whit::contract::{PREFIX, ROOT, ROOTFS, path};
use whit::ipv4::{self, Address, Datagram, Endpoint, UdpChecksum};

use super::{Lan, Prepared, Running};

/// ETH_P_ALL (include/uapi/linux/if_ether.h).
const ETH_P_ALL: u16 = 3;
/// Limit for the next message: the host may be busy.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// The bytes before the cookie: op to the end of file.
const FIXED: usize = 236;

/// The types of message (RFC 2132 §9.6).
pub const DISCOVER: u8 = 1;
/// A server's offer.
pub const OFFER: u8 = 2;
/// A client's request.
pub const REQUEST: u8 = 3;
/// A server's grant.
pub const ACK: u8 = 5;
/// A client's refusal of an address that is in use.
pub const DECLINE: u8 = 4;
/// A server's refusal.
pub const NAK: u8 = 6;

impl Lan {
    /// Opens a socket that receives every frame of its cables and sends frames to them.
    #[must_use]
    pub fn frames(&self) -> Frames {
        let protocol = Protocol::from_raw(u32::from(ETH_P_ALL.to_be()).try_into().expect("not zero"));
        let open = || socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol));
        Frames { socket: in_network_of(self.process(), open).expect("a packet socket"), interface: None }
    }

    /// Starts a machine whose first cable, `eth0`, is served by the test. The carrier is set once the machine waits for it: if it
    /// came together with the machine's end, this end would have no queue for a moment, and the first answers would be lost
    /// (net/core/link_watch.c, linkwatch_do_dev()).
    #[must_use]
    pub fn start(&self, machine: Prepared) -> (Running, Frames) {
        self.plug_without_carrier(&machine, "eth0");
        let frames = self.frames();
        let mut machine = machine.start();
        // Its interface is up before this line.
        machine.wait_for(&format!("{PREFIX}root {} on {}\n", path(ROOTFS), path(ROOT)));
        self.carrier(0, true);
        (machine, frames)
    }

    /// Broadcasts a message from the server's port on the first cable, through the kernel. veth needs no UDP checksum: the kernel
    /// leaves it incomplete (TP_STATUS_CSUMNOTREADY).
    pub fn send_by_kernel(&self, message: &[u8]) {
        let sent = in_network_of(self.process(), || {
            let socket = UdpSocket::bind((Self::ADDRESS, 67))?;
            socket.set_broadcast(true)?;
            socket.send_to(message, "10.55.0.255:68")
        });
        assert_eq!(sent.expect("the first cable"), message.len());
    }
}

/// Calls a function in the network namespace of a process, in a thread of its own. Sockets that it opens and processes that it
/// starts stay in that namespace.
pub fn in_network_of<T: Send>(process: u32, open: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{process}/ns/net")).expect("the process lives");
    let there = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
        open()
    };
    std::thread::scope(|scope| scope.spawn(there).join().expect("a thread"))
}

/// All frames of a network.
pub struct Frames {
    socket: OwnedFd,
    /// The interface of the last query, which answers are sent to.
    interface: Option<SocketAddrAny>,
}

impl Frames {
    /// Waits for the next message of a DHCP client.
    #[track_caller]
    pub fn query(&mut self) -> Query {
        self.query_within(DEADLINE).unwrap_or_else(|| panic!("no message of a client in {DEADLINE:?}"))
    }

    /// Waits for the next message of a DHCP client; `None` after `limit`.
    pub fn query_within(&mut self, limit: Duration) -> Option<Query> {
        let (query, from) = self.find_within(limit, Query::of_frame)?;
        self.interface = from;
        Some(query)
    }

    /// Waits for the next message of a client as [`Frames::query`] does; `None` when an ICMP packet comes first, which reports that
    /// the client's kernel refused a packet.
    #[track_caller]
    pub fn query_or_refusal(&mut self) -> Option<Query> {
        // ICMP over IPv4, except from this end's kernel, which has no server.
        let is_refusal = |frame: &[u8]| {
            let (protocol, source) = (frame.get(ETHERNET + 9), frame.get(ETHERNET + 12..ETHERNET + 16));
            frame.get(12..ETHERNET) == Some(&[8, 0]) && protocol == Some(&1) && source != Some(&Answer::SERVER)
        };
        let either = |frame: &[u8]| if is_refusal(frame) { Some(None) } else { Query::of_frame(frame).map(Some) };
        self.find_within(DEADLINE, either).unwrap_or_else(|| panic!("no message of a client in {DEADLINE:?}")).0
    }

    /// Waits for another server's packet of this kind; returns it from the IPv4 header on.
    #[track_caller]
    pub fn packet_of_server(&mut self, kind: u8) -> Vec<u8> {
        let is_wanted = |payload: &[u8]| option(payload, 53) == Some(&[kind]);
        let packet = |frame: &[u8]| {
            datagram(frame, 68).filter(|datagram| is_wanted(datagram.payload)).map(|_| frame[ETHERNET..].to_vec())
        };
        self.find_within(DEADLINE, packet).unwrap_or_else(|| panic!("no {kind} in {DEADLINE:?}")).0
    }

    /// Waits for a frame for which `find` returns a value.
    fn find_within<T>(&self, limit: Duration, find: impl Fn(&[u8]) -> Option<T>) -> Option<(T, Option<SocketAddrAny>)> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)).expect("poll") == 0 {
                return None;
            }
            let mut buffer = [0; 2048];
            let (_, length, from) = recvfrom(&self.socket, &mut buffer, RecvFlags::empty()).expect("a frame");
            if let Some(found) = find(&buffer[..length]) {
                return Some((found, from));
            }
        }
    }

    /// Waits for the next message of a client, and asserts its kind.
    #[track_caller]
    pub fn next(&mut self, kind: u8) -> Query {
        let query = self.query();
        assert_eq!(query.kind(), kind, "the kind of message: {query:?}");
        query
    }

    /// Sends a frame to the interface of the last query.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        assert!(self.try_send(frame), "a cable");
    }

    /// Sends a frame as [`Frames::send`] does; returns false when the cable is gone.
    #[track_caller]
    pub fn try_send(&self, frame: &[u8]) -> bool {
        let interface = self.interface.as_ref().expect("a query before an answer");
        sendto(&self.socket, frame, SendFlags::empty(), interface) == Ok(frame.len())
    }
}

/// A client's message.
#[derive(Clone, Debug)]
pub struct Query {
    /// From `op` on.
    pub message: Vec<u8>,
    /// The IPv4 source.
    pub source: Address,
    /// The IPv4 destination.
    pub destination: Address,
}

impl Query {
    /// Reads a client's message; `None` for any other frame.
    #[must_use]
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        let datagram = datagram(frame, 67)?;
        Some(Self {
            message: datagram.payload.to_vec(),
            source: datagram.source.address,
            destination: datagram.destination.address,
        })
    }

    /// Returns the transaction identifier (xid).
    #[must_use]
    pub fn xid(&self) -> [u8; 4] {
        self.message[4..8].try_into().expect("four bytes")
    }

    /// Returns the client's hardware address.
    #[must_use]
    pub fn chaddr(&self) -> [u8; 6] {
        self.message[28..34].try_into().expect("six bytes")
    }

    /// Returns the address of the client (ciaddr).
    #[must_use]
    pub fn ciaddr(&self) -> [u8; 4] {
        self.message[12..16].try_into().expect("four bytes")
    }

    /// Option 53.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.option(53).and_then(|value| value.first().copied()).unwrap_or(0)
    }

    /// Returns an option's value.
    #[must_use]
    pub fn option(&self, wanted: u8) -> Option<&[u8]> {
        option(&self.message, wanted)
    }
}

/// Returns the DHCP message to a port that a frame carries.
fn datagram(frame: &[u8], port: u16) -> Option<Datagram<'_>> {
    if frame.get(12..ETHERNET)? != [8, 0] {
        return None;
    }
    // A message that was sent through the kernel has an incomplete checksum here.
    let datagram = ipv4::datagram(&frame[ETHERNET..], UdpChecksum::NotComputed)?;
    (datagram.destination.port == port && datagram.payload.len() > FIXED).then_some(datagram)
}

/// Returns the first value of an option of a message.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = message.get(FIXED + 4..)?;
    loop {
        match rest {
            [0, tail @ ..] => rest = tail,
            [code, length, tail @ ..] if *code != 255 => {
                let (value, tail) = tail.split_at_checked(usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                rest = tail;
            }
            _ => return None,
        }
    }
}

/// A server's message under construction; every part can be made wrong.
#[derive(Clone, Debug)]
pub struct Answer {
    /// From op to the end of file: FIXED bytes.
    pub fixed: Vec<u8>,
    /// The magic cookie before the options.
    pub cookie: [u8; 4],
    /// The options, with END if there is one.
    pub options: Vec<u8>,
    /// The sender.
    pub source: Endpoint,
    /// The destination.
    pub destination: Endpoint,
    /// The Ethernet destination.
    pub to: [u8; 6],
    /// The bytes between the Ethernet addresses and the packet.
    pub protocol: Vec<u8>,
}

impl Answer {
    /// The server address of [`Answer::new`].
    pub const SERVER: [u8; 4] = [10, 55, 0, 1];

    /// Creates a correct answer: an address in a /24, for an hour, sent as broadcast. It has no END yet.
    #[must_use]
    pub fn new(query: &Query, kind: u8, yiaddr: [u8; 4]) -> Self {
        let mut fixed = vec![0; FIXED];
        fixed[..3].copy_from_slice(&[2, 1, 6]);
        fixed[4..8].copy_from_slice(&query.xid());
        fixed[16..20].copy_from_slice(&yiaddr);
        fixed[28..34].copy_from_slice(&query.chaddr());
        let [s0, s1, s2, s3] = Self::SERVER;
        Self {
            fixed,
            cookie: [99, 130, 83, 99],
            options: vec![53, 1, kind, 54, 4, s0, s1, s2, s3, 51, 4, 0, 0, 0x0e, 0x10, 1, 4, 255, 255, 255, 0],
            source: Endpoint { address: Address(Self::SERVER), port: 67 },
            destination: Endpoint { address: Address::BROADCAST, port: 68 },
            to: [0xff; 6],
            protocol: vec![8, 0],
        }
    }

    /// Adds an option.
    #[must_use]
    pub fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push(code);
        self.options.push(u8::try_from(value.len()).expect("an option's length"));
        self.options.extend_from_slice(value);
        self
    }

    /// Replaces all options.
    #[must_use]
    pub fn with_options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// Replaces a byte before the cookie.
    #[must_use]
    pub fn with_byte(mut self, position: usize, value: u8) -> Self {
        self.fixed[position] = value;
        self
    }

    /// Encodes the message from op on, with END.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        [&self.fixed[..], &self.cookie, &self.options, &[255]].concat()
    }

    /// Encodes the packet, from the IPv4 header on.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        self.packet_of(&self.message())
    }

    /// Encodes a packet with another payload.
    #[must_use]
    pub fn packet_of(&self, payload: &[u8]) -> Vec<u8> {
        [&ipv4::headers(self.source, self.destination, payload)[..], payload].concat()
    }

    /// Encodes the frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        self.frame_of(&self.packet())
    }

    /// Encodes a frame with another packet.
    #[must_use]
    pub fn frame_of(&self, packet: &[u8]) -> Vec<u8> {
        [&self.to[..], &[2, 0, 0, 0, 0, 1], &self.protocol, packet].concat()
    }
}

/// Replaces a byte in a packet's headers, and corrects the IPv4 checksum.
#[must_use]
pub fn with_header_byte(packet: &[u8], position: usize, value: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[position] = value;
    let length = (usize::from(packet[0] & 0xf) * 4).clamp(12, packet.len());
    packet[10..12].fill(0);
    let sum: u32 = packet[..length].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice");
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}
