//! The tables.

use std::fmt::Write as _;

use xtask::bench::{Host, Sample};

use crate::clients::Client;
use crate::goals::{Medians, median_ms, ms};
use crate::run::Times;
use crate::scenarios::Scenario;

/// The runs of each client, or its error.
pub(crate) type Results<'a> = Vec<(&'a Client, Result<Vec<Times>, String>)>;

/// Returns the head: the command and the host.
pub(crate) fn header(rounds: u16) -> String {
    let host = Host::look();
    let command: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "cargo bench-dhcp -- {}\n{} processors, {}; Linux {}; load {}\n{rounds} runs of each client, which take turns in new \
         namespaces; times in ms, of the host's clock\n",
        command.join(" "),
        host.processors,
        host.processor,
        host.kernel,
        host.load,
    )
}

/// Returns the clients, with their versions and commands.
pub(crate) fn clients(clients: &[Client]) -> String {
    let mut text = String::from("\n");
    for client in clients {
        let _ = writeln!(text, "{:<18}{}\n    {}", client.name, client.version, client.command); // writing to a string cannot fail
    }
    text
}

/// Returns the table of one scenario.
pub(crate) fn table(scenario: &Scenario, results: &Results<'_>) -> String {
    let median = |times: &[Times]| whole(times).map(|sample| median_ms(&sample));
    let of = |wanted: fn(&Client) -> bool| {
        let mut found = results.iter().filter(move |(client, _)| wanted(client));
        found.find_map(|(_, result)| median(result.as_ref().ok()?))
    };
    let floor = of(Client::is_floor);
    let mut text = format!("\n{}: {}\n", scenario.name, scenario.title);
    let start = if scenario.carrier_is_late { "carrier" } else { "start" };
    let _ = writeln!(
        text,
        "{:<18}{:>9}{:>9}{:>9}{:>9}{:>21}{:>15}",
        "",
        "median",
        "least",
        "p90",
        "x floor",
        format!("{start} to DISCOVER"),
        "ACK to address"
    );
    for (client, result) in results {
        let _ = match result {
            Ok(times) => writeln!(text, "{:<18}{}", client.name, row(times, floor)),
            Err(error) => writeln!(text, "{:<18}{error}", client.name),
        };
    }
    if let Some(ours) = of(Client::is_ours) {
        let peers = results.iter().filter(|(client, _)| !client.is_ours() && !client.is_floor());
        let peers = peers.filter_map(|(client, result)| Some((client.name, median(result.as_ref().ok()?)?)));
        let medians = Medians { ours, floor, fastest: peers.min_by(|one, other| one.1.total_cmp(&other.1)) };
        for line in scenario.goals.iter().filter_map(|goal| goal.judge(&medians)) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn whole(times: &[Times]) -> Option<Sample> {
    Sample::new(times.iter().map(|times| times.whole_ns).collect())
}

fn row(times: &[Times], floor: Option<f64>) -> String {
    let Some(sample) = whole(times) else { return "no run".to_owned() };
    let part = |part: fn(&Times) -> Option<u64>| {
        let sample = Sample::new(times.iter().filter_map(part).collect());
        sample.map_or_else(|| "-".to_owned(), |sample| format!("{:.2}", median_ms(&sample)))
    };
    format!(
        "{:>9.2}{:>9.2}{:>9.2}{:>9}{:>21}{:>15}",
        median_ms(&sample),
        ms(sample.min()),
        ms(sample.percentile(90)),
        floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.2}", median_ms(&sample) / floor)),
        part(|times| times.to_discover_ns),
        part(|times| times.from_ack_ns),
    )
}
