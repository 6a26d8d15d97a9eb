//! One interface: performs the actions of its DHCP client, with the sockets that all interfaces share.

use core::num::NonZero;

use linux_raw_sys::ioctl::{SIOCGIFADDR, SIOCGIFNETMASK};
use linux_raw_sys::net::{SO_BINDTOIFINDEX, SO_REUSEADDR, SOL_SOCKET};
use rustix::net::{AddressFamily, SocketType};
use whit::arp;
use whit::dhcp::client::{Action, Client, Destination, State, Timing};
use whit::dhcp::lease::Lease;
use whit::dhcp::routes::Routes;
use whit::dhcp::wire::{Encoded, HardwareAddress, Kind, MAX_SENT};
use whit::dhcp::{CLIENT_PORT, SERVER_PORT};
use whit::error::Errno;
use whit::features::Feature;
use whit::ip::{self, Method, Vlan};
use whit::ipv4::{self, Address, Endpoint};
use whit::pnp::{self, MAX_PNP};
use whit::rtnetlink::{self, InterfaceAddress, Request};
use whit::text::Text;

use super::dhcpv6::{Dhcpv6, Socket};
use super::lines::{Lines, MAX_VLANS};
use crate::console::log_failure;
use crate::files::{self, Path};
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
    /// The MTU of the lease; 0 until one had an MTU.
    pub(super) lease_mtu: u32,
    /// The MTU of `ip=`, which that of a lease does not replace.
    pub(super) asked_mtu: Option<NonZero<u16>>,
    /// The metric of its routes.
    pub(super) metric: u32,
    /// How often its carrier has come up.
    pub(super) ups: u32,
    /// UDP socket to the lease's server. The answer is read from the packet socket; this one stays open until then, or the kernel would
    /// answer the server with ICMP port unreachable.
    pub(super) renewal: Option<Fd>,
    pub(super) configured: Option<InterfaceAddress>,
    pub(super) carrier: bool,
    /// Another program has removed the address: it is not added again before a new lease or a new carrier.
    pub(super) removed: bool,
    pub(super) name: whit::bounded::Vec<u8, IFNAMSIZ>,
    pub(super) client: Client,
    /// The routes that were added.
    pub(super) routes: Routes,
    pub(super) dhcpv6: Dhcpv6,
}

/// State that all interfaces share. Small fields come first.
#[repr(C)]
pub(super) struct Shared<'a> {
    /// The socket for DHCPv6.
    pub(super) dhcpv6: Socket,
    /// rtnetlink socket for requests.
    pub(super) requests: Fd,
    /// Packet socket for DHCP, while a client needs it.
    pub(super) packets: Option<Fd>,
    /// A lease or a DNS server changed: the files in /etc are out of date.
    pub(super) changed: bool,
    /// The packet socket has its filter.
    pub(super) filtered: bool,
    /// Index of the interface that had the first lease: its routes are preferred, and its DNS and NTP servers are used. 0: none.
    pub(super) first: u32,
    /// Packet socket for ARP, while an address is probed.
    pub(super) arp: Option<Fd>,
    /// rtnetlink socket for events.
    pub(super) events: Fd,
    /// The `ip=`; without one, every interface has DHCP.
    pub(super) lines: Lines<'a>,
    /// The `vlan=`.
    pub(super) vlans: whit::bounded::Vec<Vlan<'a>, MAX_VLANS>,
}

impl Interface {
    /// An interface whose clients are not started: zeros, which the compiler fills in place.
    pub(super) const EMPTY: Self = Self {
        index: 0,
        mtu: 0,
        own_mtu: 0,
        lease_mtu: 0,
        asked_mtu: None,
        metric: 0,
        ups: 0,
        renewal: None,
        configured: None,
        carrier: false,
        removed: false,
        name: whit::bounded::Vec::new(),
        client: Client::EMPTY,
        routes: Routes::new(),
        dhcpv6: Dhcpv6::EMPTY,
    };

    /// Starts the clients of an empty interface without a carrier. `seed` is theirs.
    pub(super) fn start(&mut self, index: u32, chaddr: &HardwareAddress, seed: u32, timing: &Timing, up_ms: u64) {
        self.index = index;
        self.client.start(chaddr, seed, *timing, up_ms);
        self.dhcpv6.start(*chaddr, seed);
    }

    /// Performs an action of the client.
    pub(super) fn perform(&mut self, action: Action, shared: &mut Shared<'_>) {
        let done = match action {
            Action::BringUp => shared.request(&rtnetlink::bring_up(self.index)),
            // A query that cannot be sent counts as lost: the client tries again.
            Action::Send => self.send(shared),
            Action::Probe if Feature::Arp.is_enabled() => self.send_arp(Address::UNSPECIFIED, &mut shared.arp),
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
            Action::Deconfigure | Action::Ipv6Only => {
                if Feature::Ipv6.is_enabled() && action == Action::Ipv6Only {
                    info!("{}: the network is for IPv6 alone", Text(&self.name));
                } else {
                    error!("{}: the lease is lost", Text(&self.name));
                }
                self.deconfigure(shared);
                self.set_mtu(self.own_mtu, shared);
                shared.forget(self.index);
                Ok(())
            }
            _ => return,
        };
        if let Err(errno) = done {
            log_failure(c"DHCP on ", &self.name, errno);
        }
    }

