//! The time of day, in a machine that may set it.

use std::net::UdpSocket;
use std::thread;

use whit_tests::debian::kernel;
use whit_tests::namespace::Lan;
use whit_tests::namespace::frames::in_network_of;
use whit_tests::whole::{Guest, Shell, VIRTIO, alone, busybox_disk, machine};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::DiskInterface;

/// 2030-01-01, in seconds since 1970 and in NTP's seconds since 1900.
const LATER: u64 = 1_893_456_000;
const LATER_NTP: u32 = 4_102_444_800;

/// A workload that prints the seconds since 1970.
const DATE: &str = r#"entrypoint=/bin/sh -- -c "date +%s""#;

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_clock_before_the_images_time_is_set_to_it() {
    let kernel = kernel(Flavour::Cloud, None);
    let mut guest = Guest::start(&alone(&kernel, &busybox_disk()).append(&format!("whit.time={LATER} {DATE}")));
    guest.line(&format!("whit: clock set to {LATER}"));
    let date = guest.machine().next_line(whit_tests::whole::DEADLINE).unwrap();
    let seconds: u64 = date.trim().parse().expect("a number");
    guest.assert((LATER..LATER + 100).contains(&seconds), &date);
    guest.line("whit: exit 0");
    guest.end();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_clock_is_set_from_an_ntp_server() {
    let kernel = kernel(Flavour::Cloud, None);
    // A network of its own, whose 127.0.0.1 is QEMU's 10.0.2.2.
    let lan = Lan::new();
    lan.ip(&["link", "set", "lo", "up"]);
    let socket = in_network_of(lan.process(), || UdpSocket::bind("127.0.0.1:123")).expect("a port of the network's");
    thread::spawn(move || {
        let mut query = [0; 48];
        let (_, from) = socket.recv_from(&mut query).expect("an NTP query");
        let mut reply = [0; 48];
        reply[..2].copy_from_slice(&[0x24, 2]);
        reply[24..32].copy_from_slice(&query[40..48]);
        reply[40..44].copy_from_slice(&LATER_NTP.to_be_bytes());
        socket.send_to(&reply, from).expect("the machine");
    });
    let command = machine(&kernel, &VIRTIO, Shell::No)
        .disk(DiskInterface::Virtio, busybox_disk())
        .snapshot()
        .append(&format!("root=/dev/vda whit.ntp=10.0.2.2 {DATE}"));
    let mut guest = in_network_of(lan.process(), || Guest::start(&command));
    guest.line(&format!("whit: clock set to {LATER}"));
    let date = guest.machine().next_line(whit_tests::whole::DEADLINE).unwrap();
    let seconds: u64 = date.trim().parse().expect("a number");
    guest.assert((LATER..LATER + 100).contains(&seconds), &date);
    guest.end();
}
