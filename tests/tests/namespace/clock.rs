//! The time of day. All namespaces share the clock: a machine of namespaces may not set it, and logs an error instead.

use std::net::UdpSocket;
use std::time::Duration;

use whit_tests::namespace::frames::in_network_of;
use whit_tests::namespace::{Lan, Machine, Running, Server, servers};

/// The message of a machine that tries to set the clock.
const WOULD_SET: &str = "whit: clock: EPERM\n";

fn machine(words: &str) -> Machine {
    Machine::new().directory("/rootfs/etc").script("echo settled; exec sleep 1000").command_line(words)
}

/// Starts a machine in a network with a DHCP server of this configuration.
fn leased(words: &str, lines: &[&str]) -> (Running, Lan, Server) {
    let prepared = machine(words).prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let server = lan.serve(lines);
    (prepared.start(), lan, server)
}

/// Opens a socket at the port of NTP servers.
fn time_server(lan: &Lan) -> UdpSocket {
    let socket =
        in_network_of(lan.process(), || UdpSocket::bind((Lan::ADDRESS, 123))).expect("an address of the network");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket
}

/// Returns a reply to a query: stratum 2, and the time in seconds since 1900.
fn reply(query: &[u8], seconds: u32) -> Vec<u8> {
    let mut reply = vec![0; 48];
    reply[..2].copy_from_slice(&[0x24, 2]);
    reply[24..32].copy_from_slice(&query[40..48]);
    reply[40..44].copy_from_slice(&seconds.to_be_bytes());
    reply
}

/// 2026-11-26, as NTP counts.
const NOW: u32 = 4_004_640_000;

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_clock_is_at_least_the_time_of_the_record_and_of_the_option() {
    // A time before the host's clock: the clock is not set.
    let (mut machine, _lan, _server) = leased("whit.net=off whit.time=1000000000", &[]);
    let output = machine.wait_for("settled\n");
    assert!(!output.contains("clock"), "{output}");
    let later = Machine::new().script("echo settled; exec sleep 1000").file("/whit.conf", "time 4000000000\n");
    let mut later = later.command_line("whit.net=off whit.time=5").spawn();
    assert!(later.wait_for("settled\n").contains(WOULD_SET));
    let wrong = machine_that_reads("whit.time=yesterday");
    assert!(wrong.contains("whit: time=yesterday: not seconds since 1970\n"), "{wrong}");
}

fn machine_that_reads(words: &str) -> String {
    machine(&format!("whit.net=off {words}")).spawn().wait_for("settled\n")
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_clock_is_set_from_the_ntp_server_of_the_lease_before_the_workload_starts() {
    let chronyd = servers::chronyd();
    let prepared = machine("whit.ntp=dhcp").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let _time = chronyd(&lan);
    let _server = lan.serve(&["dhcp-option=42,10.55.0.1"]);
    let output = prepared.start().wait_for("settled\n");
    assert!(output.contains(WOULD_SET), "{output}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn invalid_replies_are_ignored_and_the_next_server_is_queried() {
    // Four queries are sent, and a busy host may lose one of the two that this test needs.
    assert!((0..3).any(|_| queries_the_next_server_again()), "no second query in three tries");
}

/// Sends invalid replies to the first query of the second server, and a valid one to the next; `false` when a query was lost.
fn queries_the_next_server_again() -> bool {
    let prepared = machine("whit.ntp=10.55.0.99,10.55.0.1 whit.time=1700000000").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let _server = lan.serve(&[]);
    // Bound before the machine starts: a query to a closed port is refused, and only four are sent.
    let socket = time_server(&lan);
    let mut machine = prepared.start();
    let mut query = [0; 48];
    let Ok((length, from)) = socket.recv_from(&mut query) else { return false };
    assert_eq!((length, query[0], &query[1..40]), (48, 0x23, &[0; 39][..]));
    // A server that is not synchronised, stratum 0, another nonce; then a time before the image's, and a reply that is too short.
    for (place, value) in [(0, 0xe4), (1, 0), (24, query[40] ^ 1)] {
        let mut broken = reply(&query, NOW);
        broken[place] = value;
        socket.send_to(&broken, from).expect("the machine");
    }
    socket.send_to(&reply(&query, 3_000_000_000), from).expect("the machine");
    socket.send_to(&reply(&query, NOW)[..47], from).expect("the machine");
    let mut again = [0; 48];
    // The next query goes to the first server, and the one after that to this one.
    let Ok((_, from)) = socket.recv_from(&mut again) else { return false };
    assert_ne!(again[40..48], query[40..48], "another nonce");
    socket.send_to(&reply(&again, NOW), from).expect("the machine");
    let output = machine.wait_for("settled\n");
    assert!(output.ends_with(WOULD_SET), "{output}");
    true
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_an_ntp_server_one_line_is_logged_and_the_boot_goes_on() {
    for (words, lines) in [("whit.ntp=dhcp", &["dhcp-option=42"][..]), ("whit.ntp=10.55.0.1", &[])] {
        let (mut machine, _lan, _server) = leased(words, lines);
        let output = machine.wait_for("settled\n");
        let value = words.trim_start_matches("whit.");
        assert!(output.contains(&format!("whit: {value}: no server answers\n")), "{output}");
    }
}
