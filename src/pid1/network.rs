//! The network: every Ethernet interface up, a DHCP client on each, what they are granted configured by rtnetlink.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketAddrV4, SocketType, bind, send, sendto, sockopt};
use ufmt::{Formatter, uDisplay, uWrite, uwrite};
use whit::dhcp::client::{Action, Client, Destination};
use whit::dhcp::lease::Lease;
use whit::dhcp::wire::{HardwareAddress, Message, Query};
use whit::dhcp::{CLIENT_PORT, SERVER_PORT};
use whit::error::{Errno, Error};
use whit::ipv4::{self, Address, Endpoint};
use whit::rtnetlink::{self, Hardware, InterfaceAddress, Link, MAX_REPLY, Request};
use whit::text::Text;

use crate::console::{say, tell};
use crate::files;
use crate::sys::fd::{self, Fd};
use crate::sys::packet;
use crate::timeline::{Stage, Timeline};

/// Interfaces that get a client.
const MAX_INTERFACES: usize = 8;
/// A name with its NUL (include/uapi/linux/if.h).
const IFNAMSIZ: usize = 16;
/// A default route that is not the first lease's comes behind it.
const LATER_METRIC: u32 = 100;

/// An interface and its client.
struct Interface {
    index: u32,
    name: heapless::Vec<u8, IFNAMSIZ>,
    carrier: bool,
    client: Client,
    configured: Option<InterfaceAddress>,
}

/// All interfaces, and the sockets.
pub(crate) struct Network {
    /// Tells of links.
    events: Fd,
    /// Takes requests.
    requests: Fd,
    /// Sends and hears DHCP.
    packets: Fd,
    interfaces: heapless::Vec<Interface, MAX_INTERFACES>,
    seed: u32,
    /// A lease came, changed or went: the files in the root are to follow.
    changed: bool,
    /// Software interfaces (veth, bridges) that appear now are the workload's.
    workload_runs: bool,
}

/// What polls a [`Network`]: its two sockets.
pub(crate) type Descriptors<'a> = [BorrowedFd<'a>; 2];

impl Network {
    /// Opens the sockets and asks for the interfaces.
    pub(crate) fn open(seed: u32) -> Result<Self, Error> {
        let at = |step| move |errno: Errno| Error { step, errno };
        let events = netlink_socket(rtnetlink_groups()).map_err(at("network: netlink"))?;
        let requests = netlink_socket(0).map_err(at("network: netlink"))?;
        let packets = packet::open().map_err(at("network: packet socket"))?;
        let network = Self {
            events,
            requests,
            packets,
            interfaces: heapless::Vec::new(),
            seed,
            changed: false,
            workload_runs: false,
        };
        network.ask_for_links().map_err(at("network: links"))?;
        Ok(network)
    }

    fn ask_for_links(&self) -> Result<(), Errno> {
        send(&self.events, rtnetlink::dump_links().bytes(), SendFlags::empty())?;
        Ok(())
    }

