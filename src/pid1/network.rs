//! The network: brings up every Ethernet interface, runs a DHCP client on each, and configures the leases by rtnetlink.

use core::ffi::CStr;

use linux_raw_sys::netlink::{
    NETLINK_ROUTE, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_IFINFO, RTMGRP_LINK, rtnetlink_groups,
};
use whit::arp;
use whit::dhcp::CLIENT_PORT;
use whit::dhcp::client::{CLASSIC_GAP_MS, FIRST_GAP_MS, State, Timing, seed_of};
use whit::dhcp::lease::Lease;
use whit::dhcp::wire::Message;
use whit::error::Errno;
use whit::features::Feature;
use whit::ip::Method;
use whit::ipv4;
use whit::ipv6::{Address, NameServer, NameServers};
use whit::options::{Net, Options, Sources, Time, Value};
use whit::rtnetlink::{self, Link, MAX_REPLY};
use whit::stage::Stage;
use whit::text::Text;
use whit::time::{NEVER, after_ms, after_s};

use crate::console::log_step;
use crate::files;
use crate::message::{error, info};
use crate::sys::argument::Mac;
use crate::sys::fd::{self, Fd, Polled};
use crate::sys::packet;
use crate::sys::rooms::Room;
use crate::timeline::Timeline;

#[cfg_attr(not(feature = "dhcpv6"), path = "stubs/dhcpv6.rs")]
mod dhcpv6;
mod interface;
mod lines;

use dhcpv6::Socket;
use interface::{Interface, Shared};
use lines::{Lines, read_lines, read_vlans};

/// Interfaces that have a client at a time. One without a carrier gives way to one with a carrier.
const MAX_INTERFACES: usize = 8;
/// Packets that are read before signals, devices and children have their turn: a flood must not starve them.
const PACKETS_A_TURN: u8 = 64;
/// Multicast groups of rtnetlink: links, addresses, options and flags of router advertisements.
const EVENTS: u32 = RTMGRP_LINK
    | if Feature::Dhcpv6.is_enabled() { RTMGRP_IPV6_IFINFO } else { 0 }
    | if Feature::Coexist.is_enabled() { RTMGRP_IPV4_IFADDR } else { 0 }
    | if Feature::Ipv6.is_enabled() {
        RTMGRP_IPV6_IFADDR | 1 << (rtnetlink_groups::RTNLGRP_ND_USEROPT as u32 - 1)
    } else {
        0
    };
/// QEMU's e1000 negotiates for 0.5 s (hw/net/e1000x_common.c, e1000x_restart_autoneg()) after its driver has reset it,
/// which is right before the interface appears. If it is brought up in that time, the driver finds no link and looks again after 2 s,
/// even if the card reports one earlier (e1000_intr(): schedule_delayed_work() does not advance pending work); then the
/// model holds packets for a further second, as it does after each write of its receive mode, such as when IPv6 joins a group
/// at the carrier (hw/net/e1000.c, set_rx_control()). With this wait there is a lease after 1.5 s, without it after 3 s.
const E1000_NEGOTIATES_MS: u64 = 500;
/// The time in which a card that was brought up finds its carrier: gigabit cards negotiate for up to 4 s.
pub(crate) const CARRIER_S: u32 = 5;
/// The time in which a DHCP server may answer after there is a global IPv6 address.
const GRACE_MS: u64 = 2000;
/// An upper bound on the time that a workload takes to start.
const STARTS_MS: u64 = 1000;
/// The shortest time between two writes of the files: the advertisements of a router may change with each packet.
const FILES_GAP_MS: u64 = 1000;
/// With this setting the kernel removes an address alone, and not every later address of its subnet with it.
const PROMOTE: &CStr = c"/proc/sys/net/ipv4/conf/all/promote_secondaries";
/// The loopback's index in every network namespace (include/net/flow.h, LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// The stage of the workload, as far as the network depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    /// There is none yet.
    None,
    /// It starts. Until this time nothing that blocks is done.
    Starting(u64),
    /// It runs.
    Running,
}

