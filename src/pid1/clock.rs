//! The time of day: not earlier than the time of the records and the command line, and set once by SNTP when `ntp=` is given.

use rustix::net::{AddressFamily, SocketType};
use whit::dhcp::lease::{Lease, Servers};
use whit::error::Errno;
use whit::ipv4;
use whit::options::{Given, Sources};
use whit::sntp::{self, MESSAGE};
use whit::text::{Text, number, split};
use whit::time::{NEVER, after_ms};

use crate::console::log_step;
use crate::files;
use crate::message::{error, info};
use crate::sys::fd::{self, Fd};
use crate::sys::{boot_time_ns, clock_ns, net, set_clock_ns};

/// The port of NTP servers (RFC 5905 §7.3).
const NTP_PORT: u16 = 123;
/// Time between two queries, doubled each time.
const FIRST_GAP_MS: u64 = 500;
/// Limit on queries, which go to the servers in turn.
const MAX_QUERIES: u8 = 4;

/// The SNTP client.
pub(crate) struct Clock {
    /// Connected to the server of the last query.
    socket: Option<Fd>,
    /// The number of queries that were sent.
    queries: u8,
    /// No more queries are sent.
    done: bool,
    seed: u32,
    /// The time of the last query.
    query_ns: u64,
    deadline_ms: u64,
    /// The newest time of the records and the command line: an earlier answer is wrong.
    least_ns: u64,
}

impl Clock {
    pub(crate) fn new(seed: u32) -> Self {
        Self { socket: None, queries: 0, done: false, seed, query_ns: 0, deadline_ms: NEVER, least_ns: 0 }
    }

    /// Sets the clock to the newest time of the records and the command line, if it is before that: a machine without a battery
    /// starts in 1970, when no certificate is valid.
    pub(crate) fn advance(&mut self, sources: &Sources<'_>) {
        let mut newest_s = 0;
        for Given { text, .. } in sources.strongest_first(b"time") {
            match number(text) {
                Some(time_s) => newest_s = newest_s.max(time_s),
                None => error!("time={}: not seconds since 1970", Text(text)),
            }
        }
        self.least_ns = u64::from(newest_s).wrapping_mul(1_000_000_000);
        if clock_ns() < self.least_ns {
            set_clock(self.least_ns);
        }
    }

    /// Returns whether `ntp=` is given and its queries are not finished.
    pub(crate) fn awaits_answer(&self, wanted: &[u8]) -> bool {
        !self.done && !wanted.is_empty()
    }

    /// The descriptor to poll.
    pub(crate) fn descriptor(&self) -> Option<&Fd> {
        self.socket.as_ref()
    }

    /// When [`Clock::handle`] is to be called without an event.
    pub(crate) fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Once there is a lease: reads an answer, or queries the first or next server.
    #[inline(never)]
    pub(crate) fn handle(&mut self, now_ms: u64, wanted: &[u8], lease: Option<&Lease>) {
        let (true, Some(lease)) = (self.awaits_answer(wanted), lease) else {
            // A pending query has lost its network.
            (self.socket, self.deadline_ms) = (None, NEVER);
            return;
        };
        if self.has_answer() {
            return self.stop();
        }
        if self.deadline_ms != NEVER && now_ms < self.deadline_ms {
            return;
        }
        let mut servers = Servers::new();
        for server in split(wanted, b',').filter_map(ipv4::parse) {
            let _ = servers.push(server);
        }
        let servers = if wanted == b"dhcp" { &lease.time_servers } else { &servers };
        let next = usize::from(self.queries).checked_rem(servers.len()).and_then(|next| servers.get(next));
        let (Some(server), ..MAX_QUERIES) = (next, self.queries) else {
            error!("ntp={}: no server answers", Text(wanted));
            return self.stop();
        };
        self.deadline_ms = after_ms(now_ms, FIRST_GAP_MS << self.queries);
        self.queries += 1;
        if let Err(errno) = self.send_query(*server) {
            log_step(c"ntp", errno);
        }
    }

    fn stop(&mut self) {
        (self.done, self.socket, self.deadline_ms) = (true, None, NEVER);
    }

    fn send_query(&mut self, server: ipv4::Address) -> Result<(), Errno> {
        let socket = fd::socket(AddressFamily::INET, SocketType::DGRAM, 0)?;
        net::connect(&socket, &net::inet(server, NTP_PORT))?;
        self.query_ns = boot_time_ns();
        fd::write(&socket, &sntp::query(self.nonce()))?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Returns the nonce of the last query, which no other query has.
    fn nonce(&self) -> u64 {
        self.query_ns ^ u64::from(self.seed) << 32
    }

    /// Reads answers, and sets the clock from the first valid one. Returns whether there was one.
    #[inline(never)]
    fn has_answer(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut buffer = files::buffer::<{ 2 * MESSAGE }>();
        while let Ok(message) = fd::receive(socket, &mut buffer) {
            if let Some(time_ns) = sntp::time_ns(message, self.nonce()).filter(|time_ns| *time_ns >= self.least_ns) {
                // The answer is older by half of the round trip.
                set_clock(time_ns.wrapping_add(boot_time_ns().wrapping_sub(self.query_ns) / 2));
                return true;
            }
        }
        false
    }
}

fn set_clock(time_ns: u64) {
    match set_clock_ns(time_ns) {
        Ok(()) => info!("clock set to {}", time_ns / 1_000_000_000),
        Err(errno) => log_step(c"clock", errno),
    }
}
