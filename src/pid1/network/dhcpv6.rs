//! DHCPv6: performs the actions of the interfaces' clients. One UDP socket serves all of them.
//!
//! The socket is open while an answer is awaited, and bound to the client's port on every interface; a message is sent by the interface of
//! its scope. Only messages from a link-local address are accepted, which no router forwards (RFC 4291 §2.5.6): the kernel adds the
//! interface to such a sender's address alone.

use rustix::net::{AddressFamily, SocketType};
use whit::dhcp::wire::HardwareAddress;
use whit::dhcpv6::client::{Action, Client, Encoded};
use whit::dhcpv6::wire::{Message, code};
use whit::dhcpv6::{CLIENT_PORT, SERVER_PORT, SERVERS};
use whit::error::Errno;
use whit::ipv6::Address;
use whit::rtnetlink;
use whit::text::Text;
use whit::time::after_s;

use super::interface::{Interface, Shared};
use super::{Network, PACKETS_A_TURN, find};
use crate::console::log_failure;
use crate::files;
use crate::message::{error, info};
use crate::sys::fd::{self, Fd};
use crate::sys::packet::MAX_PACKET;
use crate::sys::{net, net6};

/// The DHCPv6 of an interface.
#[repr(C)]
pub(super) struct Dhcpv6 {
    client: Client,
    /// The address on the interface; `::` if there is none.
    configured: Address,
}

/// The socket, while an answer is awaited.
pub(super) struct Socket(Option<Fd>);

impl Socket {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// The descriptor to poll.
    pub(super) fn descriptor(&self) -> Option<&Fd> {
        self.0.as_ref()
    }

    /// Opens the socket, unless it is open.
    fn open(&mut self) -> Result<&Fd, Errno> {
        match &mut self.0 {
            Some(socket) => Ok(socket),
            none => {
                let socket = fd::socket(AddressFamily::INET6, SocketType::DGRAM, 0)?;
                net::bind(&socket, &net6::address(Address::default(), CLIENT_PORT, 0))?;
                Ok(none.insert(socket))
            }
        }
    }
}

impl Dhcpv6 {
    pub(super) const EMPTY: Self = Self { client: Client::EMPTY, configured: Address::NONE };

    /// Starts the client.
    pub(super) fn start(&mut self, chaddr: HardwareAddress, random: u32) {
        self.client.init(chaddr, random);
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.client.deadline_ms()
    }

    /// Notes a change of the carrier.
    pub(super) fn link(&mut self, now_ms: u64, up: bool) {
        self.client.link(now_ms, up);
    }

    /// Notes the flags of router advertisements.
    pub(super) fn advertised(&mut self, now_ms: u64, flags: u8) {
        self.client.advertised(now_ms, flags);
    }

    /// Notes a failure of duplicate address detection.
    pub(super) fn conflict(&mut self, now_ms: u64, address: &Address) {
        self.client.conflict(now_ms, *address);
    }

    /// Makes the release of the lease due.
    pub(super) fn release(&mut self) {
        self.client.release(0);
    }

    /// Makes the address permanent.
    pub(super) fn make_permanent(&self, interface: u32, shared: &Shared<'_>) {
        if self.configured != Address::default() {
            let _ = shared.request(&rtnetlink::set_address6(interface, &self.configured, [u32::MAX; 2]));
        }
    }

    /// Returns the address on the interface.
    pub(super) fn address(&self) -> Option<&Address> {
        Some(&self.configured).filter(|address| **address != Address::default())
    }
}

impl Interface {
    /// Performs an action of the DHCPv6 client.
    #[inline(never)]
    fn perform_dhcpv6(&mut self, action: Action, now_ms: u64, shared: &mut Shared<'_>) {
        let (index, name, Dhcpv6 { client, configured }) = (self.index, &self.name, &mut self.dhcpv6);
        let (address, lifetimes_s) = (client.address(), client.lifetimes_s(now_ms));
        if configured != address {
            shared.changed = true;
            if *configured != Address::NONE {
                error!("{}: {} is lost", Text(name), &*configured);
                // The kernel removes it at its expiry, and after a conflict.
                let _ = shared.request(&rtnetlink::set_address6(index, configured, [0; 2]));
            }
            *configured = *address;
            if *configured != Address::NONE {
                let [_, valid_s] = lifetimes_s;
                info!("{} {}/128, lease {} s", Text(name), &*configured, valid_s);
            }
        }
        let done = match action {
            // Duplicate address detection follows.
            Action::Configure => shared.request(&rtnetlink::set_address6(index, configured, lifetimes_s)),
            Action::Send => send(client, now_ms, index, &mut shared.dhcpv6),
            _ => return,
        };
        if let Err(errno) = done {
            log_failure(c"DHCPv6 on ", name, errno);
        }
    }
}

/// Sends the client's message to all servers of an interface's link.
fn send(client: &Client, now_ms: u64, index: u32, socket: &mut Socket) -> Result<(), Errno> {
    let mut message = Encoded::new();
    client.encode(now_ms, &mut message);
    net::send_to(socket.open()?, &message, &net6::address(SERVERS, SERVER_PORT, index))
}

impl Network<'_> {
    /// Reads the socket until it is empty, and handles expired deadlines.
    #[inline(never)]
    pub(super) fn handle_dhcpv6(&mut self, now_ms: u64) {
        let mut buffer = files::buffer::<MAX_PACKET>();
        for _ in 0..PACKETS_A_TURN {
            let Some(socket) = &self.shared.dhcpv6.0 else { break };
            let Ok((bytes, index)) = net6::receive_from(socket, &mut buffer) else { break };
            let Some(interface) = find(self.interfaces, index) else { continue };
            let Some(message) = Message::parse(bytes) else { continue };
            let action = interface.dhcpv6.client.receive(now_ms, &message);
            interface.perform_dhcpv6(action, now_ms, &mut self.shared);
            if matches!(action, Action::Configure | Action::Inform) {
                let until_ms = after_s(now_ms, interface.dhcpv6.client.lifetime_s());
                // They are known with those of router advertisements: many networks have the same in both.
                for code in [code::DNS_SERVERS, code::DOMAIN_LIST] {
                    let list = message.option(code).unwrap_or_default();
                    self.name_servers.take(now_ms, until_ms, index, code == code::DOMAIN_LIST, list);
                }
                self.shared.changed = true;
            }
        }
        let mut is_active = false;
        for interface in &mut *self.interfaces {
            if interface.dhcpv6.deadline_ms() <= now_ms {
                let action = interface.dhcpv6.client.timeout(now_ms);
                interface.perform_dhcpv6(action, now_ms, &mut self.shared);
            }
            is_active |= interface.dhcpv6.client.is_active();
        }
        if !is_active {
            self.shared.dhcpv6.0 = None;
        }
    }
}
