//! Packages built from the format's documents; tests/tests/host/mkcpio/rpm.rs tests packages from rpmbuild.

use std::collections::BTreeMap;
use std::io::Write;

use super::*;
use crate::archive::newc::{Kind, Meta, Writer};
use crate::cli::progress::Progress;
use crate::compress::Method;

mod stripped;

/// A value: tag, type, count and bytes.
type Value = (u32, u32, u32, Vec<u8>);

/// Returns a header with these values, aligned as in rpm: each number at a multiple of its width.
fn header(values: &[Value]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, kind, count, bytes) in values {
        let width = [1, 1, 1, 2, 4, 8, 1, 1, 1][*kind as usize];
        data.resize(data.len().next_multiple_of(width), 0);
        for field in [*tag, *kind, data.len() as u32, *count] {
            index.extend(field.to_be_bytes());
        }
        data.extend(bytes);
    }
    let lengths = [(values.len() as u32).to_be_bytes(), (data.len() as u32).to_be_bytes()];
    [&b"\x8e\xad\xe8\x01\0\0\0\0"[..], lengths.as_flattened(), &index, &data].concat()
}

fn strings(tag: u32, all: &[&str]) -> Value {
    (tag, 8, all.len() as u32, all.iter().flat_map(|one| [one.as_bytes(), b"\0"].concat()).collect())
}

/// Returns a package; the signature's length is not a multiple of 8.
fn package(values: &[Value], payload: &[u8]) -> Vec<u8> {
    let lead = [MAGIC, &[3, 0], &[0; 90]].concat();
    let mut signature = header(&[(62, 7, 5, b"\0\0\0\0\0".to_vec())]);
    signature.resize(signature.len().next_multiple_of(8), 0);
    [lead, signature, header(values), payload.to_vec()].concat()
}

/// The offsets of its two headers.
const SIGNATURE: usize = 96;
const MAIN: usize = 96 + 16 + 16 + 8;

/// Returns an archive as rpm writes it: the names of one file in sequence, the data after the last.
fn archive() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 0);
    writer.node(b"lib", Meta::root(0o755), &Kind::Directory).unwrap();
    writer.node(b"lib/modules/6.1/build", Meta::root(0o777), &Kind::Symlink(b"/usr/src".to_vec())).unwrap();
    writer.file(&["lib/modules/6.1/a.ko"], Meta::root(0o644), 8, &b"a module"[..]).unwrap();
    writer.file(&["etc/x", "lib/firmware/b", "lib/firmware/c"], Meta::root(0o644), 4, &b"same"[..]).unwrap();
    writer.file(&["usr/lib/firmware/d", "usr/share/d"], Meta::root(0o644), 5, &b"apart"[..]).unwrap();
    writer.file(&["lib/modules/6.1/empty", "lib/modules/6.1/none"], Meta::root(0o644), 0, &b""[..]).unwrap();
    ended(writer)
}

/// Ends an archive directly after its trailer, as rpm does.
fn ended(writer: Writer<Vec<u8>>) -> Vec<u8> {
    let mut bytes = writer.finish().unwrap().out;
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 2;
    bytes.truncate(end.next_multiple_of(4));
    bytes
}

fn compressed(method: Option<Method>, bytes: &[u8]) -> Vec<u8> {
    match method {
        None => bytes.to_vec(),
        Some(Method::Gzip) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some(Method::Zstd) => zstd::encode_all(bytes, 1).unwrap(),
        Some(Method::Xz) => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some(Method::Bzip2) => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some(other) => unreachable!("{}", other.name()),
    }
}

const ALL: [Option<Method>; 5] = [None, Some(Method::Gzip), Some(Method::Zstd), Some(Method::Xz), Some(Method::Bzip2)];

/// Unpacks a package. Returns names and contents.
fn open(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let directory = tempfile::tempdir().unwrap();
    unpack(bytes, &mut Folder::new(directory.path(), &Progress::default())).map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.path().to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(directory.path()).unwrap().display().to_string();
                found.insert(name, std::fs::read_to_string(path).unwrap());
            }
        }
    }
    Ok(found)
}

fn expected() -> BTreeMap<String, String> {
    let all = [
        ("lib/modules/6.1/a.ko", "a module"),
        ("lib/firmware/b", "same"),
        ("lib/firmware/c", "same"),
        ("usr/lib/firmware/d", "apart"),
        ("lib/modules/6.1/empty", ""),
        ("lib/modules/6.1/none", ""),
    ];
    all.map(|(name, content)| (name.to_owned(), content.to_owned())).into()
}

