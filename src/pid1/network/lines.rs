//! The options `ip=` and `vlan=`: what was given, and the interface that has it.

use whit::dhcp::lease::Lease;
use whit::dhcp::wire::HardwareAddress;
use whit::features::Feature;
use whit::ip::{self, Method, Vlan};
use whit::options::Sources;
use whit::rtnetlink;
use whit::text::Text;
use whit::time::NEVER;

use super::Network;
use crate::console::log_failure;
use crate::message::error;

/// The limit of `ip=`; further ones are ignored.
const MAX_LINES: usize = 8;

/// The limit of `vlan=`; further ones are ignored. An init without the feature has none.
pub(super) const MAX_VLANS: usize = if Feature::Vlan.is_enabled() { 8 } else { 0 };

/// An `ip=`.
pub(super) struct Given<'a> {
    /// Its value.
    pub(super) text: &'a [u8],
    /// The index of the interface that has it; or one of the constants below.
    pub(super) interface: u32,
}

/// The interface that it names has not appeared.
pub(super) const AWAITED: u32 = 0;
/// It names no interface, or one that is not to be used.
pub(super) const NOT_AWAITED: u32 = u32::MAX;

/// The `ip=` of the strongest source.
pub(super) type Lines<'a> = heapless::Vec<Given<'a>, MAX_LINES>;

/// Reads the `ip=` of the strongest source that has one. What is not understood is logged; where nothing else is left, no interface has
/// DHCP.
pub(super) fn read_lines<'a>(sources: &Sources<'a>) -> Lines<'a> {
    let mut lines = Lines::new();
    let mut strongest = None;
    for given in sources.strongest_first(b"ip") {
        if *strongest.get_or_insert(given.source) != given.source {
            break;
        }
        let line = ip::parse(given.text);
        if line.method == Method::Wrong {
            error!("ip={}: {} is not understood, ignored", Text(given.text), Text(line.device));
        }
        let is_awaited = !line.device.is_empty() && !matches!(line.method, Method::Off | Method::Wrong);
        let _ = lines.push(Given { text: given.text, interface: if is_awaited { AWAITED } else { NOT_AWAITED } });
    }
    lines
}

/// Reads the `vlan=` of all sources. What is not understood is logged.
pub(super) fn read_vlans<'a>(sources: &Sources<'a>) -> whit::bounded::Vec<Vlan<'a>, MAX_VLANS> {
    let mut vlans = whit::bounded::Vec::new();
    for given in sources.strongest_first(b"vlan") {
        match ip::parse_vlan(given.text) {
            Some(vlan) => drop(vlans.push(vlan)),
            None => error!("vlan={}: not understood, ignored; it is NAME:DEVICE", Text(given.text)),
        }
    }
    vlans
}

impl<'a> Network<'a> {
    /// Returns an interface that `ip=` names and that has not appeared.
    pub(crate) fn missing(&self) -> Option<&'a [u8]> {
        self.shared.lines.iter().find(|given| given.interface == AWAITED).map(|given| ip::parse(given.text).device)
    }

    /// Returns the protocol that `ip=` gives an interface, and sets its parameters. The last one that names the interface holds, else the
    /// last one for all; static addresses without a name are those of the first interface.
    #[inline(never)]
    pub(super) fn method_of(
        &mut self,
        index: u32,
        name: &[u8],
        chaddr: &mut HardwareAddress,
        lease: &mut Lease,
    ) -> Method {
        let mut method = if self.shared.lines.is_empty() { Method::Dhcp } else { Method::Off };
        let own = *chaddr;
        for is_named in [false, true] {
            for place in 0..self.shared.lines.len() {
                let Some(given) = self.shared.lines.get_mut(place) else { break };
                let line = ip::parse(given.text);
                if line.device.is_empty() == is_named
                    || !line.is_of(name, own)
                    || !is_named && line.method == Method::Fixed && !self.interfaces.is_empty()
                {
                    continue;
                }
                given.interface = index;
                method = line.method;
                line.add_to(lease);
                for server in line.name_servers() {
                    match server.ipv4() {
                        Some(server) => drop(lease.name_servers.push(server)),
                        None => {
                            self.name_servers.add(index, server, NEVER);
                        }
                    }
                }
                if let Some(mac) = line.mac {
                    match self.shared.request(&rtnetlink::set_mac(index, mac)) {
                        Ok(()) => *chaddr = mac,
                        Err(errno) => log_failure(c"hardware address of ", name, errno),
                    }
                }
            }
        }
        method
    }
}
