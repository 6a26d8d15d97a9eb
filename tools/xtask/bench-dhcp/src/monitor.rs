//! Receives the kernel's messages about an interface, in the interface's network: its state, and its address.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use whit::rtnetlink;
use whit_tests::namespace::frames::in_network_of;

const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const IFF_RUNNING: u32 = 0x40;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
/// The address is not known to be unique yet (include/uapi/linux/if_addr.h).
const IFA_F_TENTATIVE: u8 = 0x40;
/// struct nlmsghdr
const HEADER: usize = 16;
/// Limit for every wait: dhclient takes up to 7 s after a lost DISCOVER.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A socket for messages about one interface.
pub(crate) struct Monitor {
    socket: OwnedFd,
    index: u32,
}

impl Monitor {
    /// Opens the socket in the network of a process.
    pub(crate) fn open(process: u32, interface: &str) -> Result<Self, String> {
        let open = || -> rustix::io::Result<Self> {
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))?;
            let index = name_to_index(&socket, interface)?;
            Ok(Self { socket, index })
        };
        in_network_of(process, open).map_err(|error| format!("{interface}: {error}"))
    }

    /// Brings the interface up.
    pub(crate) fn bring_up(&self) -> Result<(), String> {
        let request = rtnetlink::bring_up(self.index);
        send(&self.socket, request.bytes(), SendFlags::empty()).map_err(|error| format!("bring up: {error}"))?;
        Ok(())
    }

    /// Waits until the link is operational and the kernel has finished its set-up: IFF_RUNNING (net/core/link_watch.c).
    pub(crate) fn wait_until_running(&self) -> Result<(), String> {
        self.wait("link", |kind, payload| {
            // struct ifinfomsg: family, padding, type, index, flags, change
            let flags = u32::from_ne_bytes(*payload.get(8..)?.first_chunk()?);
            (kind == RTM_NEWLINK && self.index == number(payload)? && flags & IFF_RUNNING != 0).then_some(())
        })?;
        Ok(())
    }

    /// Waits for an IPv4 address, or a global IPv6 address that can be used; returns the time of the kernel's message.
    pub(crate) fn wait_for_address(&self, is_ipv6: bool) -> Result<Instant, String> {
        self.wait("address", |kind, payload| {
            // struct ifaddrmsg: family, prefix length, flags, scope, index
            let [family, _, flags, scope, ..] = *payload else { return None };
            let is_wanted = if is_ipv6 {
                family == AF_INET6 && scope == 0 && flags & IFA_F_TENTATIVE == 0
            } else {
                family == AF_INET
            };
            (kind == RTM_NEWADDR && is_wanted && self.index == number(payload)?).then_some(())
        })
    }

    fn wait(&self, what: &str, is_it: impl Fn(u16, &[u8]) -> Option<()>) -> Result<Instant, String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Err(format!("no {what} within {} s", LIMIT.as_secs())),
                Ok(_) => {}
                Err(error) => return Err(format!("poll: {error}")),
            }
            let mut buffer = [0; rtnetlink::MAX_REPLY];
            let (length, _) =
                recv(&self.socket, &mut buffer[..], RecvFlags::empty()).map_err(|error| error.to_string())?;
            let received = Instant::now();
            let mut rest = &buffer[..length];
            while let Some((kind, payload)) = next_message(&mut rest) {
                // An acknowledgement is an error of 0.
                if kind == NLMSG_ERROR && !payload.starts_with(&[0; 4]) {
                    return Err(format!("no {what}: the kernel refuses it"));
                }
                if is_it(kind, payload).is_some() {
                    return Ok(received);
                }
            }
        }
    }
}

/// Returns the index, the second 32-bit word of a struct ifinfomsg or ifaddrmsg.
fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?))
}

/// Returns kind and payload of the next message.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*rest.get(4..)?.first_chunk()?);
    let payload = rest.get(HEADER..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, payload))
}