fn values() -> Vec<Value> {
    vec![strings(1000, &["kernel"]), strings(1049, &["/bin/sh", "rpmlib(PayloadFilesHavePrefix)"])]
}

#[test]
fn every_compression_is_unpacked() {
    for method in ALL {
        let bytes = package(&values(), &compressed(method, &archive()));
        assert_eq!(open(&bytes).unwrap(), expected(), "{method:?}");
    }
    // Without requirements, without any value.
    assert_eq!(open(&package(&[], &archive())).unwrap(), expected());
}

#[test]
fn every_truncation_is_an_error() {
    let mut small = Writer::new(Vec::new(), 0);
    small.file(&["lib/modules/6.1/a.ko"], Meta::root(0o644), 8, &b"a module"[..]).unwrap();
    let small = ended(small);
    for method in ALL {
        // The part before the payload is the same for all.
        let payload = compressed(method, &small);
        let bytes = package(&values(), &payload);
        let start = bytes.len() - payload.len();
        for length in if method.is_none() { 0 } else { start }..bytes.len() {
            let error = open(&bytes[..length]).expect_err(&format!("{method:?} cut at {length}"));
            let part = match length {
                0..SIGNATURE => "ends within its lead",
                SIGNATURE..MAIN => "ends within its signature",
                _ if length < start => "ends within its header",
                _ => "the .rpm",
            };
            assert!(error.contains(part), "{method:?} cut at {length}: {error}");
        }
    }
}

#[test]
fn each_field_of_a_header_is_checked() {
    let change = |at: usize, bytes: &[u8], message: &str| {
        let mut package = package(&values(), &archive());
        package[at..at + bytes.len()].copy_from_slice(bytes);
        let error = open(&package).expect_err(message);
        assert!(error.contains(message), "{message}: {error}");
    };
    for (start, name) in [(SIGNATURE, "signature"), (MAIN, "header")] {
        for byte in 0..8 {
            change(start + byte, &[0x55], &format!("no {name} at its place"));
        }
        change(start + 8, &[0, 1, 0, 0], &format!("{name} claims 65536 entries"));
        change(start + 8, &[0, 0, 0xff, 0xff], &format!("ends within its {name}"));
        change(start + 12, &[0xff; 4], "and 4294967295 bytes, over the limit");
        change(start + 12, &[4, 0, 0, 1], "and 67108865 bytes, over the limit");
        change(start + 12, &[4, 0, 0, 0], &format!("ends within its {name}"));
    }
    // One entry or some bytes fewer or more: the next part is at another place.
    change(SIGNATURE + 11, &[0], "no header at its place");
    change(SIGNATURE + 11, &[2], "no header at its place");
    change(SIGNATURE + 15, &[14], "no header at its place");
    change(MAIN + 11, &[1], "payload is not a cpio archive");
    change(MAIN + 15, &[0], "has REQUIRENAME outside of its data");
    // The fields of the second value: its type, its offset, its count.
    let second = MAIN + 32;
    change(second + 7, &[6], "has another type of REQUIRENAME");
    change(second + 8, &[1], "has REQUIRENAME outside of its data");
    change(second + 11, &[40], "has REQUIRENAME outside of its data");
    change(second + 15, &[3], "has REQUIRENAME outside of its data");
    change(second + 12, &[0x10], "has too many values of REQUIRENAME");
}

#[test]
fn a_damaged_header_never_gives_wrong_files() {
    let whole = package(&values(), &archive());
    let mut unharmed = 0;
    for at in SIGNATURE..whole.len() - archive().len() {
        for bit in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            if let Ok(files) = open(&bytes) {
                assert_eq!(files, expected(), "byte {at}");
                unharmed += 1;
            }
        }
    }
    // Many bytes are not read: names, signatures. Damage of the others is an error.
    assert!(unharmed > 100, "{unharmed}");
}

#[test]
fn invalid_payloads_are_refused() {
    assert!(open(&package(&values(), b"text")).unwrap_err().contains("payload is not a cpio archive"));
    assert!(open(&package(&values(), b"")).unwrap_err().contains("ends before its payload"));
    let aligned = [strings(1049, &["rpmlib(LargeFiles)", "rpmlib(PayloadAlignment)"])];
    assert!(open(&package(&aligned, &archive())).unwrap_err().contains("aligned content"));
}
