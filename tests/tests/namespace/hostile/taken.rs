//! Frames that are odd and that the init accepts.

use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, OFFER, REQUEST, with_header_byte};
use whit_tests::namespace::{Lan, Machine};

use super::{BOUND, RIGHT, WRONG, are_taken, machine, right};

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn odd_frames_are_accepted() {
    are_taken(&[
        ("1: an ordinary one", |answer| vec![answer.frame()]),
        ("17: no UDP checksum", |answer| {
            let mut packet = answer.packet();
            packet[26..28].fill(0);
            vec![answer.frame_of(&packet)]
        }),
        ("22: IPv4 options", |answer| {
            let mut packet = answer.packet();
            packet.splice(20..20, [1, 1, 1, 0]);
            let [high, low] = u16::try_from(packet.len()).expect("a frame").to_be_bytes();
            packet[2..4].copy_from_slice(&[high, low]);
            vec![answer.frame_of(&with_header_byte(&packet, 0, 0x46))]
        }),
        ("37: a relay's port", |answer| {
            let mut relayed = answer.clone();
            relayed.source.port = 1067;
            vec![relayed.frame()]
        }),
        ("38: unicast to an address that is not assigned yet", |answer| {
            let mut unicast = answer.clone();
            unicast.to = answer.fixed[28..34].try_into().expect("six bytes");
            unicast.destination.address.0 = RIGHT;
            vec![unicast.frame()]
        }),
        ("40: a priority tag", |answer| {
            let mut tagged = answer.clone();
            tagged.protocol = vec![0x81, 0, 0xe0, 0, 8, 0];
            vec![tagged.frame()]
        }),
        ("Ethernet's padding", |answer| vec![[answer.frame(), vec![0xff; 46]].concat()]),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn odd_messages_are_accepted() {
    are_taken(&[
        ("6: no server identifier", |answer| {
            let mut options = answer.options.clone();
            options.drain(3..9);
            vec![answer.clone().with_options(&options).frame()]
        }),
        ("23: an overload in an overloaded field", |answer| {
            let mut answer = answer.clone().with(52, &[3]);
            answer.fixed[44..48].copy_from_slice(&[52, 1, 3, 255]);
            answer.fixed[108..112].copy_from_slice(&[52, 1, 3, 255]);
            vec![answer.frame()]
        }),
        ("26: overloaded fields without an end", |answer| {
            let mut answer = answer.clone().with(52, &[3]);
            answer.fixed[107] = 12;
            answer.fixed[235] = 12;
            vec![answer.frame()]
        }),
        ("27: no END", |answer| {
            let message = answer.message();
            vec![answer.frame_of(&answer.packet_of(&message[..message.len() - 1]))]
        }),
        ("28: 1000 PADs", |answer| {
            let options = [&[0; 500][..], &answer.options, &[0; 500]].concat();
            vec![answer.clone().with_options(&options).frame()]
        }),
        ("29: bytes after END", |answer| {
            let options = [&answer.options[..], &[255, 53, 1, 9, 51, 200, 7]].concat();
            vec![answer.clone().with_options(&options).frame()]
        }),
        ("30: unknown options", |answer| {
            let options = (128..=254).filter(|code| *code != 249);
            vec![options.fold(answer.clone(), |answer, code| answer.with(code, b"?")).frame()]
        }),
        ("35: four long options", |answer| {
            let long = (0..4).fold(answer.clone(), |answer, part| answer.with(43 + part % 2, &[part; 250]));
            vec![long.frame()]
        }),
        ("36: a full frame", |answer| {
            let mut full = answer.clone();
            full.options.resize(1500 - 28 - 240 - 1, 0);
            assert_eq!(full.packet().len(), 1500);
            vec![full.frame()]
        }),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_incomplete_checksum_of_the_kernel_is_accepted() {
    let (mut machine, lan, mut frames) = machine();
    for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
        let query = frames.next(kind);
        lan.send_by_kernel(&Answer::new(&query, answer, RIGHT).message());
    }
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_truncated_jumbo_frame_is_ignored() {
    let machine = Machine::new().script("echo settled; exec sleep 1000").command_line("whit.dhcp=rfc").prepare();
    let lan = Lan::new();
    lan.plug_without_carrier(&machine, "eth0");
    let mut frames = lan.frames();
    let mut machine = machine.start();
    machine.wait_for("whit: root /rootfs on /mnt\n");
    let _ = machine.ip(&["link", "set", "eth0", "mtu", "9000"]);
    lan.ip(&["link", "set", "lan0", "mtu", "9000"]);
    lan.carrier(0, true);
    let discover = frames.next(DISCOVER);
    let mut jumbo = Answer::new(&discover, OFFER, WRONG);
    jumbo.options.resize(8000, 0);
    frames.send(&jumbo.frame());
    frames.send(&right(&discover, OFFER));
    assert_eq!(frames.next(REQUEST).option(50), Some(&RIGHT[..]));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_address_of_the_reserved_class_is_used() {
    let (mut machine, _lan, mut frames) = machine();
    for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
        let answer = Answer::new(&frames.next(kind), answer, [240, 1, 2, 77]);
        frames.send(&answer.with(3, &[240, 1, 2, 1]).with(6, &[255, 0, 0, 53]).frame());
    }
    machine.wait_for("whit: eth0 240.1.2.77/24, gateway 240.1.2.1, DNS 255.0.0.53, lease 3600 s");
    machine.wait_for("settled\n");
    let network = machine.ip(&["-4", "address", "show", "dev", "eth0"]) + &machine.ip(&["route"]);
    assert!(network.contains("inet 240.1.2.77/24") && network.contains("default via 240.1.2.1"), "{network}");
}
