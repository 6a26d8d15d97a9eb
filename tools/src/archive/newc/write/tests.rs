use super::*;
use crate::archive::segment::{Member, entries};

fn golden(header: &str, name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = header.bytes().filter(|byte| *byte != b' ').collect();
    bytes.extend_from_slice(name);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The expected bytes are the output of `cpio -o -H newc --reproducible` (GNU cpio 2.13), except `ino`, which cpio counts from 0.
#[test]
fn the_bytes_equal_those_of_gnu_cpio() {
    let mut writer = Writer::new(Vec::new(), 0x6500_0000);
    writer.node(b"dev", Meta::root(0o755), &Kind::Directory).unwrap();
    writer.node(b"dev/console", Meta::root(0o600), &Kind::Character(5, 1)).unwrap();
    writer.node(b"sh", Meta::root(0o777), &Kind::Symlink(b"bin/busybox".to_vec())).unwrap();
    let linked = Meta { mode: 0o4755, uid: 10, gid: 0xabcd, mtime: Some(0x1234) };
    writer.file(&["a", "b"], linked, 5, &b"hello, more"[..]).unwrap();
    let mut expected = Vec::new();
    for (header, name, data) in [
        (
            "070701 00000001 000041ED 00000000 00000000 00000002 65000000 00000000 00000000 00000000 00000000 00000000 00000004 00000000",
            "dev",
            "",
        ),
        (
            "070701 00000002 00002180 00000000 00000000 00000001 65000000 00000000 00000000 00000000 00000005 00000001 0000000C 00000000",
            "dev/console",
            "",
        ),
        (
            "070701 00000003 0000A1FF 00000000 00000000 00000001 65000000 0000000B 00000000 00000000 00000000 00000000 00000003 00000000",
            "sh",
            "bin/busybox",
        ),
        (
            "070701 00000004 000089ED 0000000A 0000ABCD 00000002 00001234 00000000 00000000 00000000 00000000 00000000 00000002 00000000",
            "a",
            "",
        ),
        (
            "070701 00000004 000089ED 0000000A 0000ABCD 00000002 00001234 00000005 00000000 00000000 00000000 00000000 00000002 00000000",
            "b",
            "hello",
        ),
        (
            "070701 00000000 00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 0000000B 00000000",
            "TRAILER!!!",
            "",
        ),
    ] {
        expected.extend(golden(header, name.as_bytes(), data.as_bytes()));
    }
    expected.resize(expected.len().next_multiple_of(512), 0);
    let finished = writer.finish().unwrap();
    assert_eq!((finished.entries, finished.bytes), (5, expected.len() as u64));
    assert_eq!(finished.out, expected);
}

#[test]
fn entries_beyond_each_limit_of_the_kernel_are_refused() {
    let deep = |length: usize| "abcdefg/".repeat(512).into_bytes()[..length].to_vec();
    let mut writer = Writer::new(io::sink(), 0);
    let mut directory = |name: &[u8]| writer.node(name, Meta::root(0o755), &Kind::Directory);
    assert!(directory(&deep(4095)).is_ok());
    assert!(matches!(directory(&[&deep(4095)[..], b"h"].concat()), Err(Refused::LongName(_))));
    assert!(directory(&[b'n'; 255]).is_ok());
    assert!(matches!(directory(&[b'n'; 256]), Err(Refused::LongName(_))));
    for name in ["", "/etc", "etc/", "a//b", "a/./b", "../b", "nul\0", "TRAILER!!!"] {
        assert!(matches!(directory(name.as_bytes()), Err(Refused::Name(_))), "{name:?}");
    }
    let mut link = |length| writer.node(b"link", Meta::root(0o777), &Kind::Symlink(vec![b't'; length]));
    assert!(link(4095).is_ok());
    assert!(matches!(link(4096), Err(Refused::Target(_))));
    assert!(matches!(link(0), Err(Refused::Target(_))));
    let nul = Kind::Symlink(b"a\0b".to_vec());
    assert!(matches!(writer.node(b"link", Meta::root(0o777), &nul), Err(Refused::Target(_))));
    for (kind, fits) in [
        (Kind::Character(4095, 1_048_575), true),
        (Kind::Block(4096, 0), false),
        (Kind::Character(0, 1_048_576), false),
    ] {
        let result = writer.node(b"device", Meta::root(0o600), &kind);
        assert_eq!(matches!(result, Err(Refused::Device(_))), !fits, "{kind:?}");
    }
    let limit = u64::from(u32::MAX);
    let mut file = |size, data: &mut dyn Read| writer.file(&["file"], Meta::root(0o644), size, data);
    assert!(matches!(file(limit + 1, &mut io::empty()), Err(Refused::LargeFile { bytes, .. }) if bytes == limit + 1));
    // The largest size passes the check; then its data is missing.
    assert!(matches!(file(limit, &mut io::empty()), Err(Refused::Shrunk(_))));
    assert!(matches!(file(2, &mut &b"x"[..]), Err(Refused::Shrunk(_))));
}

#[test]
fn data_of_every_length_are_aligned() {
    for length in 0..9 {
        let mut writer = Writer::new(Vec::new(), 0);
        writer.file(&["n"], Meta::root(0o644), length, io::repeat(1)).unwrap();
        assert_eq!(writer.position, HEADER_BYTES as u64 + 2 + length.next_multiple_of(4));
    }
}

#[test]
fn a_padded_entry_has_the_same_length_for_every_text() {
    let archive = |text: &str| {
        let mut writer = Writer::new(Vec::new(), 0);
        writer.padded(b"needs", text.as_bytes(), 21).unwrap();
        writer.continue_in(|out| out).finish().unwrap().out
    };
    for length in 0..=21 {
        let text = "0123456789".repeat(3)[..length].to_owned();
        let bytes = archive(&text);
        assert_eq!(bytes.len(), archive("").len(), "{length}");
        let entries = entries(&bytes).unwrap();
        let [(member, data)] = &entries[..] else { panic!("{} entries", entries.len()) };
        assert_eq!((&member.name[..], &data[..]), (&b"needs"[..], text.as_bytes()));
    }
}

#[test]
fn the_names_of_a_node_share_an_inode_except_symbolic_links() {
    let mut writer = Writer::new(Vec::new(), 0);
    writer.nodes(&["a", "b"], Meta::root(0o600), &Kind::Character(1, 3)).unwrap();
    writer.nodes(&["c", "d"], Meta::root(0o777), &Kind::Symlink(vec![b'x'; 128])).unwrap();
    writer.file(&["e", "f"], Meta::root(0o644), 4097, io::repeat(1)).unwrap();
    let finished = writer.finish().unwrap();
    let ino_nlink = |(member, _): &(Member, Vec<u8>)| (member.header.ino, member.header.nlink);
    let seen: Vec<(u32, u32)> = entries(&finished.out).unwrap().iter().map(ino_nlink).collect();
    assert_eq!(seen, [(1, 2), (1, 2), (2, 1), (3, 1), (4, 2), (4, 2)]);
    assert_eq!(finished.unpacked, Unpacked { inodes: 4, pages: 1 + 1 + 2 });
}
