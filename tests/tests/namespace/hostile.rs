//! A server that says what none should, frame by frame. The classic timing leaves 4 s until the init would say anything
//! twice: that its next message is the right one shows what it made of each frame, in their order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, Frames, NAK, OFFER, Query, REQUEST, with_header_byte};
use whit_tests::namespace::{Lan, Machine, Running};

/// The address of every message that is to be ignored.
const WRONG: [u8; 4] = [10, 55, 0, 66];
const RIGHT: [u8; 4] = [10, 55, 0, 77];
const BOUND: &str = "whit: eth0 10.55.0.77/24, lease 3600 s from 10.55.0.1\n";

/// A machine at its cable, whose other end is ours.
fn machine() -> (Running, Lan, Frames) {
    let machine = Machine::new()
        .directory("/rootfs/etc")
        .script("echo settled; exec sleep 1000")
        .command_line("whit.dhcp=rfc whit.net.timeout=20")
        .prepare();
    let lan = Lan::new();
    let (machine, frames) = lan.start(machine);
    (machine, lan, frames)
}

fn right(query: &Query, kind: u8) -> Vec<u8> {
    Answer::new(query, kind, RIGHT).frame()
}

/// Makes frames out of a message that is right but for its address.
type Break = fn(&Answer) -> Vec<Vec<u8>>;

/// Sends broken frames in front of each right one: the init must not have seen them.
#[track_caller]
fn are_ignored(cases: &[(&str, Break)]) {
    for (what, broken) in cases {
        let (mut machine, _lan, mut frames) = machine();
        let discover = frames.next(DISCOVER);
        for frame in broken(&Answer::new(&discover, OFFER, WRONG)) {
            frames.send(&frame);
        }
        frames.send(&right(&discover, OFFER));
        let request = frames.next(REQUEST);
        assert_eq!(request.option(50), Some(&RIGHT[..]), "{what}: an OFFER was taken");
        assert_eq!(request.xid(), discover.xid(), "{what}");
        for frame in broken(&Answer::new(&request, ACK, WRONG)) {
            frames.send(&frame);
        }
        frames.send(&right(&request, ACK));
        machine.wait_for("whit: eth0 10.");
        assert_eq!(format!("whit: eth0 10.{}\n", machine.wait_for("\n")), BOUND, "{what}: an ACK was taken");
        machine.wait_for("settled\n");
    }
}

/// Sends odd frames, and no others: the init must take them.
#[track_caller]
fn are_taken(cases: &[(&str, Break)]) {
    for (what, odd) in cases {
        let (mut machine, _lan, mut frames) = machine();
        for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
            let query = frames.next(kind);
            for frame in odd(&Answer::new(&query, answer, RIGHT)) {
                frames.send(&frame);
            }
        }
        machine.wait_for("whit: eth0 10.55.0.77/24");
        let said = machine.wait_for("settled\n");
        assert!(said.contains(", lease 3600 s from 10.55.0.1\n"), "{what}: {said}");
    }
}

/// Frames of one packet with a byte of its headers changed to each of these.
fn header_bytes(answer: &Answer, changes: &[(usize, u8)]) -> Vec<Vec<u8>> {
    let packet = answer.packet();
    changes.iter().map(|(at, value)| answer.frame_of(&with_header_byte(&packet, *at, *value))).collect()
}