    fn send(&mut self, shared: &mut Shared<'_>) -> Result<(), Errno> {
        let (query, mut message) = (self.client.query(), Encoded::new());
        query.encode(hostname::known(&rustix::system::uname()), self.client.prefers_ipv6(), &mut message);
        match self.client.destination() {
            Destination::Broadcast => {
                let source = Endpoint { address: query.ciaddr, port: CLIENT_PORT };
                let servers = Endpoint { address: Address::BROADCAST, port: SERVER_PORT };
                let mut packet = whit::bounded::Vec::<u8, { ipv4::HEADERS + MAX_SENT }>::new();
                let _ = packet.extend_from_slice(&ipv4::headers(source, servers, &message));
                let _ = packet.extend_from_slice(&message);
                broadcast(&mut shared.packets, self.index, Protocol::Ip, &packet)
            }
            // The kernel would refuse the source.
            Destination::Server(_) if self.is_removed() => Ok(()),
            Destination::Server(server) => {
                if query.kind == Kind::Request {
                    open_packets(&mut shared.packets, Protocol::Ip)?; // for the answer
                }
                self.renewal = None; // Closes the old socket, which is bound to the port.
                self.renewal = Some(send_to_server(&message, self.index, query.ciaddr, server)?);
                Ok(())
            }
        }
    }

    /// Broadcasts an ARP request for the client's address.
    fn send_arp(&self, sender: Address, socket: &mut Option<Fd>) -> Result<(), Errno> {
        let packet = arp::request(self.client.chaddr(), sender, self.client.address());
        broadcast(socket, self.index, Protocol::Arp, &packet)
    }

    /// Configures the interface, and logs the lease.
    fn configure(&mut self, shared: &mut Shared<'_>) -> Result<(), Errno> {
        shared.changed = true;
        self.renewal = None;
        if shared.first == 0 {
            shared.first = self.index;
        }
        let mut done = self.apply(shared, false);
        if Feature::StaticIp.is_enabled() && self.client.state() == State::Fixed {
            done = done.and_then(|()| self.apply_lines(shared));
        }
        let Some(lease) = self.client.lease() else { return done };
        // Logged after it is done.
        log_lease(&self.name, lease);
        for route in lease.routes.iter().filter(|route| route.prefix_length > 0) {
            let (to, length, gateway) = (route.destination, route.prefix_length, route.gateway);
            info!("{} route {}/{} via {}", Text(&self.name), to, length, gateway);
        }
        if Feature::Arp.is_enabled() && !self.is_removed() {
            done = done.and_then(|()| self.send_arp(lease.address, &mut shared.packets));
        }
        done
    }

    /// Sets the MTU, the address and the routes of the lease. What did not change since the last time is not touched, nor is what
    /// other programs have added, unless it is to be restored.
    fn apply(&mut self, shared: &Shared<'_>, restore: bool) -> Result<(), Errno> {
        let lease = self.client.lease();
        if Feature::Mtu.is_enabled() {
            let mtu = self.asked_mtu.or(lease.and_then(|lease| lease.mtu)).map_or(self.own_mtu, |mtu| mtu.get().into());
            if mtu != self.lease_mtu {
                if self.own_mtu == 0 {
                    self.own_mtu = self.mtu;
                }
                self.set_mtu(mtu, shared);
                self.lease_mtu = mtu;
            }
        }
        let Some(lease) = lease else { return Ok(()) };
        let address =
            InterfaceAddress { interface: self.index, address: lease.address, prefix_length: lease.prefix_length };
        let old = self.configured.replace(address);
        if old.as_ref() != Some(&address) || !Feature::Coexist.is_enabled() {
            self.metric = if shared.first == self.index { 0 } else { LATER_METRIC.wrapping_add(self.index) };
            if Feature::Coexist.is_enabled() {
                self.removed = false;
                self.routes.clear();
            }
            if let Some(old) = old {
                // With its last address an interface loses all its routes: the new address comes first.
                if Feature::Coexist.is_enabled() {
                    let _ = self.set_address(shared);
                }
                let _ = shared.request(&old.delete());
            }
        }
        if self.is_removed() {
            return Ok(());
        }
        self.set_address(shared)?;
        if Feature::Coexist.is_enabled() {
            for route in self.routes.iter().filter(|route| !lease.routes.contains(route)) {
                let _ = shared.request(&address.delete_route(route, self.metric));
            }
        }
        for route in lease
            .routes
            .iter()
            .filter(|route| !Feature::Coexist.is_enabled() || restore || !self.routes.contains(route))
        {
            shared.add(&address.add_route(route, self.metric))?;
        }
        if Feature::Coexist.is_enabled() {
            self.routes.clear();
            let _ = self.routes.extend_from_slice(&lease.routes);
        }
        Ok(())
    }

