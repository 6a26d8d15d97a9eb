//! Floods of frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, NAK, OFFER, Query, REQUEST};
use whit_tests::namespace::{Lan, Machine};

use super::{BOUND, WRONG, machine, right};

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_storm_of_naks_counts_as_one() {
    let (mut machine, _lan, mut frames) = machine();
    let discover = frames.next(DISCOVER);
    frames.send(&right(&discover, OFFER));
    let request = frames.next(REQUEST);
    // 66: with a text that would write over the console.
    let nak = Answer::new(&request, NAK, [0; 4]).with(56, b"bye\n\x1b[31mwhit: exit 0\n").frame();
    for _ in 0..2000 {
        frames.send(&nak);
    }
    // 90: at once, in a new transaction. After the storm the init's queue may have no room for the first answer.
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
    assert!(discovers < 5, "91: {discovers} DISCOVERs for 2000 NAKs");
    frames.send(&right(&request, ACK));
    machine.wait_for(BOUND);
    let logged = machine.wait_for("settled\n");
    assert!(!machine.console().contains("bye") && !logged.contains('\x1b'), "{}", machine.console());
}

/// Returns reproducible random bytes, by Marsaglia's xorshift64.
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

/// Frames that are sent before the machine gets SIGTERM; they take about two seconds.
const FLOOD: usize = 200_000;

/// Returns frames that pass the init's filter and frames that do not: random packets, messages and options.
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
    let (began, over, (flood_started, wait_for_flood)) = (Instant::now(), AtomicBool::new(false), channel());
    std::thread::scope(|scope| {
        let over = &over;
        // Sends as fast as it can until the network is removed with its machine, however the test ends.
        let flood = scope.spawn(move || {
            let (junk, mut sent) = (junk(&flood.next(DISCOVER)), 0);
            while flood.try_send(&junk[sent % junk.len()]) {
                sent += 1;
                if sent == FLOOD {
                    let _ = flood_started.send(());
                }
            }
            over.store(true, Ordering::Relaxed);
            sent
        });
        // The queue of the init's socket is full: some answers are lost, and the init repeats its message.
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Some(query) = server.query_within(Duration::from_millis(50)) {
                    server.try_send(&right(&query, if query.kind() == DISCOVER { OFFER } else { ACK }));
                }
            }
        });
        machine.wait_for(BOUND);
        machine.wait_for("settled\n");
        wait_for_flood.recv().expect("a flood");
        machine.signal(Signal::TERM);
        machine.finish().powered_off_saying(&["settled", "whit: exit 143", "whit: power off"]);
        let sent = flood.join().expect("the flood");
        println!("{sent} frames in {:?}", began.elapsed());
    });
}