/// Frames of one packet with two of its bytes changed to each of these numbers, and no UDP checksum that would tell.
fn header_numbers(answer: &Answer, at: usize, numbers: &[u16]) -> Vec<Vec<u8>> {
    let frame = |number: &u16| {
        let [high, low] = number.to_be_bytes();
        let mut packet = with_header_byte(&answer.packet(), at, high);
        packet[26..28].fill(0);
        answer.frame_of(&with_header_byte(&packet, at + 1, low))
    };
    numbers.iter().map(frame).collect()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn what_is_for_somebody_else_is_ignored() {
    are_ignored(&[
        ("2: another transaction", |answer| vec![answer.clone().with_byte(4, answer.fixed[4] ^ 1).frame()]),
        ("3: another client", |answer| vec![answer.clone().with_byte(33, answer.fixed[33] ^ 1).frame()]),
        ("4: a client's message", |answer| vec![answer.clone().with_byte(0, 1).frame()]),
        ("5: another cookie, none", |answer| {
            let mut other = answer.clone();
            other.cookie = [99, 130, 83, 98];
            let bootp = answer.packet_of(&[&answer.fixed[..], &[0; 64]].concat());
            vec![other.frame(), answer.frame_of(&bootp)]
        }),
        ("7: other hardware", |answer| {
            vec![answer.clone().with_byte(1, 6).frame(), answer.clone().with_byte(2, 16).frame()]
        }),
        ("39: another VLAN", |answer| {
            let mut tagged = answer.clone();
            tagged.protocol = vec![0x81, 0, 0, 5, 8, 0];
            vec![tagged.frame()]
        }),
        ("39: another host", |answer| {
            let mut other = answer.clone();
            other.to = [2, 0, 0, 0, 0, 9];
            vec![other.frame()]
        }),
        ("the server's port", |answer| {
            let mut other = answer.clone();
            other.destination.port = 67;
            vec![other.frame()]
        }),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn headers_that_do_not_fit_their_packet_are_ignored() {
    are_ignored(&[
        ("8, 9, 10: UDP's length", |answer| header_numbers(answer, 24, &[0, 7, 65535])),
        ("11: IPv4's length", |answer| header_numbers(answer, 2, &[20, 27, 28, 65535])),
        ("12: the header's length", |answer| {
            let mut frames = header_bytes(answer, &[(0, 0x40), (0, 0x41), (0, 0x42), (0, 0x43), (0, 0x44), (0, 0x65)]);
            let cut = &answer.packet()[..40];
            frames.push(answer.frame_of(&with_header_byte(cut, 0, 0x4f)));
            frames
        }),
        ("13: nothing, and next to nothing", |answer| {
            (0..28).map(|length| answer.frame_of(&answer.packet()[..length])).collect()
        }),
        ("16: UDP's checksum", |answer| {
            let mut packet = answer.packet();
            packet[27] ^= 1;
            vec![answer.frame_of(&packet)]
        }),
        ("19: IPv4's checksum", |answer| {
            let mut packet = answer.packet();
            packet[10] ^= 1;
            vec![answer.frame_of(&packet)]
        }),
        ("21: fragments", |answer| header_bytes(answer, &[(6, 0x20), (7, 1), (6, 0x1f)])),
        ("another protocol", |answer| header_bytes(answer, &[(9, 6)])),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn messages_that_are_not_whole_are_ignored() {
    are_ignored(&[
        ("14, 15: cut in front of the options", |answer| {
            let message = answer.message();
            let frame = |length: usize| answer.frame_of(&answer.packet_of(&message[..length]));
            [0, 1, 100, 235, 236, 237, 238, 239, 240].map(frame).to_vec()
        }),
        ("20: an option past the end", |answer| {
            let mut frames = Vec::new();
            for code in [53, 54, 6, 43, 125] {
                for length in [2, 200, 255] {
                    let last = [&answer.options[..], &[code, length]].concat();
                    frames.push(answer.clone().with_options(&last).frame());
                }
                let first = [&[code, 255][..], &answer.options].concat();
                frames.push(answer.clone().with_options(&first).frame());
            }
            frames
        }),
        ("32: no type, an odd one", |answer| {
            let rest = &answer.options[3..];
            let types = [&[][..], &[53, 0], &[53, 2, 5, 5], &[53, 1, 0], &[53, 1, 9], &[53, 1, 255]];
            types.map(|kind| answer.clone().with_options(&[kind, rest].concat()).frame()).to_vec()
        }),
        ("33: two types", |answer| [OFFER, ACK, NAK].map(|kind| answer.clone().with(53, &[kind]).frame()).to_vec()),
        ("less than its headers say", |answer| vec![answer.frame_of(&answer.packet()[..answer.packet().len() - 2])]),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn grants_that_cannot_be_used_are_ignored() {
    are_ignored(&[
        ("45: nobody's addresses", |answer| {
            let nobodys: [[u8; 4]; 8] = [
                [0; 4],
                [127, 0, 0, 5],
                [224, 0, 0, 1],
                [239, 1, 2, 3],
                [240, 0, 0, 1],
                [255; 4],
                [10, 55, 0, 0],
                [10, 55, 0, 255],
            ];
            let frame = |address: [u8; 4]| {
                let mut answer = answer.clone();
                answer.fixed[16..20].copy_from_slice(&address);
                answer.frame()
            };
            nobodys.map(frame).to_vec()
        }),
        ("48: a lease of no time", |answer| {
            let mut options = answer.options.clone();
            options[11..15].fill(0);
            vec![answer.clone().with_options(&options).frame()]
        }),
        ("102: another identifier", |answer| {
            let mut identifier = [&[1][..], &answer.fixed[28..34]].concat();
            identifier[6] ^= 1;
            vec![answer.clone().with(61, &identifier).frame(), answer.clone().with(61, &[1]).frame()]
        }),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn odd_frames_that_are_whole_are_taken() {
    are_taken(&[
        ("1: one as it should be", |answer| vec![answer.frame()]),
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
        ("38: unicast to an address that nobody has yet", |answer| {
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
fn odd_messages_that_are_whole_are_taken() {
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
        ("29: bytes behind END", |answer| {
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
        ("103: what nobody asked for", |answer| vec![answer.clone().with(108, &[0, 0, 7, 8]).frame()]),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_checksum_that_the_kernel_left_half_done_is_no_reason_to_refuse() {
    let (mut machine, lan, mut frames) = machine();
    for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
        let query = frames.next(kind);
        lan.send_by_kernel(&Answer::new(&query, answer, RIGHT).message());
    }
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_jumbo_frame_that_does_not_fit_is_no_short_one() {
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
fn only_what_was_asked_for_is_answered() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    // 86: an ACK that nobody requested, and without option 80; a NAK.
    frames.send(&Answer::new(&discover, ACK, WRONG).frame());
    frames.send(&Answer::new(&discover, NAK, [0; 4]).frame());
    frames.send(&right(&discover, OFFER));
    let request = frames.next(REQUEST);
    assert_eq!(request.option(54), Some(&Answer::SERVER[..]));
    // 88: a second offer. 47: an ACK of another server. 89: a NAK of another server, and of nobody.
    frames.send(&Answer::new(&request, OFFER, WRONG).frame());
    for kind in [ACK, NAK] {
        let mut other = Answer::new(&request, kind, WRONG);
        other.options[8] ^= 2;
        frames.send(&other.frame());
    }
    frames.send(&Answer::new(&request, NAK, [0; 4]).with_options(&[53, 1, NAK]).frame());
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
    machine.wait_for("settled\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_server_that_gives_another_address_than_it_offered_is_believed() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    frames.send(&Answer::new(&discover, OFFER, WRONG).frame());
    let request = frames.next(REQUEST);
    assert_eq!(request.option(50), Some(&WRONG[..]));
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_grant_that_was_not_offered_needs_option_80() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    assert_eq!(discover.option(80), Some(&[][..]));
    frames.send(&Answer::new(&discover, ACK, RIGHT).with(80, &[]).frame());
    machine.wait_for(BOUND);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_router_of_an_address_without_a_subnet_is_on_the_link() {
    let cases: [(&[u8], &[&str]); 3] = [
        // 44: option 3 alone.
        (&[3, 4, 10, 55, 0, 1], &["default via 10.55.0.1 dev eth0"]),
        // 75: what leads to the router stands behind what goes by it.
        (
            &[121, 14, 0, 10, 55, 0, 1, 32, 10, 55, 0, 1, 0, 0, 0, 0],
            &["default via 10.55.0.1 dev eth0", "10.55.0.1 dev eth0 "],
        ),
        // 77: both halves of everything.
        (
            &[121, 12, 1, 0, 10, 55, 0, 1, 1, 128, 10, 55, 0, 1],
            &["0.0.0.0/1 via 10.55.0.1 dev eth0", "128.0.0.0/1 via 10.55.0.1 dev eth0"],
        ),
    ];
    for (option, expected) in cases {
        let (mut machine, _lan, mut frames) = machine();
        for (kind, answer) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
            let mut answer = Answer::new(&frames.next(kind), answer, RIGHT);
            let mask = answer.options.len() - 1;
            answer.options[mask] = 255;
            answer.options.extend_from_slice(option);
            frames.send(&answer.frame());
        }
        machine.wait_for("whit: eth0 10.55.0.77/32");
        let said = machine.wait_for("settled\n");
        let routes = machine.ip(&["route"]);
        for route in expected {
            assert!(routes.contains(route), "{option:?}: {routes}");
        }
        let halves = said.matches("/1 by 10.55.0.1\n").count();
        assert_eq!(halves, if expected[0].starts_with("0.0.0.0/1") { 2 } else { 0 }, "{said}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_storm_of_refusals_is_one_refusal() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    frames.send(&right(&discover, OFFER));
    let request = frames.next(REQUEST);
    // 66: with a message that would write over the console.
    let nak = Answer::new(&request, NAK, [0; 4]).with(56, b"bye\n\x1b[31mwhit: exit 0\n").frame();
    for _ in 0..2000 {
        frames.send(&nak);
    }
    // 90: at once, in a transaction of its own. The storm may have left no room in the init's queue for the first answer.
    let mut discovers = 0;
    let request = loop {
        let query = frames.query();
        assert_ne!(query.xid(), discover.xid());
        if query.kind() == REQUEST {
            break query;
        }
        discovers += 1;
        frames.send(&right(&query, OFFER));
    };
    assert!(discovers < 5, "91: {discovers} DISCOVERs for 2000 refusals");
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
    let said = machine.wait_for("settled\n");
    assert!(!machine.console().contains("bye") && !said.contains('\x1b'), "{}", machine.console());
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_server_cannot_order_a_renewal() {
    let (mut machine, lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    frames.send(&right(&discover, OFFER));
    let request = frames.next(REQUEST);
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
    machine.wait_for("settled\n");
    // RFC 3203. A NAK and an ACK have no more to say now.
    for kind in [9, NAK, ACK, OFFER] {
        frames.send(&Answer::new(&request, kind, WRONG).frame());
    }
    lan.carrier(0, false);
    lan.carrier(0, true);
    // Its next message is that of a link that returned.
    let next = frames.next(REQUEST);
    assert_eq!((next.option(50), next.option(54), next.ciaddr()), (Some(&RIGHT[..]), None, [0; 4]));
    assert!(!machine.console().contains("lost"), "{}", machine.console());
}

/// Random bytes that are the same each time: Marsaglia's xorshift64.
fn random_bytes(state: &mut u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Frames that are sent before the machine is to end: some two seconds of them.
const FLOOD: usize = 200_000;

/// What passes the init's filter and what does not: random packets, messages and options.
fn junk(discover: &Query) -> Vec<Vec<u8>> {
    let (mut state, template) = (0x5eed, Answer::new(discover, OFFER, WRONG));
    let frame = |number: u8| match number % 4 {
        0 => template.frame_of(&random_bytes(&mut state, 300)),
        1 => template.frame_of(&template.packet_of(&random_bytes(&mut state, 400))),
        _ => template.clone().with_byte(4, number).with_options(&random_bytes(&mut state, 100)).frame(),
    };
    (0..=255).map(frame).collect()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn in_a_flood_a_lease_is_taken_and_the_end_is_orderly() {
    let machine = Machine::new().script("echo settled; exec sleep 1000").command_line("whit.net.timeout=20").prepare();
    let lan = Lan::new();
    let mut flood = lan.frames();
    let (mut machine, mut server) = lan.start(machine);
    let (began, over, (rose, risen)) = (Instant::now(), AtomicBool::new(false), channel());
    std::thread::scope(|scope| {
        let over = &over;
        // As fast as it can, until the network is gone with its machine, however the test ends.
        let flood = scope.spawn(move || {
            let (junk, mut sent) = (junk(&flood.next(DISCOVER)), 0);
            while flood.try_send(&junk[sent % junk.len()]) {
                sent += 1;
                if sent == FLOOD {
                    let _ = rose.send(());
                }
            }
            over.store(true, Ordering::Relaxed);
            sent
        });
        // The queue of the init's socket is full: some answers are lost, and asked for again.
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Some(query) = server.query_within(Duration::from_millis(50)) {
                    server.try_send(&right(&query, if query.kind() == DISCOVER { OFFER } else { ACK }));
                }
            }
        });
        machine.wait_for(BOUND);
        machine.wait_for("settled\n");
        risen.recv().expect("a flood");
        machine.signal(Signal::TERM);
        machine.finish().powered_off_saying(&["settled", "whit: exit 143", "whit: power off"]);
        let sent = flood.join().expect("the flood");
        println!("{sent} frames in {:?}", began.elapsed());
    });
}