/// All interfaces, and their sockets. Small fields come first, as in the machine.
#[repr(C)]
pub(crate) struct Network<'a> {
    interfaces: &'static mut Interfaces,
    /// Room for the events of one read, or a packet; `None` while they are handled.
    room: Option<&'static mut Room<MAX_REPLY>>,
    seed: u32,
    /// The highest index of an interface that was there before the workload: indices grow.
    newest: u32,
    /// The timing of the DHCP clients.
    timing: Timing,
    /// The only interface that is used; all are used when it is empty.
    wanted: &'a [u8],
    /// The stage of the workload.
    workload: Workload,
    /// When the first global IPv6 address was usable, or NEVER.
    ipv6_ms: u64,
    /// When the last interface appeared.
    appeared_ms: u64,
    /// When the files may be written again; NEVER until they have been written once.
    files_due_ms: u64,
    shared: Shared<'a>,
    /// DNS servers from router advertisements.
    name_servers: NameServers,
}

type Interfaces = heapless::Vec<Interface, MAX_INTERFACES>;

/// Room for the interfaces and for events, apart from the network, which is moved: all of the room would be copied.
pub(crate) struct Rooms {
    interfaces: Interfaces,
    events: Room<MAX_REPLY>,
}

impl Rooms {
    pub(crate) const fn new() -> Self {
        Self { interfaces: Interfaces::new(), events: files::buffer() }
    }
}

impl<'a> Network<'a> {
    /// Opens the network, unless `net=off`. Failures are logged.
    #[inline(never)]
    pub(crate) fn open(
        rooms: &'static mut Rooms,
        seed: u32,
        options: &Options<'a>,
        sources: &Sources<'a>,
    ) -> Option<Self> {
        if options.net() == Net::Off {
            return None;
        }
        Self::open_sockets(rooms, seed, options, sources).map_err(|errno| log_step(c"network", errno)).ok()
    }

    /// Opens the sockets and requests the list of interfaces.
    fn open_sockets(
        rooms: &'static mut Rooms,
        seed: u32,
        options: &Options<'a>,
        sources: &Sources<'a>,
    ) -> Result<Self, Errno> {
        let (events, requests) = (fd::netlink_socket(NETLINK_ROUTE, EVENTS)?, fd::netlink_socket(NETLINK_ROUTE, 0)?);
        let shared = Shared {
            events,
            requests,
            packets: None,
            arp: None,
            dhcpv6: Socket::new(),
            filtered: false,
            changed: false,
            first: 0,
            lines: if Feature::StaticIp.is_enabled() { read_lines(sources) } else { Lines::new() },
            vlans: if Feature::Vlan.is_enabled() { read_vlans(sources) } else { whit::bounded::Vec::new() },
        };
        shared.request_links()?;
        Ok(Self {
            shared,
            seed,
            timing: Timing {
                ipv6_only: Feature::Ipv6.is_enabled() && has_ipv6(),
                first_gap_ms: if options.classic_dhcp() { CLASSIC_GAP_MS } else { FIRST_GAP_MS },
                probe_ms: options.time(Time::ArpMs),
            },
            wanted: options.value(Value::NetDevice),
            workload: Workload::None,
            ipv6_ms: NEVER,
            newest: 0,
            appeared_ms: 0,
            files_due_ms: NEVER,
            name_servers: NameServers::default(),
            interfaces: &mut rooms.interfaces,
            room: Some(&mut rooms.events),
        })
    }

    /// Brings up the loopback, and sets the kernel to remove an address alone. Called after the first queries are sent: it takes as long as
    /// everything before them.
    pub(crate) fn bring_up_loopback(&self) {
        // A kernel without settings (CONFIG_SYSCTL) has no such file, and a container's may be read-only.
        if Feature::Coexist.is_enabled()
            && let Err(errno) = files::write(PROMOTE, b"1")
            && !matches!(errno, Errno::NOENT | Errno::ROFS)
        {
            log_step(c"promote_secondaries", errno);
        }
        self.shared.bring_up(LOOPBACK, b"lo");
    }

