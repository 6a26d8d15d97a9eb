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
}

/// The delay of a late carrier.
pub(crate) const LATE: std::time::Duration = std::time::Duration::from_millis(100);

pub(crate) const ALL: [Scenario; 4] = [
    Scenario {
        name: "normal",
        title: "from the start to the address: the link is up, and the server answers at once",
        server: Server::Immediate,
        carrier_is_late: false,
        lost: 0,
        divisor: 1,
        goals: &[Goal::TimesFloor(1.3), Goal::AheadOfAll],
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
];
