//! The leased address: probed before it is used, renewed without a pause, released at the end.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use whit_tests::namespace::frames::{ACK, Answer, DECLINE, DISCOVER, Frames, OFFER, Query, REQUEST};
use whit_tests::namespace::{Lan, Machine, Running};

const TAKEN: [u8; 4] = [10, 55, 0, 77];
const FREE: [u8; 4] = [10, 55, 0, 78];

fn machine(options: &str) -> Machine {
    machine_with("echo settled; exec sleep 1000", options)
}

fn machine_with(script: &str, options: &str) -> Machine {
    Machine::new().directory("/rootfs/etc").script(script).command_line(&format!("whit.net.timeout=30 {options}"))
}

/// Leases an address, in four messages.
#[track_caller]
fn grant(frames: &mut Frames, address: [u8; 4]) {
    let discover = frames.next(DISCOVER);
    frames.send(&Answer::new(&discover, OFFER, address).frame());
    let request = frames.next(REQUEST);
    frames.send(&Answer::new(&request, ACK, address).frame());
}

/// Returns the protocols of the packet sockets that are open in the machine's network.
fn packet_sockets(machine: &Running) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/net/packet", machine.init())).expect("the machine lives");
    table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned)).collect()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_address_in_use_is_declined_and_another_one_taken() {
    let machine = machine("whit.dhcp.arp=300").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    // The kernel of the other side answers ARP requests for it.
    lan.ip(&["address", "add", "10.55.0.77/24", "dev", "lan0"]);
    grant(&mut frames, TAKEN);
    let decline = frames.next(DECLINE);
    let declined = Instant::now();
    assert_eq!((decline.option(50), decline.option(54)), (Some(&TAKEN[..]), Some(&Answer::SERVER[..])));
    assert_eq!((decline.source.0, decline.ciaddr()), ([0; 4], [0; 4]), "it was never ours");
    let output = machine.wait_for("whit: eth0: 10.55.0.77 is in use, declined\n");
    assert!(!output.contains("10.55.0.77/24"), "{output}");

    grant(&mut frames, FREE);
    assert!(declined.elapsed() > Duration::from_secs(9), "RFC 2131 §3.1: ten seconds later");
    machine.wait_for("whit: eth0 10.55.0.78/24");
    machine.wait_for("settled\n");
    let addresses = machine.ip(&["-4", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains("10.55.0.78/24") && !addresses.contains("10.55.0.77"), "{addresses}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_the_option_no_address_is_probed() {
    let machine = machine("").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    lan.ip(&["address", "add", "10.55.0.77/24", "dev", "lan0"]);
    grant(&mut frames, TAKEN);
    machine.wait_for("whit: eth0 10.55.0.77/24");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn with_a_lease_no_packet_socket_is_open_and_renewals_are_received() {
    let machine = machine("whit.dhcp.arp=50").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    let granted = |query: &Query, kind| {
        // T1 after two seconds: in the first one the workload starts, and nothing is closed.
        let mut answer = Answer::new(query, kind, TAKEN).with(58, &[0, 0, 0, 2]);
        if query.ciaddr() == TAKEN {
            // Servers answer a client that has an address by unicast.
            answer.destination.address.0 = TAKEN;
            answer.to = query.chaddr();
        }
        answer.frame()
    };
    let discover = frames.next(DISCOVER);
    frames.send(&granted(&discover, OFFER));
    let request = frames.next(REQUEST);
    frames.send(&granted(&request, ACK));
    machine.wait_for("settled\n");
    for _ in 0..3 {
        let renewal = frames.query_or_refusal().expect("no ICMP: the init has a socket at the port");
        assert_eq!((renewal.kind(), renewal.ciaddr()), (REQUEST, TAKEN));
        assert_eq!(packet_sockets(&machine), ["0800"], "while it is renewed");
        frames.send(&granted(&renewal, ACK));
        let started = Instant::now();
        while !packet_sockets(&machine).is_empty() {
            // The init closes it before T1; no event shows that.
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", packet_sockets(&machine));
            thread::yield_now();
        }
    }
}

/// The message of a client that gives its address back (RFC 2131 §4.4.6).
const RELEASE: u8 = 7;

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn with_the_option_a_lease_is_released_at_the_end() {
    for (options, released) in [("", false), ("whit.dhcp.release", true)] {
        let machine = machine_with("echo settled", options).prepare();
        let lan = Lan::new();
        let (mut machine, mut frames) = lan.start(machine);
        grant(&mut frames, FREE);
        machine.wait_for("settled\n");
        machine.finish().powered_off_saying(&["whit: exit 0"]);
        // The machine has ended: its last message is here already.
        let last = frames.query_within(Duration::ZERO);
        assert_eq!(last.as_ref().map(Query::kind), released.then_some(RELEASE), "{options}");
        let Some(release) = last else { continue };
        assert_eq!((release.ciaddr(), release.option(54)), (FREE, Some(&Answer::SERVER[..])));
        assert_eq!((release.source.0, release.destination.0), (FREE, Answer::SERVER));
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_interface_that_the_kernel_has_configured_is_kept_and_its_dns_servers_used() {
    let prepared =
        machine_with("cat /etc/resolv.conf; echo settled; exec sleep 1000", "").mounted("/proc/1/net").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let mut frames = lan.frames();
    let (init, net) = (prepared.init().to_string(), format!("--net=/proc/{}/ns/net", prepared.init()));
    for arguments in ["address add 10.55.0.123/25 dev eth0", "link set eth0 up", "route add default via 10.55.0.1"] {
        let done = Command::new("nsenter").arg(&net).arg("ip").args(arguments.split(' ')).status();
        assert!(done.expect("apt-get install util-linux iproute2").success(), "{arguments}");
    }
    // As the kernel shows the result of `ip=dhcp` (net/ipv4/ipconfig.c, pnp_seq_show()).
    let text = "#PROTO: DHCP\ndomain a.test\nnameserver 10.55.0.3\nbootserver 10.55.0.1\n";
    fs::write(format!("/proc/{init}/root/proc/1/net/pnp"), text).expect("a file");
    let mut machine = prepared.start();
    let output = machine.wait_for("settled\n");
    assert!(output.contains("whit: eth0 10.55.0.123/25, DNS 10.55.0.3, static\n"), "{output}");
    assert!(output.contains("nameserver 10.55.0.3\nsearch a.test\n"), "{output}");
    let network = machine.ip(&["-4", "address", "show", "dev", "eth0"]) + &machine.ip(&["route"]);
    assert!(network.contains("10.55.0.123/25") && network.contains("default via 10.55.0.1"), "{network}");
    assert!(frames.query_within(Duration::ZERO).is_none(), "a DHCP message was sent");
}
