//! One interface: performs the actions of its DHCP client, with the sockets that all interfaces share.

use linux_raw_sys::ioctl::{SIOCGIFADDR, SIOCGIFNETMASK};
use linux_raw_sys::net::{SO_REUSEADDR, SOL_SOCKET};
use rustix::net::{AddressFamily, SocketType};
use whit::arp;
use whit::dhcp::client::{Action, Client, Destination, State};
use whit::dhcp::lease::Lease;
use whit::dhcp::wire::{Encoded, Kind, MAX_SENT};
use whit::dhcp::{CLIENT_PORT, SERVER_PORT};
use whit::error::Errno;
use whit::features::Feature;
use whit::ipv4::{self, Address, Endpoint};
use whit::pnp::{self, MAX_PNP};
use whit::rtnetlink::{self, InterfaceAddress, Request};
use whit::text::Text;

use crate::console::log_failure;
use crate::files;
use crate::hostname;
use crate::message::{error, info, part};
use crate::sys::fd::{self, Fd, IFNAMSIZ};
use crate::sys::net;
use crate::sys::packet::{self, Protocol};

/// Metric of the routes of later leases: the routes of the first lease are preferred.
const LATER_METRIC: u32 = 100;

/// An interface and its client. Small fields come first, as in the client.
#[repr(C)]
pub(super) struct Interface {
    pub(super) index: u32,
    /// Its current MTU.
    pub(super) mtu: u32,
    /// Its MTU before a lease changed it; 0 until then.
    pub(super) own_mtu: u32,
    /// How often its carrier has come up.
    pub(super) ups: u32,
    /// UDP socket to the lease's server. The answer is read from the packet socket; this one stays open until then, or the kernel would
    /// answer the server with ICMP port unreachable.
    pub(super) renewal: Option<Fd>,
    pub(super) configured: Option<InterfaceAddress>,
    pub(super) carrier: bool,
    pub(super) name: heapless::Vec<u8, IFNAMSIZ>,
    pub(super) client: Client,
}

/// State that all interfaces share.
pub(super) struct Shared {
    /// rtnetlink socket for events.
    pub(super) events: Fd,
    /// rtnetlink socket for requests.
    pub(super) requests: Fd,
    /// Packet socket for DHCP, while a client needs it.
    pub(super) packets: Option<Fd>,
    /// The packet socket has its filter.
    pub(super) filtered: bool,
    /// Packet socket for ARP, while an address is probed.
    pub(super) arp: Option<Fd>,
    /// A lease or a DNS server changed: the files in /etc are out of date.
    pub(super) changed: bool,
    /// Index of the interface that had the first lease: its routes are preferred, and its DNS and NTP servers are used. 0: none.
    pub(super) first: u32,
}

impl Interface {
    /// Performs an action of the client.
    pub(super) fn perform(&mut self, action: Action, shared: &mut Shared) {
        let done = match action {
            Action::BringUp => shared.request(&rtnetlink::bring_up(self.index)),
            // A query that cannot be sent counts as lost: the client tries again.
            Action::Send => self.send(shared),
            Action::Probe if Feature::Arp.is_enabled() => {
                let packet = arp::probe(self.client.chaddr(), self.client.address());
                broadcast(&mut shared.arp, self.index, Protocol::Arp, &packet)
            }
            Action::Decline if Feature::Arp.is_enabled() => {
                error!("{}: {} is in use, declined", Text(&self.name), self.client.address());
                self.deconfigure(shared);
                shared.forget(self.index);
                self.send(shared)
            }
            Action::Configure => self.configure(shared),
            Action::Extend => {
                self.renewal = None;
                self.set_address(shared)
            }
            Action::Deconfigure => {
                error!("{}: the lease is lost", Text(&self.name));
                self.deconfigure(shared);
                self.set_mtu(self.own_mtu, shared);
                shared.forget(self.index);
                Ok(())
            }
            _ => return,
        };
        if let Err(errno) = done {
            log_failure("DHCP on ", &self.name, errno);
        }
    }

    fn send(&mut self, shared: &mut Shared) -> Result<(), Errno> {
        let (query, mut message) = (self.client.query(), Encoded::new());
        query.encode(hostname::known(&rustix::system::uname()), &mut message);
        match self.client.destination() {
            Destination::Broadcast => {
                let source = Endpoint { address: query.ciaddr, port: CLIENT_PORT };
                let servers = Endpoint { address: Address::BROADCAST, port: SERVER_PORT };
                let mut packet = heapless::Vec::<u8, { ipv4::HEADERS + MAX_SENT }>::new();
                let _ = packet.extend_from_slice(&ipv4::headers(source, servers, &message));
                let _ = packet.extend_from_slice(&message);
                broadcast(&mut shared.packets, self.index, Protocol::Ip, &packet)
            }
            Destination::Server(server) => {
                if query.kind == Kind::Request {
                    open_packets(&mut shared.packets, Protocol::Ip)?; // for the answer
                }
                self.renewal = None; // Closes the old socket, which is bound to the port.
                self.renewal = Some(send_to_server(&message, query.ciaddr, server)?);
                Ok(())
            }
        }
    }