    /// Attaches a filter to the packet socket before PID 1 waits, to save wakeups. Does nothing while the workload starts: that would
    /// be delayed.
    pub(crate) fn filter_packets(&mut self) {
        if let (Some(socket), false) = (&self.shared.packets, self.shared.filtered)
            && !matches!(self.workload, Workload::Starting(_))
        {
            packet::filter(socket);
            self.shared.filtered = true;
        }
    }

    /// The descriptors to poll.
    pub(crate) fn descriptors(&self) -> [Polled; 3] {
        let Shared { events, packets, arp, .. } = &self.shared;
        [Polled::new(Some(events)), Polled::new(packets.as_ref()), Polled::new(arp.as_ref())]
    }

    /// The socket of DHCPv6, to poll.
    #[cfg_attr(not(feature = "dhcpv6"), expect(dead_code, reason = "there is none"))]
    pub(crate) fn dhcpv6_descriptor(&self) -> Option<&Fd> {
        self.shared.dhcpv6.descriptor()
    }

    /// When [`Network::handle`] is to be called without an event.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let started_ms = if let Workload::Starting(until_ms) = self.workload { until_ms } else { NEVER };
        let files_due_ms = if self.shared.changed { self.files_due_ms } else { NEVER };
        let servers_ms = if Feature::Ipv6.is_enabled() { self.name_servers.deadline_ms() } else { NEVER };
        let own_ms = servers_ms.min(started_ms).min(files_due_ms);
        self.interfaces.iter().fold(own_ms, |earliest_ms, interface| {
            earliest_ms.min(interface.client.deadline_ms()).min(interface.dhcpv6.deadline_ms())
        })
    }

    /// Returns when the wait for a carrier ends; NEVER if there is one.
    pub(crate) fn carrier_deadline_ms(&self) -> u64 {
        let has_carrier = self.interfaces.iter().any(|interface| interface.carrier);
        if has_carrier || Feature::StaticIp.is_enabled() && self.missing().is_some() || !Feature::Choice.is_enabled() {
            NEVER
        } else {
            after_s(self.appeared_ms, CARRIER_S)
        }
    }

    /// Returns whether there is an interface to wait for.
    pub(crate) fn has_interfaces(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// Returns the lease of the first interface, or another one when that is lost.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        let mut found = None;
        for known in self.interfaces.iter() {
            let lease = known.client.lease();
            if found.is_none() || known.index == self.shared.first {
                found = lease.or(found);
            }
        }
        found
    }

    /// Returns the first address of DHCPv6.
    pub(crate) fn address6(&self) -> Option<&Address> {
        self.interfaces.iter().find_map(|known| known.dhcpv6.address())
    }

    /// DNS servers from router advertisements and DHCPv6.
    pub(crate) fn name_servers(&self) -> &[NameServer] {
        self.name_servers.all()
    }

    /// The search list of router advertisements.
    pub(crate) fn search(&self) -> &[u8] {
        self.name_servers.search()
    }

    /// Returns whether there is a global IPv6 address.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.ipv6_ms != NEVER
    }

    /// Returns when a global IPv6 address is enough: at once where the network is for IPv6 alone, else after a time in which IPv4 may
    /// follow, unless a lease is required. The same holds for static addresses. NEVER without such an address.
    pub(crate) fn grace_ms(&self, requires_lease: bool) -> u64 {
        if !Feature::Ipv6.is_enabled() || !self.has_ipv6() {
            NEVER
        } else if self.interfaces.iter().any(|known| known.client.needs_no_lease()) {
            self.ipv6_ms
        } else if requires_lease {
            NEVER
        } else {
            after_ms(self.ipv6_ms, GRACE_MS)
        }
    }

    /// Returns the name of an interface.
    pub(crate) fn name_of(&self, interface: u32) -> &[u8] {
        self.interfaces.iter().find(|known| known.index == interface).map_or(b"", |known| &known.name)
    }

    /// Returns whether the files must be written now: a lease or a DNS server has changed since [`Network::files_written`], and the
    /// shortest time has passed.
    pub(crate) fn has_changed(&self, now_ms: u64) -> bool {
        self.shared.changed && now_ms >= self.files_due_ms
    }

    /// Notes that the files are up to date. Changes after the first write, at the end of the boot, are written without delay.
    pub(crate) fn files_written(&mut self, now_ms: u64) {
        self.shared.changed = false;
        self.files_due_ms = if self.files_due_ms == NEVER { now_ms } else { after_ms(now_ms, FILES_GAP_MS) };
    }

    /// Notes that the workload starts: it may create interfaces of its own from here on.
    pub(crate) fn workload_starts(&mut self, now_ms: u64) {
        self.workload = Workload::Starting(after_ms(now_ms, STARTS_MS));
    }

    /// Makes the leased addresses permanent: no process will renew the leases.
    pub(crate) fn make_addresses_permanent(&mut self) {
        for interface in &*self.interfaces {
            if let Some(address) = &interface.configured {
                let _ = self.shared.request(&address.add(None));
            }
            interface.dhcpv6.make_permanent(interface.index, &self.shared);
        }
    }

    /// Releases all leases: the machine ends.
    pub(crate) fn release(&mut self) {
        for interface in &mut *self.interfaces {
            let action = interface.client.release();
            interface.perform(action, &mut self.shared);
            interface.dhcpv6.release();
        }
        self.handle_dhcpv6(0);
    }

    /// Reads all sockets until they are empty and handles expired deadlines.
    #[inline(never)]
    pub(crate) fn handle(&mut self, now_ms: u64, timeline: &mut Timeline) {
        let Some(room) = self.room.take() else { return };
        self.read_events(room, now_ms, timeline);
        self.read_packets(room, now_ms);
        if Feature::Arp.is_enabled() {
            self.read_claims(room, now_ms);
        }
        self.room = Some(room);
        for interface in &mut *self.interfaces {
            if interface.client.deadline_ms() <= now_ms {
                let action = interface.client.timeout(now_ms);
                interface.perform(action, &mut self.shared);
            }
        }
        self.handle_dhcpv6(now_ms);
        if Feature::Ipv6.is_enabled() {
            self.shared.changed |= self.name_servers.expire(now_ms, 0);
        }
        if self.shared.changed && self.lease().is_some() {
            timeline.reach(Stage::Lease);
        }
        if matches!(self.workload, Workload::Starting(until_ms) if now_ms >= until_ms) {
            self.workload = Workload::Running;
        }
        if self.workload == Workload::Running {
            self.close_idle();
        }
    }

    /// Closes packet sockets that are not needed: the kernel copies every packet to them. Closing one waits for an RCU grace period of
    /// some 10 ms.
    #[inline(never)]
    fn close_idle(&mut self) {
        let (mut needs_arp, mut needs_packets) = (false, false);
        for interface in &*self.interfaces {
            match interface.client.state() {
                State::Bound | State::Fixed | State::WaitLink => {}
                state => {
                    needs_packets = true;
                    needs_arp |= state == State::Probing;
                }
            }
        }
        if Feature::Arp.is_enabled() && !needs_arp {
            self.shared.arp = None;
        }
        if !needs_packets {
            (self.shared.packets, self.shared.filtered) = (None, false);
        }
    }

    fn read_events(&mut self, room: &mut Room<MAX_REPLY>, now_ms: u64, timeline: &mut Timeline) {
        loop {
            match fd::receive(&self.shared.events, room) {
                Ok(bytes) => {
                    for message in rtnetlink::messages(bytes) {
                        match message {
                            rtnetlink::Message::Link(link) => self.link_changed(&link, now_ms, timeline),
                            rtnetlink::Message::LinkGone(index) => {
                                self.remove(index);
                                self.shared.forget(index);
                                if Feature::Ipv6.is_enabled() {
                                    self.shared.changed |= self.name_servers.expire(now_ms, index);
                                }
                            }
                            rtnetlink::Message::AddressGone(address) => {
                                if Feature::Coexist.is_enabled()
                                    && let Some(interface) = find(self.interfaces, address.interface)
                                {
                                    interface.address_gone(&address);
                                }
                            }
                            rtnetlink::Message::AddressConflict(index, address) if Feature::Dhcpv6.is_enabled() => {
                                if let Some(interface) = find(self.interfaces, index) {
                                    interface.dhcpv6.conflict(now_ms, &address);
                                }
                            }
                            rtnetlink::Message::RouterFlags(index, flags) if Feature::Dhcpv6.is_enabled() => {
                                if let Some(interface) = find(self.interfaces, index) {
                                    interface.dhcpv6.advertised(now_ms, flags);
                                }
                            }
                            rtnetlink::Message::GlobalAddress(index, address)
                                if Feature::Ipv6.is_enabled()
                                    && !self.has_ipv6()
                                    && find(self.interfaces, index).is_some() =>
                            {
                                self.ipv6_ms = now_ms;
                                info!("{} {}", Text(self.name_of(index)), &address);
                            }
                            rtnetlink::Message::RouterOption(index, option)
                                if Feature::Ipv6.is_enabled() && find(self.interfaces, index).is_some() =>
                            {
                                self.shared.changed |= self.name_servers.update(now_ms, index, option);
                            }
                            _ => {}
                        }
                    }
                }
                // Events were lost: requests the present state.
                Err(Errno::NOBUFS) => drop(self.shared.request_links()),
                Err(_) => break,
            }
        }
    }

    /// Removes an interface from those with a client.
    fn remove(&mut self, index: u32) {
        if let Some(place) = self.interfaces.iter().position(|known| known.index == index) {
            self.interfaces.remove(place);
        }
    }

    fn link_changed(&mut self, link: &Link<'_>, now_ms: u64, timeline: &mut Timeline) {
        let (index, name) = (link.interface(), Text(link.name()));
        let Some(mut chaddr) = link.ethernet() else { return };
        if find(self.interfaces, index).is_none() {
            if Feature::Vlan.is_enabled() && (self.workload == Workload::None || link.is_new()) {
                self.shared.add_vlans(index, name.0, chaddr);
            }
            // Software interfaces (veth, bridges) that appear now are the workload's, and a slave is its master's.
            if link.is_slave()
                || link.by_software()
                    && self.workload != Workload::None
                    && (!Feature::Choice.is_enabled() || index > self.newest)
                || Feature::Choice.is_enabled() && !link.is_meant(self.wanted, chaddr)
            {
                return;
            }
            let mut lease = Lease::default();
            let mut method = Method::Dhcp;
            if Feature::StaticIp.is_enabled() {
                method = self.method_of(index, name.0, &mut chaddr, &mut lease);
                if method == Method::Off {
                    return;
                }
            }
            let up_ms = if Feature::E1000.is_enabled() && link.is_qemu_e1000() {
                now_ms.saturating_add(E1000_NEGOTIATES_MS)
            } else {
                NEVER
            };
            if Feature::Choice.is_enabled() && self.workload == Workload::None {
                self.newest = self.newest.max(index);
            }
            let is_new = !Feature::Choice.is_enabled() || link.is_new() || self.workload == Workload::None;
            if is_new && up_ms == NEVER && !link.up() {
                self.shared.bring_up(index, name.0);
            }
            if Feature::Choice.is_enabled() && is_new {
                self.appeared_ms = now_ms;
            }
            if Feature::Choice.is_enabled() && self.interfaces.is_full() {
                if !link.carrier() {
                    return;
                }
                let is_idle = |known: &&Interface| !known.carrier && known.client.deadline_ms() == NEVER;
                let idle = self.interfaces.iter().find(is_idle).map_or(0, |known| known.index);
                self.remove(idle);
            }
            if self.interfaces.is_full() {
                return error!("{}: over {} interfaces, ignored", name, MAX_INTERFACES);
            }
            let _ = self.interfaces.push(Interface::EMPTY);
            let Some(interface) = self.interfaces.last_mut() else { return };
            interface.start(index, &chaddr, seed_of(self.seed, index), &self.timing, up_ms);
            if Feature::StaticIp.is_enabled() {
                interface.asked_mtu = lease.mtu;
                // An address that the kernel configured before it started the init is kept.
                if method != Method::Dhcp || link.up() && interface::read_kernel_config(name.0, &mut lease).is_some() {
                    interface.client.fix(lease);
                }
            }
        }
        let Some(interface) = find(self.interfaces, index) else { return };
        let carrier = link.carrier();
        interface.name.clear();
        let _ = interface.name.extend_from_slice(name.0);
        let ups = link.carrier_ups();
        if core::mem::replace(&mut interface.ups, ups) != ups && interface.carrier {
            // The carrier was lost in between.
            interface.carrier = false;
            interface.dhcpv6.link(now_ms, false);
            let _ = interface.client.link(now_ms, false);
        }
        if carrier && !interface.carrier {
            timeline.reach(Stage::Link);
            info!("{} {}: link up", name, Mac(chaddr));
            if Feature::Coexist.is_enabled() {
                interface.restore(&self.shared);
            }
        }
        interface.carrier = carrier;
        interface.mtu = link.mtu();
        interface.dhcpv6.link(now_ms, carrier);
        if Feature::Dhcpv6.is_enabled() {
            interface.dhcpv6.advertised(now_ms, link.router_flags());
        }
        let action = interface.client.link(now_ms, carrier);
        interface.perform(action, &mut self.shared);
    }

    fn read_packets(&mut self, room: &mut Room<MAX_REPLY>, now_ms: u64) {
        let Some(room) = room.first_chunk_mut() else { return };
        for _ in 0..PACKETS_A_TURN {
            let Some(packets) = &self.shared.packets else { return };
            let Some(received) = packet::receive(packets, room) else { return };
            let Some(datagram) = ipv4::datagram(received.packet, received.udp_checksum) else { continue };
            let Some(message) = Message::parse(datagram.payload) else { continue };
            let receiver = find(self.interfaces, received.interface);
            if let (CLIENT_PORT, Some(interface)) = (datagram.destination.port, receiver) {
                let action = interface.client.receive(now_ms, &message, datagram.source.address);
                interface.perform(action, &mut self.shared);
            }
        }
    }

    fn read_claims(&mut self, room: &mut Room<MAX_REPLY>, now_ms: u64) {
        let Some(room) = room.first_chunk_mut() else { return };
        for _ in 0..PACKETS_A_TURN {
            let Some(socket) = &self.shared.arp else { return };
            let Some(received) = packet::receive(socket, room) else { return };
            let Some((claimant, address)) = arp::claim(received.packet) else { continue };
            if let Some(interface) = find(self.interfaces, received.interface) {
                let action = interface.client.address_claimed(now_ms, address, claimant);
                interface.perform(action, &mut self.shared);
            }
        }
    }
}

/// Whether the kernel configures IPv6 addresses: not with `ipv6.disable=1` or `ipv6.disable_ipv6=1`.
#[inline(never)]
fn has_ipv6() -> bool {
    let mut buffer = files::buffer::<8>();
    files::read(c"/proc/sys/net/ipv6/conf/all/disable_ipv6", &mut buffer).is_ok_and(|text| text == b"0\n")
}

fn find(interfaces: &mut Interfaces, index: u32) -> Option<&mut Interface> {
    interfaces.iter_mut().find(|interface| interface.index == index)
}
