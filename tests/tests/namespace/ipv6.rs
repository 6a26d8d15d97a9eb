//! IPv6: the kernel configures the addresses; the init waits for them, and writes the DNS servers to resolv.conf.

use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv6Addr;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, Frames, OFFER, Query, REQUEST};
use whit_tests::namespace::{Lan, Machine, Running};

/// Prints the resolver's file, and again after each change.
const SHOW: &str = "echo settled; while :; do new=$(cat /etc/resolv.conf); \
    if [ \"$new\" != \"$old\" ]; then echo \"$new\"; echo shown; old=$new; fi; sleep 0.1; done";

fn machine(options: &str) -> Machine {
    Machine::new().directory("/rootfs/etc").script(SHOW).command_line(options)
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_machine_that_waits_for_ipv6_starts_with_a_global_address_and_its_dns_servers() {
    let prepared = machine("whit.net=wait6").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    lan.ip(&["address", "add", "fd55::1/64", "dev", "lan0", "nodad"]);
    // fe80:: is dnsmasq's own address on the link.
    let _router = lan.serve(&[
        "enable-ra",
        "dhcp-range=fd55::,ra-only",
        "dhcp-range=10.55.0.50,10.55.0.99,1h",
        "dhcp-option=option6:dns-server,[fd55::53],[fe80::]",
    ]);
    let mut machine = prepared.start();
    let output = machine.wait_for("settled\n");
    assert!(output.contains("whit: eth0 fd55::") && !output.contains("the boot continues"), "{output}");
    let addresses = machine.ip(&["-6", "address", "show", "dev", "eth0", "scope", "global", "-tentative"]);
    assert!(addresses.contains("inet6 fd55::"), "{addresses}");
    let text = machine.wait_for("shown\n");
    assert!(text.contains("nameserver fd55::53\n"), "{text}");
    let local = text.lines().find(|line| line.starts_with("nameserver fe80::")).expect("a link-local server");
    assert!(local.ends_with("%eth0"), "{local}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_ipv6_one_line_is_logged_and_the_boot_goes_on() {
    let prepared = machine("whit.net=wait6 whit.net.timeout=1").prepare();
    let lan = Lan::new();
    lan.plug(&prepared, "eth0");
    let _server = lan.serve(&[]);
    let mut machine = prepared.start();
    let output = machine.wait_for("settled\n");
    let message = "whit: network: no global IPv6 address within 1 s; the boot continues, with retries\n";
    assert!(output.contains("whit: eth0 10.55.0.") && output.contains(message), "{output}");
}

/// Returns the sum of 16-bit options for a checksum (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum()
}

/// Encodes a frame with a router advertisement (RFC 4861 §4.2) of these options.
pub(crate) fn advertisement(options: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    let (router, all_hosts) = (address("fe80::99"), address("ff02::1"));
    let mut message = [&[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], options].concat();
    let length = u16::try_from(message.len()).expect("short");
    // RFC 8200 §8.1: the addresses, the length and ICMPv6's number are in the sum too.
    let folded = sum(&router) + sum(&all_hosts) + u32::from(length) + 58 + sum(&message);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice");
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let [l0, l1] = length.to_be_bytes();
    let ethernet = [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x99, 0x86, 0xdd];
    [&ethernet[..], &[0x60, 0, 0, 0, l0, l1, 58, 255], &router, &all_hosts, &message].concat()
}

/// Encodes an option with DNS servers (RFC 8106 §5.1).
pub(crate) fn servers(lifetime_s: u32, addresses: &[&str]) -> Vec<u8> {
    let units = u8::try_from(1 + 2 * addresses.len()).expect("few");
    let mut option = [&[25, units, 0, 0][..], &lifetime_s.to_be_bytes()].concat();
    option.extend(addresses.iter().flat_map(|text| text.parse::<Ipv6Addr>().expect("an address").octets()));
    option
}

/// Starts a machine and gives it a lease; returns it with its cable.
fn leased() -> (Running, Lan, Frames) {
    let machine = machine("").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    let discover = frames.next(DISCOVER);
    frames.send(&Answer::new(&discover, OFFER, [10, 55, 0, 77]).frame());
    let request = frames.next(REQUEST);
    frames.send(&Answer::new(&request, ACK, [10, 55, 0, 77]).with(6, &[10, 55, 0, 1]).frame());
    machine.wait_for("settled\n");
    assert_eq!(machine.wait_for("shown\n"), "# written by whit\nnameserver 10.55.0.1\n");
    (machine, lan, frames)
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn dns_servers_of_routers_come_and_go() {
    let (mut machine, _lan, frames) = leased();
    frames.send(&advertisement(&[servers(1000, &["2001:db8::53"]), servers(2, &["2001:db8::54"])].concat()));
    let both = "# written by whit\nnameserver 10.55.0.1\nnameserver 2001:db8::53\nnameserver 2001:db8::54\n";
    // The kernel reports each option by itself.
    let mut seen = machine.wait_for("shown\n");
    if seen != both {
        seen = machine.wait_for("shown\n");
    }
    assert_eq!(seen, both);
    // The second one is not advertised again and expires.
    let first = "# written by whit\nnameserver 10.55.0.1\nnameserver 2001:db8::53\n";
    assert_eq!(machine.wait_for("shown\n"), first);
    // Options that are cut, of length 0, or of another kind change nothing; then a lifetime of 0 removes the first server.
    let mut broken = servers(1000, &["2001:db8::55"]);
    broken[1] = 200;
    frames.send(&advertisement(&broken));
    frames.send(&advertisement(&[25, 0, 0, 0, 0, 0, 0, 9]));
    frames.send(&advertisement(&[&[31, 1, 0, 0, 0, 0, 0, 9][..], &servers(0, &["2001:db8::53"])].concat()));
    assert_eq!(machine.wait_for("shown\n"), "# written by whit\nnameserver 10.55.0.1\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_router_cannot_write_lines_into_the_resolvers_file() {
    let (mut machine, _lan, frames) = leased();
    // An address whose bytes are a line of text.
    frames.send(&advertisement(&servers(1000, &["a6e:616d:6573:6572:7665:7220:362e:360a"])));
    let expected = "# written by whit\nnameserver 10.55.0.1\nnameserver a6e:616d:6573:6572:7665:7220:362e:360a\n";
    assert_eq!(machine.wait_for("shown\n"), expected);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn dns_servers_that_alternate_are_written_once_a_second() {
    let (mut machine, _lan, frames) = leased();
    let path = format!("/proc/{}/root/rootfs/etc/resolv.conf", machine.init());
    let version = || fs::metadata(&path).map(|file| (file.ino(), file.mtime(), file.mtime_nsec())).expect("the file");
    let (mut last, mut writings, mut sent) = (version(), 0, 0_u16);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(3500) {
        // Another server each time, which takes the place of the last: what is written is never what was written before.
        let [before, now] = [sent, sent + 1].map(|number| format!("2001:db8::1:{number:x}"));
        frames.send(&advertisement(&[servers(0, &[before.as_str()]), servers(1000, &[now.as_str()])].concat()));
        sent += 1;
        sleep(Duration::from_millis(1));
        let now = version();
        writings += u32::from(now != last);
        last = now;
    }
    println!("{sent} advertisements, {writings} writings");
    assert!(sent > 500 && (1..=5).contains(&writings), "{sent} advertisements, {writings} writings");
    // The last advertisement is written in any case.
    frames.send(&advertisement(&servers(1000, &["2001:db8::54"])));
    while !machine.wait_for("shown\n").contains("nameserver 2001:db8::54\n") {}
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_reader_sees_the_old_file_or_the_new_one() {
    let (mut machine, _lan, frames) = leased();
    let path = format!("/proc/{}/root/rootfs/etc/resolv.conf", machine.init());
    let mut reader = File::open(&path).expect("the file");
    frames.send(&advertisement(&servers(1000, &["2001:db8::53"])));
    assert!(machine.wait_for("shown\n").contains("nameserver 2001:db8::53\n"));
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the old file");
    assert_eq!(text, "# written by whit\nnameserver 10.55.0.1\n");
    assert_eq!(fs::metadata(&path).expect("the new file").mode() & 0o7777, 0o644);
    let left: Vec<_> = fs::read_dir(format!("/proc/{}/root/rootfs/etc", machine.init())).expect("/etc").collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_fifo_in_the_place_of_a_file_does_not_block_pid_1() {
    let (machine, _lan, frames) = leased();
    let path = format!("/proc/{}/root/rootfs/etc/resolv.conf", machine.init());
    fs::remove_file(&path).expect("the file");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    for _ in 0..3 {
        frames.send(&advertisement(&servers(0, &["2001:db8::53"])));
        frames.send(&advertisement(&servers(1000, &["2001:db8::53"])));
        sleep(Duration::from_millis(600));
    }
    machine.signal(Signal::TERM);
    let finished = machine.finish();
    let complaints = finished.console.matches("whit: /etc/resolv.conf: not a regular file\n").count();
    assert_eq!(complaints, 1, "{}", finished.console);
}

/// Encodes an option with a prefix for SLAAC (RFC 4861 §4.6.2), for an hour.
fn prefix(text: &str) -> Vec<u8> {
    let address = text.parse::<Ipv6Addr>().expect("an address").octets();
    let hour = 3600u32.to_be_bytes();
    [&[3, 4, 64, 0xc0][..], &hour, &hour, &[0; 4], &address].concat()
}

/// Encodes names (RFC 1035 §3.1).
fn encoded(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).expect("a label"));
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
    }
    bytes
}

/// Encodes an option with search domains (RFC 8106 §5.2).
fn domains(lifetime_s: u32, names: &[&str]) -> Vec<u8> {
    let mut option = [&[31, 0, 0, 0][..], &lifetime_s.to_be_bytes(), &encoded(names)].concat();
    option.resize(option.len().next_multiple_of(8), 0);
    option[1] = u8::try_from(option.len() / 8).expect("short");
    option
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn where_a_router_alone_answers_the_wait_ends_with_its_address() {
    let prepared = machine("whit.net.timeout=1000").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(prepared);
    let _ = frames.next(DISCOVER);
    let began = Instant::now();
    frames.send(&advertisement(&prefix("2001:db8:1::")));
    machine.wait_for("whit: eth0 2001:db8:1:");
    machine.wait_for("settled\n");
    // One second for duplicate address detection, two for a DHCP server.
    println!("{:?}", began.elapsed());
    assert!(!machine.console().contains("no lease"), "{}", machine.console());
    // A lease that comes later is used.
    let mut query = frames.query();
    while query.kind() != REQUEST {
        frames.send(&Answer::new(&query, OFFER, [10, 55, 0, 77]).frame());
        query = frames.query();
    }
    frames.send(&Answer::new(&query, ACK, [10, 55, 0, 77]).frame());
    machine.wait_for("whit: eth0 10.55.0.77/24");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_dhcp_server_that_answers_after_the_router_is_waited_for() {
    let prepared = machine("whit.net.timeout=1000").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(prepared);
    let mut query = frames.next(DISCOVER);
    frames.send(&advertisement(&prefix("2001:db8:1::")));
    machine.wait_for("whit: eth0 2001:db8:1:");
    while query.kind() != REQUEST {
        frames.send(&Answer::new(&query, OFFER, [10, 55, 0, 77]).frame());
        query = frames.query();
    }
    frames.send(&Answer::new(&query, ACK, [10, 55, 0, 77]).frame());
    assert!(machine.wait_for("settled\n").contains("whit: eth0 10.55.0.77/24"), "{}", machine.console());
}

/// An answer that prefers IPv6 alone, for 1 s: 300 s at least (RFC 8925 §3.4).
fn ipv6_only(query: &Query, kind: u8) -> Vec<u8> {
    Answer::new(query, kind, [10, 55, 0, 77]).with(108, &[0, 0, 0, 1]).frame()
}

fn requested(query: &Query) -> bool {
    query.option(55).is_some_and(|list| list.contains(&108))
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn in_a_network_for_ipv6_alone_no_lease_is_requested_or_waited_for() {
    // Even where a lease is required: there is none to come.
    for options in ["whit.net.timeout=1000", "whit.net.timeout=1000 whit.net=require"] {
        let prepared = machine(options).prepare();
        let lan = Lan::new();
        let (mut machine, mut frames) = lan.start(prepared);
        let discover = frames.next(DISCOVER);
        assert!(requested(&discover));
        frames.send(&ipv6_only(&discover, OFFER));
        machine.wait_for("whit: eth0: the network is for IPv6 alone\n");
        frames.send(&advertisement(&prefix("2001:db8:1::")));
        machine.wait_for("whit: eth0 2001:db8:1:");
        machine.wait_for("settled\n");
        assert!(frames.query_within(Duration::from_secs(2)).is_none(), "a DHCP message");
        // The next carrier may be that of another network.
        lan.carrier(0, false);
        lan.carrier(0, true);
        let discover = frames.next(DISCOVER);
        frames.send(&Answer::new(&discover, OFFER, [10, 55, 0, 77]).frame());
        let request = frames.next(REQUEST);
        frames.send(&Answer::new(&request, ACK, [10, 55, 0, 77]).frame());
        machine.wait_for("whit: eth0 10.55.0.77/24");
        machine.wait_for("\n");
        // A lease is given up when its server prefers IPv6 after the next carrier.
        lan.carrier(0, false);
        lan.carrier(0, true);
        let reboot = frames.next(REQUEST);
        frames.send(&ipv6_only(&reboot, ACK));
        machine.wait_for("whit: eth0: the network is for IPv6 alone\n");
        frames.send(&advertisement(&[]));
        assert!(frames.query_within(Duration::from_secs(2)).is_none(), "a DHCP message");
        assert!(!machine.ip(&["-4", "address", "show", "dev", "eth0"]).contains("inet "));
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_ipv6_in_the_kernel_option_108_is_not_requested_and_not_obeyed() {
    let prepared = machine("").prepare();
    prepared.set("ipv6/conf/all/disable_ipv6", "1");
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(prepared);
    let discover = frames.next(DISCOVER);
    assert!(!requested(&discover));
    frames.send(&ipv6_only(&discover, OFFER));
    let request = frames.next(REQUEST);
    assert!(!requested(&request));
    frames.send(&ipv6_only(&request, ACK));
    machine.wait_for("whit: eth0 10.55.0.77/24");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn search_domains_of_routers_come_and_go() {
    let (mut machine, _lan, frames) = leased();
    frames.send(&advertisement(&domains(1000, &["a.test", "b.a.test"])));
    let base = "# written by whit\nnameserver 10.55.0.1\n";
    assert_eq!(machine.wait_for("shown\n"), format!("{base}search a.test b.a.test\n"));
    // A name that is no name, one that is known, a list without an end, one of no length.
    frames.send(&advertisement(&domains(1000, &["a\nnameserver 6.6.6.6"])));
    frames.send(&advertisement(&[31, 2, 0, 0, 0, 0, 3, 0xe8, 7, b'c', b'u', b't', 0, 0, 0, 0]));
    frames.send(&advertisement(&[31, 1, 0, 0, 0, 0, 3, 0xe8]));
    frames.send(&advertisement(&domains(2, &["b.a.test", "c.test"])));
    assert_eq!(machine.wait_for("shown\n"), format!("{base}search a.test b.a.test c.test\n"));
    // The last lifetime is over; then a lifetime of 0 removes a list.
    assert_eq!(machine.wait_for("shown\n"), base);
    frames.send(&advertisement(&domains(1000, &["d.test"])));
    assert_eq!(machine.wait_for("shown\n"), format!("{base}search d.test\n"));
    frames.send(&advertisement(&domains(0, &["d.test"])));
    assert_eq!(machine.wait_for("shown\n"), base);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_small_mtu_of_a_lease_leaves_ipv6_on_the_interface() {
    for (mtu, set) in [(576u16, 1280), (1279, 1280), (1280, 1280), (1400, 1400)] {
        let prepared = machine("").prepare();
        let lan = Lan::new();
        let (mut machine, mut frames) = lan.start(prepared);
        for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
            let query = frames.next(kind);
            frames.send(&Answer::new(&query, answer, [10, 55, 0, 77]).with(26, &mtu.to_be_bytes()).frame());
        }
        machine.wait_for("settled\n");
        let link = machine.ip(&["address", "show", "dev", "eth0"]);
        assert!(link.contains(&format!(" mtu {set} ")) && link.contains("inet6 fe80::"), "{link}");
    }
}

/// Both lists fill a search list (resolv.conf(5): 256 characters), and there are more servers than a resolver uses.
#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn long_lists_of_a_lease_and_a_router_leave_the_resolvers_file_whole() {
    let list = |letter: &str| (0..7).map(|number| format!("{}{number}.test", letter.repeat(24))).collect();
    let (leased, advertised): (Vec<String>, Vec<String>) = (list("a"), list("b"));
    let [leased, advertised] = [&leased, &advertised].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
    let machine = machine("nameserver=2001:db8:1:2:3:4:5:dd01").prepare();
    let lan = Lan::new();
    let (mut machine, mut frames) = lan.start(machine);
    for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
        let query = frames.next(kind);
        let servers = [10, 255, 255, 251, 10, 255, 255, 252, 10, 255, 255, 253];
        frames
            .send(&Answer::new(&query, answer, [10, 55, 0, 77]).with(6, &servers).with(119, &encoded(&leased)).frame());
    }
    machine.wait_for("settled\n");
    machine.wait_for("shown\n");
    let addresses = ["2001:db8::aaaa:bbbb:cccc:1", "2001:db8::aaaa:bbbb:cccc:2", "2001:db8::aaaa:bbbb:cccc:3"];
    frames.send(&advertisement(&[domains(1000, &advertised), servers(1000, &addresses)].concat()));
    let mut file = machine.wait_for("shown\n");
    while !file.contains("cccc:1\n") || !file.contains("bbbb0.") {
        file = machine.wait_for("shown\n");
    }
    println!("{} bytes\n{file}", file.len());
    let search = file.lines().find_map(|line| line.strip_prefix("search ")).expect("a search list");
    assert!(
        search.len() <= 256 && search.split(' ').all(|name| name.len() == 30 && name.ends_with(".test")),
        "{search}"
    );
    assert!(file.ends_with(&format!("{search}\n")), "{file}");
}
