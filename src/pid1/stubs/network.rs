//! Without the feature: interfaces stay as the kernel configured them.

use core::convert::Infallible;
use core::marker::PhantomData;

use whit::dhcp::lease::Lease;
use whit::ipv6::{Address, NameServer};
use whit::options::{Options, Sources};

use crate::sys::fd::Polled;
use crate::timeline::Timeline;

pub(crate) const CARRIER_S: u32 = 0;

/// A network that is never opened needs no room.
pub(crate) struct Rooms;

impl Rooms {
    pub(crate) const fn new() -> Self {
        Self
    }
}

/// A network that is never opened.
pub(crate) struct Network<'a> {
    none: Infallible,
    lifetime: PhantomData<&'a ()>,
}

impl<'a> Network<'a> {
    pub(crate) fn open(_: &'static mut Rooms, _: u32, _: &Options<'a>, _: &Sources<'a>) -> Option<Self> {
        None
    }

    pub(crate) fn bring_up_loopback(&self) {
        match self.none {}
    }

    pub(crate) fn filter_packets(&mut self) {
        match self.none {}
    }

    pub(crate) fn descriptors(&self) -> [Polled; 3] {
        match self.none {}
    }

    pub(crate) fn deadline_ms(&self) -> u64 {
        match self.none {}
    }

    pub(crate) fn carrier_deadline_ms(&self) -> u64 {
        match self.none {}
    }

    pub(crate) fn missing(&self) -> Option<&'a [u8]> {
        match self.none {}
    }

    pub(crate) fn has_interfaces(&self) -> bool {
        match self.none {}
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        match self.none {}
    }

    pub(crate) fn address6(&self) -> Option<&Address> {
        match self.none {}
    }

    pub(crate) fn name_servers(&self) -> &[NameServer] {
        match self.none {}
    }

    pub(crate) fn search(&self) -> &[u8] {
        match self.none {}
    }

    pub(crate) fn has_ipv6(&self) -> bool {
        match self.none {}
    }

    pub(crate) fn grace_ms(&self, _: bool) -> u64 {
        match self.none {}
    }

    pub(crate) fn name_of(&self, _: u32) -> &[u8] {
        match self.none {}
    }

    pub(crate) fn has_changed(&self, _: u64) -> bool {
        match self.none {}
    }

    pub(crate) fn files_written(&mut self, _: u64) {
        match self.none {}
    }

    pub(crate) fn workload_starts(&mut self, _: u64) {
        match self.none {}
    }

    pub(crate) fn make_addresses_permanent(&mut self) {
        match self.none {}
    }

    pub(crate) fn release(&mut self) {
        match self.none {}
    }

    pub(crate) fn handle(&mut self, _: u64, _: &mut Timeline) {
        match self.none {}
    }
}
