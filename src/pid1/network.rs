//! The network: every Ethernet interface up, a DHCP client on each, what they are granted configured by rtnetlink.

use linux_raw_sys::netlink::{NETLINK_ROUTE, RTMGRP_LINK};
use rustix::net::{AddressFamily, SendFlags, SocketAddrV4, SocketType, bind, send, sendto, sockopt};
use ufmt::{Formatter, uDisplay, uWrite, uwrite};
use whit::dhcp::client::{Action, CLASSIC_GAP_MS, Client, Destination, FIRST_GAP_MS};
use whit::dhcp::lease::Lease;
use whit::dhcp::wire::{Encoded, HardwareAddress, MAX_SENT, Message, Query};
use whit::dhcp::{CLIENT_PORT, SERVER_PORT};
use whit::error::Errno;
use whit::ip::{self, Ip};
use whit::ipv4::{self, Address, Endpoint};
use whit::options::{Options, Value};
use whit::rtnetlink::{self, Hardware, InterfaceAddress, Link, MAX_REPLY, Request};
use whit::text::Text;
use whit::time::NEVER;

use crate::console::{failed, say, tell};
use crate::etc::known_name;
use crate::files;
use crate::sys::fd::{self, Fd};
use crate::sys::packet;
use crate::timeline::{Stage, Timeline};

/// Interfaces that get a client.
const MAX_INTERFACES: usize = 8;
/// Packets that are read before signals, devices and children have their turn: a flood does not keep PID 1 from them.
const PACKETS_A_TURN: u8 = 64;
/// A name with its NUL (include/uapi/linux/if.h).
const IFNAMSIZ: usize = 16;
/// QEMU's e1000 negotiates for 0.5 s (hw/net/e1000x_common.c, e1000x_restart_autoneg()) after its driver has reset it,
/// which is right before the interface appears. Brought up meanwhile, the driver finds no link and looks again after 2 s,
/// whatever the card says in between (e1000_intr(): schedule_delayed_work() leaves what is pending as it is); then the
/// model holds packets for a further second, as it does behind each write of its receive mode, IPv6's joining of a group
/// at the carrier among them (hw/net/e1000.c, set_rx_control()). So: a lease after 1.5 s, not after 3.
const E1000_NEGOTIATES_MS: u64 = 500;
/// Routes that are not the first lease's come behind those.
const LATER_METRIC: u32 = 100;

/// An interface and its client.
struct Interface {
    index: u32,
    name: heapless::Vec<u8, IFNAMSIZ>,
    carrier: bool,
    client: Client,
    configured: Option<InterfaceAddress>,
    /// How long its packets may be now.
    mtu: u32,
    /// How often its carrier has come.
    ups: u32,
}

/// What all interfaces share.
struct Shared {
    /// Tells of links.
    events: Fd,
    /// Takes requests.
    requests: Fd,
    /// Sends and hears DHCP.
    packets: Fd,
    /// A lease came, changed or went: the files in the root are to follow.
    changed: bool,
    /// Index of the interface that had the first lease: its routes come before the others', its servers are asked. 0: none.
    first: u32,
}

/// All interfaces, and the shared. What is small stands first, as in the machine.
#[repr(C)]
pub(crate) struct Network<'a> {
    shared: Shared,
    seed: u32,
    /// Of the clients: the time to their second message.
    first_gap_ms: u64,
    /// Software interfaces (veth, bridges) that appear now are the workload's.
    workload_runs: bool,
    /// The one interface that is used; every one when it is empty.
    wanted: &'a [u8],
    /// The value of `ip=`.
    ip: &'a [u8],
    interfaces: heapless::Vec<Interface, MAX_INTERFACES>,
}

impl<'a> Network<'a> {
    /// Opens the sockets and asks for the interfaces.
    pub(crate) fn open(seed: u32, options: &Options<'a>) -> Result<Self, Errno> {
        let (events, requests) =
            (fd::netlink_socket(NETLINK_ROUTE, RTMGRP_LINK)?, fd::netlink_socket(NETLINK_ROUTE, 0)?);
        let shared = Shared { events, requests, packets: packet::open()?, changed: false, first: 0 };
        shared.ask_for_links()?;
        Ok(Self {
            shared,
            seed,
            first_gap_ms: if options.classic_dhcp { CLASSIC_GAP_MS } else { FIRST_GAP_MS },
            workload_runs: false,
            wanted: options.value(Value::NetDevice),
            ip: options.value(Value::Ip),
            interfaces: heapless::Vec::new(),
        })
    }

    /// What is waited for.
    pub(crate) fn descriptors(&self) -> [&Fd; 2] {
        [&self.shared.events, &self.shared.packets]
    }

    /// When [`Network::handle`] is to be called without an event.
    pub(crate) fn deadline_ms(&self) -> u64 {
        self.interfaces.iter().fold(NEVER, |earliest_ms, interface| earliest_ms.min(interface.client.deadline_ms()))
    }

    /// Whether there is an interface to wait for.
    pub(crate) fn has_interfaces(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// The first lease.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.interfaces.iter().find(|interface| interface.index == self.shared.first)?.client.lease()
    }

