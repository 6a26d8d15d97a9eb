//! Without the feature: the kernel's addresses are the only ones of IPv6.

use whit::dhcp::wire::HardwareAddress;
use whit::ipv6::Address;
use whit::time::NEVER;

use super::Network;
use super::interface::Shared;
use crate::sys::fd::Fd;

/// An interface without DHCPv6.
pub(super) struct Dhcpv6;

/// A socket that is never open.
pub(super) struct Socket;

impl Socket {
    pub(super) const fn new() -> Self {
        Self
    }

    pub(super) fn descriptor(&self) -> Option<&Fd> {
        None
    }
}

impl Dhcpv6 {
    pub(super) const EMPTY: Self = Self;

    pub(super) fn start(&mut self, _: HardwareAddress, _: u32) {}

    pub(super) fn deadline_ms(&self) -> u64 {
        NEVER
    }

    pub(super) fn link(&mut self, _: u64, _: bool) {}

    pub(super) fn advertised(&mut self, _: u64, _: u8) {}

    pub(super) fn conflict(&mut self, _: u64, _: &Address) {}

    pub(super) fn release(&mut self) {}

    pub(super) fn make_permanent(&self, _: u32, _: &Shared<'_>) {}

    pub(super) fn address(&self) -> Option<&Address> {
        None
    }
}

impl Network<'_> {
    pub(super) fn handle_dhcpv6(&mut self, _: u64) {}
}
