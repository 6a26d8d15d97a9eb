//! Compares the init's DHCP client with its peers, and with the least that a client can do.
//!
//! Each run has namespaces of its own, with a pair of interfaces between client and server; no interface of the host is touched.
//! The clients take turns, so that other load of the host affects all of them alike. A client waits in its namespaces, ready to be
//! executed. The time is from the byte that starts it to the kernel's message that its interface has an address, without polling.

mod clients;
mod goals;
mod grace;
mod launch;
mod monitor;
mod report;
mod run;
mod scenarios;
mod system;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use whit_tools::cli::output;
use whit_tools::programs::{self, Program};
use xtask::workspace;

use clients::Client;
use report::Results;
use run::Times;
use scenarios::Scenario;

/// Time whit's DHCP client beside others, and report medians
#[derive(Parser)]
#[command(after_help = "Example:\n  cargo bench-dhcp -- --runs 20 --only lost --peers dhcpcd --output bench/dhcp.txt")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Runs of each client; half of them in scenarios where most clients take seconds
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Only tables whose name contains TEXT: normal, dnsmasq, late, lost, router, dhcpv6
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only whit, the floor, and clients whose name contains TEXT
    #[arg(long, value_name = "TEXT")]
    peers: Option<String>,
    /// Check that the benchmark itself works: three runs of whit and the floor
    #[arg(long)]
    quick: bool,
    /// Write the tables to FILE too
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Become a client in its namespaces (used by the benchmark itself)
    #[command(hide = true)]
    Launch { root: PathBuf, words: Vec<String> },
}

/// The programs that run beside the clients.
const PROGRAMS: [Program; 5] = [
    Program { name: "busybox", package: "busybox-static" },
    Program { name: "dnsmasq", package: "dnsmasq-base" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "ldconfig", package: "libc-bin" },
    Program { name: "unshare", package: "util-linux" },
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Some(Command::Launch { root, words }) => launch::launch(root, words).map(|never| match never {}),
        None => compare(&arguments),
    };
    output::report("bench-dhcp", result)
}

fn compare(arguments: &Arguments) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can make namespaces".to_owned());
    }
    programs::install(&PROGRAMS, |line| eprintln!("{line}"))?;
    // An initramfs is in memory; on a disk, each directory that the init makes would take time.
    tempfile::env::override_temp_dir(Path::new("/dev/shm"))
        .map_err(|_| "another folder for temporary files is in use")?;
    let folder = workspace::target().join("bench-dhcp");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let peers = if arguments.quick { Some("none of them") } else { arguments.peers.as_deref() };
    let rounds = if arguments.quick { 3 } else { arguments.runs };
    let is_wanted =
        |scenario: &&Scenario| arguments.only.as_ref().is_none_or(|part| scenario.name.contains(part.as_str()));
    let (ipv6, ipv4): (Vec<&Scenario>, Vec<&Scenario>) =
        scenarios::ALL.iter().filter(is_wanted).partition(|scenario| scenario.server.is_ipv6());
    let mut text = report::header(rounds);
    for (scenarios, clients) in [
        (&ipv4, if ipv4.is_empty() { Vec::new() } else { clients::all(&folder, peers)? }),
        (&ipv6, if ipv6.is_empty() { Vec::new() } else { clients::all_ipv6(&folder, peers)? }),
    ] {
        text += &report::clients(&clients);
        for &scenario in scenarios {
            let rounds = rounds.div_ceil(scenario.divisor);
            eprintln!("{}: {} clients, {rounds} runs each", scenario.name, clients.len());
            text += &report::table(scenario, &take_turns(scenario, &clients, rounds));
        }
    }
    text += &grace::table(rounds)?;
    print!("{text}");
    match &arguments.output {
        Some(path) => output::write(path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display())),
        None => Ok(()),
    }
}

/// Runs the clients in rounds, each once in a round; a client that fails is not run again. The first round reads programs from the
/// disk, and does not count.
fn take_turns<'a>(scenario: &Scenario, clients: &'a [Client], rounds: u16) -> Results<'a> {
    let taking_part = clients.iter().filter(|client| scenario.lost == 0 || !client.is_floor());
    let mut results: Results<'a> = taking_part.map(|client| (client, Ok(Vec::new()))).collect();
    for round in 0..=rounds {
        for (client, result) in &mut results {
            let Ok(done) = result else { continue };
            let times: Result<Times, String> = run::run(scenario, client);
            match times {
                Ok(_) if round == 0 => {}
                Ok(times) => done.push(times),
                Err(error) => *result = Err(error),
            }
        }
    }
    results
}