    /// Whether a lease changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.shared.changed)
    }

    /// The workload may make interfaces of its own from here on.
    pub(crate) fn workload_runs(&mut self) {
        self.workload_runs = true;
    }

    /// Nobody will renew the leases: the addresses stay.
    pub(crate) fn settle(&mut self) {
        for address in self.interfaces.iter().filter_map(|interface| interface.configured.as_ref()) {
            let _ = self.shared.request(&address.add(None));
        }
    }

    /// Does all that can be done now: reads both sockets empty and lets deadlines come.
    #[inline(never)]
    pub(crate) fn handle(&mut self, now_ms: u64, timeline: &mut Timeline) {
        self.read_events(now_ms, timeline);
        self.read_packets(now_ms);
        for interface in &mut self.interfaces {
            if interface.client.deadline_ms() <= now_ms {
                let action = interface.client.timeout(now_ms);
                interface.carry_out(&action, &mut self.shared);
            }
        }
        if self.shared.changed {
            timeline.reach(Stage::Lease);
        }
    }

    fn read_events(&mut self, now_ms: u64, timeline: &mut Timeline) {
        let mut buffer = files::buffer::<MAX_REPLY>();
        loop {
            match fd::receive(&self.shared.events, &mut buffer) {
                Ok(bytes) => {
                    for message in rtnetlink::messages(bytes) {
                        match message {
                            rtnetlink::Message::Link(link) => self.link_changed(&link, now_ms, timeline),
                            rtnetlink::Message::LinkGone(index) => {
                                let gone = self.interfaces.iter().position(|interface| interface.index == index);
                                if let Some(gone) = gone {
                                    self.interfaces.remove(gone);
                                    self.shared.forget(index);
                                }
                            }
                            _ => {}
                        }
                    }
                }
                // Events were lost: ask for the present state.
                Err(Errno::NOBUFS) => drop(self.shared.ask_for_links()),
                Err(_) => return,
            }
        }
    }

    fn link_changed(&mut self, link: &Link<'_>, now_ms: u64, timeline: &mut Timeline) {
        let (index, name) = (link.interface(), Text(link.name()));
        let chaddr = match link.hardware() {
            Hardware::Ethernet(address) => address,
            Hardware::Loopback => return self.shared.bring_up(link),
            Hardware::Other => return,
        };
        if find(&mut self.interfaces, index).is_none() {
            let mut lease = Lease::default();
            let (fixed, device) = match ip::parse(self.ip, &mut lease) {
                Some(Ip::Fixed(device)) => (true, device),
                Some(Ip::Dhcp(device)) => (false, device),
                Some(Ip::Off) => (false, &b""[..]), // whit.net= says otherwise
                None => {
                    say!("ip={}: not understood; a server is asked", Text(self.ip));
                    (false, &b""[..])
                }
            };
            if link.by_software() && self.workload_runs
                || !link.is_meant(self.wanted, chaddr)
                || !link.is_meant(device, chaddr)
                // One address is for one interface.
                || fixed && !self.interfaces.is_empty()
            {
                return;
            }
            let up_ms = if link.is_qemu_e1000() { now_ms.saturating_add(E1000_NEGOTIATES_MS) } else { NEVER };
            let mut interface = Interface {
                index,
                name: heapless::Vec::new(),
                carrier: false,
                client: Client::new(chaddr, self.seed ^ index, self.first_gap_ms, up_ms),
                configured: None,
                mtu: 0,
                ups: 0,
            };
            let _ = interface.name.extend_from_slice(name.0);
            if fixed {
                interface.client.fix(lease);
            }
            if self.interfaces.push(interface).is_err() {
                return say!("{}: more than {} interfaces, left alone", name, MAX_INTERFACES);
            }
            if up_ms == NEVER {
                self.shared.bring_up(link);
            }
        }
        let Some(interface) = find(&mut self.interfaces, index) else { return };
        let ups = link.carrier_ups();
        if core::mem::replace(&mut interface.ups, ups) != ups && interface.carrier {
            // It was gone in between.
            interface.carrier = false;
            let _ = interface.client.link(now_ms, false);
        }
        if link.carrier() && !interface.carrier {
            timeline.reach(Stage::Link);
            tell!("{} {}: link up", name, Mac(chaddr));
        }
        interface.carrier = link.carrier();
        interface.mtu = link.mtu();
        let action = interface.client.link(now_ms, link.carrier());
        interface.carry_out(&action, &mut self.shared);
    }

    fn read_packets(&mut self, now_ms: u64) {
        let mut buffer = files::buffer::<{ packet::MAX_PACKET }>();
        for _ in 0..PACKETS_A_TURN {
            let Some(received) = packet::receive(&self.shared.packets, &mut buffer) else { return };
            let Some(datagram) = ipv4::datagram(received.packet, received.udp_checksum) else { continue };
            let Some(message) = Message::parse(datagram.payload) else { continue };
            let heard = find(&mut self.interfaces, received.interface);
            if let (CLIENT_PORT, Some(interface)) = (datagram.destination.port, heard) {
                let action = interface.client.receive(now_ms, &message, datagram.source.address);
                interface.carry_out(&action, &mut self.shared);
            }
        }
    }
}