    pub(crate) fn descriptors(&self) -> Descriptors<'_> {
        [self.events.as_fd(), self.packets.as_fd()]
    }

    /// When [`Network::handle`] is to be called without an event.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.interfaces.iter().filter_map(|interface| interface.client.deadline_ms()).min()
    }

    /// Whether there is an interface to wait for.
    pub(crate) fn has_interfaces(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// The first lease.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.interfaces.iter().find_map(|interface| interface.client.lease())
    }

    /// Whether a lease changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// The workload may make interfaces of its own from here on.
    pub(crate) fn workload_runs(&mut self) {
        self.workload_runs = true;
    }

    /// Does all that can be done now: reads both sockets empty and lets deadlines come.
    pub(crate) fn handle(&mut self, now_ms: u64, timeline: &mut Timeline) {
        self.read_events(now_ms, timeline);
        self.read_packets(now_ms, timeline);
        for position in 0..self.interfaces.len() {
            let Some(interface) = self.interfaces.get_mut(position) else { continue };
            if interface.client.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                let action = interface.client.timeout(now_ms);
                self.carry_out(position, action, timeline);
            }
        }
    }

    fn read_events(&mut self, now_ms: u64, timeline: &mut Timeline) {
        let mut buffer = files::buffer::<MAX_REPLY>();
        loop {
            match fd::receive(&self.events, &mut buffer) {
                Ok(bytes) => {
                    for message in rtnetlink::messages(bytes) {
                        match message {
                            rtnetlink::Message::Link(link) => self.link_changed(&link, now_ms, timeline),
                            rtnetlink::Message::LinkGone(index) => {
                                self.interfaces.retain(|interface| interface.index != index);
                            }
                            _ => {}
                        }
                    }
                }
                // Events were lost: ask for the present state.
                Err(Errno::NOBUFS) => drop(self.ask_for_links()),
                Err(_) => return,
            }
        }
    }

    fn link_changed(&mut self, link: &Link<'_>, now_ms: u64, timeline: &mut Timeline) {
        let chaddr = match link.hardware {
            Hardware::Ethernet(address) => address,
            Hardware::Loopback if !link.up => {
                let _ = self.request(&rtnetlink::bring_up(link.interface));
                return;
            }
            Hardware::Loopback | Hardware::Other => return,
        };
        let known = self.interfaces.iter().position(|interface| interface.index == link.interface);
        let position = match known {
            Some(position) => position,
            None if link.by_software && self.workload_runs => return,
            None => {
                let mut name = heapless::Vec::new();
                let _ = name.extend_from_slice(link.name);
                let interface = Interface {
                    index: link.interface,
                    name,
                    carrier: false,
                    client: Client::new(chaddr, self.seed ^ link.interface),
                    configured: None,
                };
                if self.interfaces.push(interface).is_err() {
                    return say!("{}: more than {} interfaces, left alone", Text(link.name), MAX_INTERFACES);
                }
                if !link.up
                    && let Err(errno) = self.request(&rtnetlink::bring_up(link.interface))
                {
                    say!("{}: up: {}", Text(link.name), errno);
                }
                self.interfaces.len().saturating_sub(1)
            }
        };
        let Some(interface) = self.interfaces.get_mut(position) else { return };
        if link.carrier && !interface.carrier {
            timeline.reach(Stage::Link);
            tell!("{} {}: link up", Text(link.name), Mac(chaddr));
        }
        interface.carrier = link.carrier;
        let action = interface.client.link(now_ms, link.carrier);
        self.carry_out(position, action, timeline);
    }

    fn read_packets(&mut self, now_ms: u64, timeline: &mut Timeline) {
        let mut buffer = files::buffer::<{ packet::MAX_PACKET }>();
        while let Some(received) = packet::receive(&self.packets, &mut buffer) {
            let Some(datagram) = ipv4::datagram(received.packet, received.udp_checksum) else { continue };
            let Some(message) = Message::parse(datagram.payload) else { continue };
            let heard = self.interfaces.iter_mut().enumerate().find(|(_, found)| found.index == received.interface);
            if let (CLIENT_PORT, Some((position, interface))) = (datagram.destination.port, heard) {
                let action = interface.client.receive(now_ms, &message, datagram.source.address);
                self.carry_out(position, action, timeline);
            }
        }
    }

    fn carry_out(&mut self, position: usize, action: Action, timeline: &mut Timeline) {
        match action {
            Action::Nothing => {}
            Action::Send(query, destination) => self.send(position, &query, destination),
            Action::Configure => {
                self.configure(position);
                timeline.reach(Stage::Lease);
            }
            Action::Deconfigure => {
                if let Some(interface) = self.interfaces.get_mut(position) {
                    say!("{}: the lease is lost", Text(&interface.name));
                }
                self.deconfigure(position);
            }
        }
    }

    /// Sends a query; one that cannot be sent is one that was lost: the client tries again.
    fn send(&self, position: usize, query: &Query, destination: Destination) {
        let Some(interface) = self.interfaces.get(position) else { return };
        let uname = rustix::system::uname();
        let hostname = uname.nodename().to_bytes();
        // Until somebody names the machine it is called "(none)" (init/version.c).
        let message = query.encode(if hostname == b"(none)" { b"" } else { hostname });
        let sent = match destination {
            Destination::Broadcast => {
                let source = Endpoint { address: query.ciaddr, port: CLIENT_PORT };
                let everybody = Endpoint { address: Address::BROADCAST, port: SERVER_PORT };
                let mut packet = heapless::Vec::<u8, { packet::MAX_PACKET }>::new();
                let _ = packet.extend_from_slice(&ipv4::headers(source, everybody, &message));
                let _ = packet.extend_from_slice(&message);
                packet::broadcast(&self.packets, interface.index, &packet)
            }
            Destination::Server(server) => send_to_server(&message, query.ciaddr, server),
        };
        if let Err(errno) = sent {
            say!("{}: DHCP: {}", Text(&interface.name), errno);
        }
    }

    fn configure(&mut self, position: usize) {
        let metric = self.metric(position);
        let Some(interface) = self.interfaces.get(position) else { return };
        let Some(lease) = interface.client.lease().copied() else { return };
        let new =
            InterfaceAddress { interface: interface.index, address: lease.address, prefix_length: lease.prefix_length };
        let old = interface.configured;
        if old.is_some_and(|old| old != new) {
            self.deconfigure(position);
        }
        let mut done = self.request(&new.add(lease.times.map(|times| times.expiry_s)));
        if let (Ok(()), Some(router)) = (done, lease.router) {
            done = self.request(&new.default_route(router, metric));
        }
        let Some(interface) = self.interfaces.get_mut(position) else { return };
        interface.configured = Some(new);
        if let Err(errno) = done {
            return say!("{}: {}: {}", Text(&interface.name), lease.address, errno);
        }
        // A lease that only goes on needs no word.
        if old != Some(new) {
            self.changed = true;
            tell!("{} {}", Text(&interface.name), Granted(&lease));
        }
    }

    fn deconfigure(&mut self, position: usize) {
        let Some(interface) = self.interfaces.get_mut(position) else { return };
        let Some(old) = interface.configured.take() else { return };
        self.changed = true;
        // The kernel may have dropped it at its expiry.
        let _ = self.request(&old.delete());
    }

    /// The first interface to have a lease has the default route; the others stand behind it.
    fn metric(&self, position: usize) -> u32 {
        let mut others = self.interfaces.iter().enumerate().filter(|(other, _)| *other != position);
        if others.any(|(_, other)| other.configured.is_some()) {
            LATER_METRIC.saturating_add(self.interfaces.get(position).map_or(0, |interface| interface.index))
        } else {
            0
        }
    }

    /// Sends a request and reads the kernel's answer, which is there when send(2) returns (rtnetlink is synchronous).
    fn request(&self, request: &Request) -> Result<(), Errno> {
        send(&self.requests, request.bytes(), SendFlags::empty())?;
        let mut buffer = files::buffer::<512>();
        let bytes = fd::receive(&self.requests, &mut buffer)?;
        match rtnetlink::messages(bytes).next() {
            Some(rtnetlink::Message::Acknowledgement(error @ ..0)) => Err(Errno(error.wrapping_neg())),
            _ => Ok(()),
        }
    }
}

