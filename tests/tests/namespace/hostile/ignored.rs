//! Frames that the init ignores.

use whit_tests::namespace::frames::{ACK, NAK, OFFER, with_header_byte};

use super::{are_ignored, header_bytes, header_numbers};

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn messages_for_other_clients_are_ignored() {
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
        ("13: packets of 0 to 27 bytes", |answer| {
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
fn incomplete_messages_are_ignored() {
    are_ignored(&[
        ("14, 15: cut before the options", |answer| {
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
        ("32: no type, an invalid one", |answer| {
            let rest = &answer.options[3..];
            let types = [&[][..], &[53, 0], &[53, 2, 5, 5], &[53, 1, 0], &[53, 1, 9], &[53, 1, 255]];
            types.map(|kind| answer.clone().with_options(&[kind, rest].concat()).frame()).to_vec()
        }),
        ("33: two types", |answer| [OFFER, ACK, NAK].map(|kind| answer.clone().with(53, &[kind]).frame()).to_vec()),
        ("shorter than its headers", |answer| vec![answer.frame_of(&answer.packet()[..answer.packet().len() - 2])]),
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn grants_that_cannot_be_used_are_ignored() {
    are_ignored(&[
        ("45: addresses that no host may have", |answer| {
            let unusable: [[u8; 4]; 7] =
                [[0; 4], [127, 0, 0, 5], [224, 0, 0, 1], [239, 1, 2, 3], [255; 4], [10, 55, 0, 0], [10, 55, 0, 255]];
            let frame = |address: [u8; 4]| {
                let mut answer = answer.clone();
                answer.fixed[16..20].copy_from_slice(&address);
                answer.frame()
            };
            unusable.map(frame).to_vec()
        }),
        ("48: a lease of 0 s", |answer| {
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
