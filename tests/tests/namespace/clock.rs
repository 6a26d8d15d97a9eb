//! The time of day, as far as it can be shown where the clock is everybody's: a machine of namespaces may not set it, and says so.

use std::net::UdpSocket;
use std::time::Duration;

use whit_tests::namespace::frames::in_network_of;
use whit_tests::namespace::{Lan, Machine, Running, Server, servers};

/// What is said by a machine that would set the clock.
const WOULD_SET: &str = "whit: clock: EPERM\n";

fn machine(words: &str) -> Machine {
    Machine::new().directory("/rootfs/etc").script("echo settled; exec sleep 1000").command_line(words)
}

/// A machine with a lease, and a network with this server of addresses.
fn leased(words: &str, lines: &[&str]) -> (Running, Lan, Server) {
    let prepared = machine(words).prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let server = lan.serve(lines);
    (prepared.start(), lan, server)
}

/// Somebody at the port of time servers.
fn time_server(lan: &Lan) -> UdpSocket {
    let socket =
        in_network_of(lan.process(), || UdpSocket::bind((Lan::ADDRESS, 123))).expect("an address of the network");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket
}

/// An answer to a question: stratum 2, and the time in seconds since 1900.
fn answer(question: &[u8], seconds: u32) -> Vec<u8> {
    let mut answer = vec![0; 48];
    answer[..2].copy_from_slice(&[0x24, 2]);
    answer[24..32].copy_from_slice(&question[40..48]);
    answer[40..44].copy_from_slice(&seconds.to_be_bytes());
    answer
}

/// 2026-11-26, as NTP counts.
const NOW: u32 = 4_004_640_000;

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_time_of_a_record_and_of_a_word_is_the_least_there_is() {
    // Before the host's clock: nothing is to be set.
    let (mut machine, _lan, _server) = leased("whit.net=off whit.time=1000000000", &[]);
    let said = machine.wait_for("settled\n");
    assert!(!said.contains("clock"), "{said}");
    let later = Machine::new().script("echo settled; exec sleep 1000").file("/whit.conf", "time 4000000000\n");
    let mut later = later.command_line("whit.net=off whit.time=5").spawn();
    assert!(later.wait_for("settled\n").contains(WOULD_SET));
    let wrong = machine_that_reads("whit.time=yesterday");
    assert!(wrong.contains("whit: time=yesterday: no number of seconds since 1970\n"), "{wrong}");
}

fn machine_that_reads(words: &str) -> String {
    machine(&format!("whit.net=off {words}")).spawn().wait_for("settled\n")
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_time_is_asked_of_the_networks_server_before_the_workload_starts() {
    let chronyd = servers::chronyd();
    let prepared = machine("whit.ntp=dhcp").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let _time = chronyd(&lan);
    let _server = lan.serve(&["dhcp-option=42,10.55.0.1"]);
    let said = prepared.start().wait_for("settled\n");
    assert!(said.contains(WOULD_SET), "{said}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_answer_that_is_none_is_passed_over_and_the_next_server_asked() {
    // Four questions are sent, and a busy host may lose one of the two that this test needs.
    assert!((0..3).any(|_| asks_the_next_server_again()), "it is asked twice");
}

/// Answers the first question to the second server with nothing that is an answer, and the next one well; `false` when there was none.
fn asks_the_next_server_again() -> bool {
    let prepared = machine("whit.ntp=10.55.0.99,10.55.0.1 whit.time=1700000000").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let _server = lan.serve(&[]);
    // Bound before the machine starts: a question to a closed port is refused, and few are sent.
    let socket = time_server(&lan);
    let mut machine = prepared.start();
    let mut question = [0; 48];
    let Ok((length, from)) = socket.recv_from(&mut question) else { return false };
    assert_eq!((length, question[0], &question[1..40]), (48, 0x23, &[0; 39][..]));
    // A server that does not know it, one that was asked something else, one whose time is before the image's.
    for (place, value) in [(0, 0xe4), (1, 0), (24, question[40] ^ 1)] {
        let mut broken = answer(&question, NOW);
        broken[place] = value;
        socket.send_to(&broken, from).expect("the machine");
    }
    socket.send_to(&answer(&question, 3_000_000_000), from).expect("the machine");
    socket.send_to(&answer(&question, NOW)[..47], from).expect("the machine");
    let mut again = [0; 48];
    // The first server's turn, and then ours.
    let Ok((_, from)) = socket.recv_from(&mut again) else { return false };
    assert_ne!(again[40..48], question[40..48], "another nonce");
    socket.send_to(&answer(&again, NOW), from).expect("the machine");
    let said = machine.wait_for("settled\n");
    assert!(said.ends_with(WOULD_SET), "{said}");
    true
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_network_without_the_time_is_said_and_the_boot_goes_on() {
    for (words, lines) in [("whit.ntp=dhcp", &["dhcp-option=42"][..]), ("whit.ntp=10.55.0.1", &[])] {
        let (mut machine, _lan, _server) = leased(words, lines);
        let said = machine.wait_for("settled\n");
        let value = words.trim_start_matches("whit.");
        assert!(said.contains(&format!("whit: {value}: nobody tells the time\n")), "{said}");
    }
}