/// RTMGRP_LINK (rtnetlink(7)).
const fn rtnetlink_groups() -> u32 {
    1
}

/// A NETLINK_ROUTE socket: the family's protocol 0.
fn netlink_socket(groups: u32) -> Result<Fd, Errno> {
    let socket = fd::socket(AddressFamily::NETLINK, SocketType::RAW, 0)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Sends a renewal by way of the routes, as UDP. The answer is heard by the packet socket.
fn send_to_server(message: &[u8], own: Address, server: Address) -> Result<(), Errno> {
    let socket = fd::socket(AddressFamily::INET, SocketType::DGRAM, 0)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(own.0.into(), CLIENT_PORT))?;
    sendto(&socket, message, SendFlags::empty(), &SocketAddrV4::new(server.0.into(), SERVER_PORT))?;
    Ok(())
}

/// A hardware address as people write it.
struct Mac(HardwareAddress);

impl uDisplay for Mac {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        let digit = |nibble: u8| char::from(b"0123456789abcdef".get(usize::from(nibble)).copied().unwrap_or(b'?'));
        let mut separator = "";
        for byte in self.0 {
            f.write_str(separator)?;
            f.write_char(digit(byte >> 4))?;
            f.write_char(digit(byte & 0xf))?;
            separator = ":";
        }
        Ok(())
    }
}

/// `10.0.2.15/24, gateway 10.0.2.2, DNS 10.0.2.3, lease 86400 s from 10.0.2.2`
struct Granted<'a>(&'a Lease);

impl uDisplay for Granted<'_> {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        let lease = self.0;
        uwrite!(f, "{}/{}", lease.address, lease.prefix_length)?;
        if let Some(router) = lease.router {
            uwrite!(f, ", gateway {}", router)?;
        }
        let mut separator = ", DNS ";
        for server in lease.name_servers.iter().flatten() {
            uwrite!(f, "{}{}", separator, *server)?;
            separator = " ";
        }
        match lease.times {
            Some(times) => uwrite!(f, ", lease {} s from {}", times.expiry_s, lease.server),
            None => uwrite!(f, ", lease without end from {}", lease.server),
        }
    }
}