    fn configure(&mut self, shared: &mut Shared) -> Result<(), Errno> {
        // Deleting a static address and adding it again would lose the routes that the kernel has configured.
        if Feature::StaticIp.is_enabled() && self.client.state() == State::Fixed {
            shared.changed = true;
        } else {
            self.deconfigure(shared);
        }
        if shared.first == 0 {
            shared.first = self.index;
        }
        let metric = if shared.first == self.index { 0 } else { LATER_METRIC.wrapping_add(self.index) };
        let Some(lease) = self.client.lease() else { return Ok(()) };
        let mtu = lease.mtu.map_or(self.own_mtu, u32::from);
        if self.own_mtu == 0 && mtu > 0 {
            self.own_mtu = self.mtu;
        }
        self.set_mtu(mtu, shared);
        let address =
            InterfaceAddress { interface: self.index, address: lease.address, prefix_length: lease.prefix_length };
        self.configured = Some(address);
        let mut done = self.set_address(shared);
        for route in &lease.routes {
            done = done.and_then(|()| shared.request(&address.route(route, metric)));
        }
        // Logged after it is done.
        log_lease(&self.name, lease);
        for route in lease.routes.iter().filter(|route| route.prefix_length > 0) {
            let (to, length, gateway) = (route.destination, route.prefix_length, route.gateway);
            info!("{} route {}/{} via {}", Text(&self.name), to, length, gateway);
        }
        done
    }

    /// Sets the address of the interface, with the lifetime of the lease.
    fn set_address(&self, shared: &Shared) -> Result<(), Errno> {
        let (Some(address), Some(lease)) = (&self.configured, self.client.lease()) else { return Ok(()) };
        shared.request(&address.add(lease.times.map(|times| times.expiry_s)))
    }

    /// Sets the MTU; 0 leaves it.
    fn set_mtu(&self, mtu: u32, shared: &Shared) {
        if Feature::Mtu.is_enabled()
            && mtu > 0
            && mtu != self.mtu
            && let Err(errno) = shared.request(&rtnetlink::set_mtu(self.index, mtu))
        {
            log_failure("MTU of ", &self.name, errno);
        }
    }

    fn deconfigure(&mut self, shared: &mut Shared) {
        shared.changed = true;
        self.renewal = None;
        if let Some(old) = self.configured.take() {
            // The kernel may have dropped it at its expiry.
            let _ = shared.request(&old.delete());
        }
    }
}

impl Shared {
    /// Notes that an interface has lost its lease.
    pub(super) fn forget(&mut self, interface: u32) {
        if self.first == interface {
            self.first = 0;
            self.changed = true;
        }
    }

    /// Requests the list of interfaces; the answer comes as events.
    pub(super) fn request_links(&self) -> Result<(), Errno> {
        fd::write(&self.events, rtnetlink::dump_links().bytes())
    }

    pub(super) fn bring_up(&self, interface: u32, name: &[u8]) {
        if let Err(errno) = self.request(&rtnetlink::bring_up(interface)) {
            log_failure("bring up ", name, errno);
        }
    }

    /// Sends a request and reads the kernel's answer, which is there when write(2) returns (rtnetlink is synchronous).
    pub(super) fn request(&self, request: &Request) -> Result<(), Errno> {
        fd::write(&self.requests, request.bytes())?;
        let mut buffer = files::buffer::<512>();
        let bytes = fd::receive(&self.requests, &mut buffer)?;
        match rtnetlink::messages(bytes).next() {
            Some(rtnetlink::Message::Acknowledgement(result)) => Errno::check(result),
            _ => Ok(()),
        }
    }
}

/// Opens a packet socket, unless it is open.
#[inline(never)]
fn open_packets(socket: &mut Option<Fd>, protocol: Protocol) -> Result<&Fd, Errno> {
    match socket {
        Some(socket) => Ok(socket),
        none => Ok(none.insert(packet::open(protocol)?)),
    }
}

/// Broadcasts a packet on an interface's link.
fn broadcast(socket: &mut Option<Fd>, interface: u32, protocol: Protocol, packet: &[u8]) -> Result<(), Errno> {
    packet::broadcast(open_packets(socket, protocol)?, interface, protocol, packet)
}

/// Reads the address that the kernel configured by itself (`ip=`). Returns `None` if it did not.
#[inline(never)]
pub(super) fn read_kernel_config(name: &[u8], lease: &mut Lease) -> Option<()> {
    let mut buffer = files::buffer::<MAX_PNP>();
    // Only a kernel with CONFIG_IP_PNP has this file.
    let text = files::read(c"/proc/net/pnp", &mut buffer).ok()?;
    lease.address = fd::interface_value(name, SIOCGIFADDR)?;
    lease.prefix_length = ipv4::prefix_length(fd::interface_value(name, SIOCGIFNETMASK)?)?;
    pnp::parse(text, lease);
    Some(())
}

/// Sends a message to the server as a routed UDP datagram.
fn send_to_server(message: &[u8], own: Address, server: Address) -> Result<Fd, Errno> {
    let socket = fd::socket(AddressFamily::INET, SocketType::DGRAM, 0)?;
    net::set_option(&socket, SOL_SOCKET, SO_REUSEADDR, 1)?;
    net::bind(&socket, &net::inet(own, CLIENT_PORT))?;
    net::send_to(&socket, message, &net::inet(server, SERVER_PORT))?;
    Ok(socket)
}

/// Logs a lease: `eth0 10.0.2.15/24, gateway 10.0.2.2, DNS 10.0.2.3, lease 86400 s from 10.0.2.2`
fn log_lease(name: &[u8], lease: &Lease) {
    part!("{} {}/{}", Text(name), lease.address, lease.prefix_length);
    if let Some(router) = lease.router() {
        part!(", gateway {}", router);
    }
    let mut separator = ", DNS ";
    for server in &lease.name_servers {
        part!("{}{}", separator, *server);
        separator = " ";
    }
    match lease.times {
        Some(times) => info!(", lease {} s from {}", times.expiry_s, lease.server),
        None if Feature::StaticIp.is_enabled() && lease.server == Address::UNSPECIFIED => info!(", static"),
        None => info!(", infinite lease from {}", lease.server),
    }
}
