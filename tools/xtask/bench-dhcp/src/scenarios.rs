//! The scenarios of the measurement.

use crate::goals::Goal;

/// A table of the report.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) server: Server,
    /// The carrier comes after the client has waited for [`LATE`].
    pub(crate) carrier_is_late: bool,
    /// The number of lost DISCOVERs.
    pub(crate) lost: u32,
    /// The runs are divided by this.
    pub(crate) divisor: u16,
    pub(crate) goals: &'static [Goal],
}

/// The server of a scenario.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// A server that answers at once.
    Immediate,
    /// dnsmasq, which does not check first whether the address is in use (`no-ping`) and writes each lease to its file.
    Dnsmasq,
    /// dnsmasq as a router whose advertisements have a prefix for autonomous addresses (RFC 4862).
    Router,
    /// dnsmasq as a router and a server of DHCPv6 (RFC 8415); its advertisements have the M flag.
    Dhcpv6,
}

impl Server {
    /// Returns the lines of dnsmasq's configuration; `None` for a server that is not dnsmasq.
    pub(crate) fn dnsmasq(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Immediate => None,
            Self::Dnsmasq => Some(&[]),
            Self::Router => Some(&["enable-ra", "dhcp-range=fd55::,ra-stateless"]),
            Self::Dhcpv6 => Some(&["enable-ra", "dhcp-range=fd55::100,fd55::1ff,64,1h"]),
        }
    }

    /// Returns whether there is IPv6 alone.
    pub(crate) fn is_ipv6(self) -> bool {
        matches!(self, Self::Router | Self::Dhcpv6)
    }
}

/// The delay of a late carrier.
pub(crate) const LATE: std::time::Duration = std::time::Duration::from_millis(100);

pub(crate) const ALL: [Scenario; 6] = [
    Scenario {
        name: "normal",
        title: "from the start to the address: the link is up, and the server answers at once",
        server: Server::Immediate,
        carrier_is_late: false,
        lost: 0,
        divisor: 1,
        goals: &[Goal::TimesFloor(1.25), Goal::AheadOfAll],
    },
    Scenario {
        name: "dnsmasq",
        title: "from the start to the address: the link is up, and the server is dnsmasq with no-ping",
        server: Server::Dnsmasq,
        carrier_is_late: false,
        lost: 0,
        divisor: 1,
        goals: &[Goal::AheadOfAll],
    },
    Scenario {
        name: "late",
        title: "from the carrier to the address: it comes 100 ms after the start",
        server: Server::Immediate,
        carrier_is_late: true,
        lost: 0,
        divisor: 2,
        goals: &[Goal::AtMostMs(5.0), Goal::AheadOfAll],
    },
    Scenario {
        name: "lost",
        title: "from the start to the address: the first DISCOVER is lost",
        server: Server::Immediate,
        carrier_is_late: false,
        lost: 1,
        divisor: 2,
        goals: &[Goal::AtMostMs(300.0), Goal::AheadOfAll],
    },
    Scenario {
        name: "router",
        title: "IPv6 alone: from the start to an autonomous address that can be used: the link is down, the router is dnsmasq",
        server: Server::Router,
        carrier_is_late: false,
        lost: 0,
        divisor: 2,
        goals: &[Goal::AheadOfAll],
    },
    Scenario {
        name: "dhcpv6",
        title: "IPv6 alone: from the start to a leased address that can be used: the link is down, router and server are dnsmasq",
        server: Server::Dhcpv6,
        carrier_is_late: false,
        lost: 0,
        divisor: 2,
        goals: &[Goal::AheadOfAll],
    },
];
