//! One run of one client: makes its network, starts it, and takes the times.

use std::time::{Duration, Instant};

use whit_tests::namespace::Lan;
use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, Frames, OFFER, REQUEST};

use crate::clients::Client;
use crate::monitor::{LIMIT, Monitor};
use crate::scenarios::{LATE, Scenario};

/// The address that the scripted server leases.
const ADDRESS: [u8; 4] = [10, 55, 0, 77];

/// The time in which a router settles: dnsmasq sends its first advertisements, and the kernel handles changes of links once a second
/// (net/core/link_watch.c). No event shows its end.
const SETTLES: Duration = Duration::from_secs(3);

/// Nanoseconds of a run.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// From the start, or from a late carrier, to the address.
    pub(crate) whole_ns: u64,
    /// From there to the first DISCOVER, as the server receives it; unknown with dnsmasq.
    pub(crate) to_discover_ns: Option<u64>,
    /// From the sending of the ACK to the address; unknown with dnsmasq.
    pub(crate) from_ack_ns: Option<u64>,
}

/// The times of the server.
struct Served {
    discover: Instant,
    ack: Instant,
}

pub(crate) fn run(scenario: &Scenario, client: &Client) -> Result<Times, String> {
    let lan = Lan::new();
    let waiting = client.prepare()?;
    lan.plug_into_network_of(waiting.process().cast_signed(), "eth0");
    let theirs = Monitor::open(waiting.process(), "eth0")?;
    let ours = Monitor::open(lan.process(), "lan0")?;
    let is_ipv6 = scenario.server.is_ipv6();
    if is_ipv6 {
        // The kernel would ask for routers as soon as the link is up. The router's own addresses are there before it.
        for address in ["fd55::1/64", "fe80::1/64"] {
            lan.ip(&["address", "add", address, "dev", "lan0", "nodad"]);
        }
    } else {
        theirs.bring_up()?;
    }
    if !scenario.carrier_is_late {
        ours.bring_up()?;
    }
    if !scenario.carrier_is_late && !is_ipv6 {
        ours.wait_until_running()?;
        theirs.wait_until_running()?;
    }
    let dnsmasq = scenario.server.dnsmasq().map(|lines| lan.serve(lines));
    if is_ipv6 {
        std::thread::sleep(SETTLES);
    }
    let frames = dnsmasq.is_none().then(|| lan.frames());
    std::thread::scope(|scope| {
        let server = frames.map(|frames| scope.spawn(|| serve(frames, scenario.lost)));
        let mut start = Instant::now();
        let started = waiting.start()?;
        if scenario.carrier_is_late {
            std::thread::sleep(LATE);
            start = Instant::now();
            ours.bring_up()?;
        }
        let address = match theirs.wait_for_address(is_ipv6) {
            Ok(address) => address,
            Err(error) => return Err(format!("{error}; its output: {}", started.output().trim())),
        };
        let served = server.and_then(|server| server.join().ok().flatten());
        let since = |from: Instant, to: Instant| u64::try_from(to.saturating_duration_since(from).as_nanos()).ok();
        Ok(Times {
            whole_ns: since(start, address).ok_or("a clock that overflows")?,
            to_discover_ns: served.as_ref().and_then(|served| since(start, served.discover)),
            from_ack_ns: served.as_ref().and_then(|served| since(served.ack, address)),
        })
    })
}

/// Answers at once until it has sent an ACK.
fn serve(mut frames: Frames, mut lost: u32) -> Option<Served> {
    let mut discover: Option<Instant> = None;
    loop {
        let query = frames.query_within(LIMIT)?;
        let answer = |kind| {
            let more: [(u8, &[u8]); 2] = [(3, &Answer::SERVER), (6, &Answer::SERVER)]; // router, DNS
            let answer = Answer::new(&query, kind, ADDRESS);
            more.into_iter().fold(answer, |answer, (code, value)| answer.with(code, value)).frame()
        };
        match query.kind() {
            DISCOVER => {
                discover.get_or_insert_with(Instant::now);
                match lost.checked_sub(1) {
                    Some(left) => lost = left,
                    None => frames.send(&answer(OFFER)),
                }
            }
            REQUEST => {
                let answer = answer(ACK);
                // Taken before sendto(2): the client may have its address when that returns.
                let ack = Instant::now();
                frames.send(&answer);
                return Some(Served { discover: discover?, ack });
            }
            _ => {}
        }
    }
}