    /// Sets the static addresses of all `ip=` of the interface, and their default gateways.
    fn apply_lines(&self, shared: &Shared<'_>) -> Result<(), Errno> {
        for given in shared.lines.iter().filter(|given| given.interface == self.index) {
            let line = ip::parse(given.text);
            if line.method != Method::Fixed {
                continue;
            }
            let (interface, prefix_length) = (self.index, line.prefix_length);
            match line.address.ipv4() {
                Some(address) => {
                    let address = InterfaceAddress { interface, address, prefix_length };
                    shared.add(&address.add(None))?;
                    if let Some(route) = line.route() {
                        shared.add(&address.add_route(&route, self.metric))?;
                    }
                }
                None => shared.add(&rtnetlink::add_address6(interface, &line.address, prefix_length))?,
            }
            if line.gateway.is_ipv6() {
                shared.add(&rtnetlink::add_gateway6(interface, &line.gateway))?;
            }
        }
        Ok(())
    }

    fn is_removed(&self) -> bool {
        Feature::Coexist.is_enabled() && self.removed
    }

    /// Restores address and routes after the interface was down, which has removed the routes. The server is asked after that.
    pub(super) fn restore(&mut self, shared: &Shared<'_>) {
        self.removed = false;
        if self.configured.is_some()
            && let Err(errno) = self.apply(shared, true)
        {
            log_failure(c"DHCP on ", &self.name, errno);
        }
    }

    /// Notes that another program has removed an address.
    pub(super) fn address_gone(&mut self, address: &InterfaceAddress) {
        if self.configured.as_ref() == Some(address) && !self.removed {
            self.removed = true;
            info!("{}: {} was removed by another program", Text(&self.name), address.address);
        }
    }

    /// Sets the address of the interface, with the lifetime of the lease, unless another program has removed it.
    fn set_address(&self, shared: &Shared<'_>) -> Result<(), Errno> {
        match (&self.configured, self.client.lease()) {
            (Some(address), Some(lease)) if !self.is_removed() => {
                shared.request(&address.add(lease.times.map(|times| times.expiry_s)))
            }
            _ => Ok(()),
        }
    }

    /// Sets the MTU; 0 leaves it.
    fn set_mtu(&self, mtu: u32, shared: &Shared<'_>) {
        if Feature::Mtu.is_enabled()
            && mtu > 0
            && mtu != self.mtu
            && let Err(errno) = shared.request(&rtnetlink::set_mtu(self.index, mtu))
        {
            log_failure(c"MTU of ", &self.name, errno);
        }
    }

    fn deconfigure(&mut self, shared: &mut Shared<'_>) {
        shared.changed = true;
        self.renewal = None;
        if Feature::Coexist.is_enabled() {
            self.removed = false;
            self.routes.clear();
        }
        if Feature::Mtu.is_enabled() {
            self.lease_mtu = self.own_mtu;
        }
        if let Some(old) = self.configured.take() {
            // The kernel may have dropped it at its expiry.
            let _ = shared.request(&old.delete());
        }
    }
}

impl<'a> Shared<'a> {
    /// Creates the 802.1Q interfaces on an interface, and brings it up: they have its carrier.
    pub(super) fn add_vlans(&self, index: u32, name: &[u8], chaddr: HardwareAddress) {
        for vlan in self.vlans.iter().filter(|vlan| rtnetlink::is_meant(vlan.device, name, chaddr)) {
            if let Err(errno) = self.add(&rtnetlink::add_vlan(index, vlan.name, vlan.number)) {
                log_failure(c"vlan ", vlan.name, errno);
            }
            self.bring_up(index, name);
        }
    }

    /// Notes that an interface has lost its lease.
    #[inline(never)]
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
        // Else the kernel delays each check of an address by up to a second (net/ipv6/addrconf.c, addrconf_dad_kick()).
        if Feature::Dhcpv6.is_enabled() {
            let mut path = Path::new();
            let delay = path.fill(&[b"/proc/sys/net/ipv6/conf/", name, b"/router_solicitation_delay"]);
            let _ = files::write(delay, b"0");
        }
        if let Err(errno) = self.request(&rtnetlink::bring_up(interface)) {
            log_failure(c"bring up ", name, errno);
        }
    }

    /// Requests an address or a route. EEXIST is no failure: it is there, or a route that another program prefers.
    fn add(&self, request: &Request) -> Result<(), Errno> {
        self.request(request).or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) })
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
fn send_to_server(message: &[u8], interface: u32, own: Address, server: Address) -> Result<Fd, Errno> {
    let socket = fd::socket(AddressFamily::INET, SocketType::DGRAM, 0)?;
    net::set_option(&socket, SOL_SOCKET, SO_REUSEADDR, 1)?;
    if Feature::Coexist.is_enabled() {
        net::set_option(&socket, SOL_SOCKET, SO_BINDTOIFINDEX, interface)?;
    }
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