fn find(interfaces: &mut [Interface], index: u32) -> Option<&mut Interface> {
    interfaces.iter_mut().find(|interface| interface.index == index)
}

impl Interface {
    /// Does what the client wants.
    fn carry_out(&mut self, action: &Action, shared: &mut Shared) {
        let done = match action {
            Action::Nothing => return,
            Action::BringUp => shared.request(&rtnetlink::bring_up(self.index)),
            // A query that cannot be sent is one that was lost: the client tries again.
            Action::Send(query, destination) => self.send(query, *destination, shared),
            Action::Configure => self.configure(shared),
            Action::Extend => self.set_address(shared),
            Action::Deconfigure => {
                say!("{}: the lease is lost", Text(&self.name));
                self.deconfigure(shared);
                shared.forget(self.index);
                Ok(())
            }
        };
        if let Err(errno) = done {
            failed("DHCP on ", &self.name, errno);
        }
    }

    fn send(&self, query: &Query, destination: Destination, shared: &Shared) -> Result<(), Errno> {
        let mut message = Encoded::new();
        query.encode(known_name(&rustix::system::uname()), &mut message);
        match destination {
            Destination::Broadcast => {
                let source = Endpoint { address: query.ciaddr, port: CLIENT_PORT };
                let everybody = Endpoint { address: Address::BROADCAST, port: SERVER_PORT };
                let mut packet = heapless::Vec::<u8, { ipv4::HEADERS + MAX_SENT }>::new();
                let _ = packet.extend_from_slice(&ipv4::headers(source, everybody, &message));
                let _ = packet.extend_from_slice(&message);
                packet::broadcast(&shared.packets, self.index, &packet)
            }
            Destination::Server(server) => send_to_server(&message, query.ciaddr, server),
        }
    }

    fn configure(&mut self, shared: &mut Shared) -> Result<(), Errno> {
        self.deconfigure(shared);
        if shared.first == 0 {
            shared.first = self.index;
        }
        let metric = if shared.first == self.index { 0 } else { LATER_METRIC.wrapping_add(self.index) };
        let Some(lease) = self.client.lease() else { return Ok(()) };
        if let Some(mtu) = lease.mtu.filter(|mtu| u32::from(*mtu) != self.mtu)
            && let Err(errno) = shared.request(&rtnetlink::set_mtu(self.index, mtu))
        {
            failed("MTU of ", &self.name, errno);
        }
        let address =
            InterfaceAddress { interface: self.index, address: lease.address, prefix_length: lease.prefix_length };
        self.configured = Some(address);
        let mut done = self.set_address(shared);
        for route in &lease.routes {
            done = done.and_then(|()| shared.request(&address.route(route, metric)));
        }
        // Said when it is so.
        tell!("{} {}", Text(&self.name), Granted(lease));
        for route in lease.routes.iter().filter(|route| route.prefix_length > 0) {
            let (to, length, by) = (route.destination, u64::from(route.prefix_length), route.gateway);
            tell!("{} route to {}/{} by {}", Text(&self.name), to, length, by);
        }
        done
    }

    /// Gives the interface its address for as long as the lease says.
    fn set_address(&self, shared: &Shared) -> Result<(), Errno> {
        let (Some(address), Some(lease)) = (&self.configured, self.client.lease()) else { return Ok(()) };
        shared.request(&address.add(lease.times.map(|times| times.expiry_s)))
    }

    fn deconfigure(&mut self, shared: &mut Shared) {
        shared.changed = true;
        if let Some(old) = self.configured.take() {
            // The kernel may have dropped it at its expiry.
            let _ = shared.request(&old.delete());
        }
    }
}

impl Shared {
    /// An interface has no lease any more.
    fn forget(&mut self, interface: u32) {
        if self.first == interface {
            self.first = 0;
            self.changed = true;
        }
    }

    fn ask_for_links(&self) -> Result<(), Errno> {
        send(&self.events, rtnetlink::dump_links().bytes(), SendFlags::empty())?;
        Ok(())
    }

    fn bring_up(&self, link: &Link<'_>) {
        if !link.up()
            && let Err(errno) = self.request(&rtnetlink::bring_up(link.interface()))
        {
            failed("bring up ", link.name(), errno);
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
        for byte in &self.0 {
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
    #[inline(never)]
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        let lease = self.0;
        uwrite!(f, "{}/{}", lease.address, u64::from(lease.prefix_length))?;
        if let Some(router) = lease.router() {
            uwrite!(f, ", gateway {}", router)?;
        }
        let mut separator = ", DNS ";
        for server in &lease.name_servers {
            uwrite!(f, "{}{}", separator, *server)?;
            separator = " ";
        }
        match lease.times {
            Some(times) => uwrite!(f, ", lease {} s from {}", u64::from(times.expiry_s), lease.server),
            None if lease.server == Address::UNSPECIFIED => f.write_str(", by hand"),
            None => uwrite!(f, ", lease without end from {}", lease.server),
        }
    }
}
