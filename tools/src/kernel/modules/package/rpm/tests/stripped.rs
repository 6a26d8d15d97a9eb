//! Payloads of rpm's own format.

use super::*;

fn numbers<const N: usize>(tag: u32, kind: u32, all: &[[u8; N]]) -> Value {
    (tag, kind, all.len() as u32, all.as_flattened().to_vec())
}

/// Returns the header values of the files below, which are in three directories; the fifth is a ghost.
fn listed() -> Vec<Value> {
    let sizes: [u64; 8] = [0, 8, 4, 4, 5, 0, 5, 8];
    let modes: [u16; 8] = [0o40_755, 0o100_644, 0o100_644, 0o100_644, 0o100_644, 0o100_644, 0o100_644, 0o120_777];
    let inodes: [u32; 8] = [1, 2, 3, 3, 4, 5, 4, 6];
    let directories: [u32; 8] = [0, 1, 0, 2, 2, 1, 2, 1];
    let flags: [u32; 8] = [0, 0, 0, 0, 1 << 6, 0, 0, 0];
    let mut all = values();
    all.extend([
        numbers(1030, 3, &modes.map(u16::to_be_bytes)),
        numbers(1037, 4, &flags.map(u32::to_be_bytes)),
        numbers(1095, 4, &[[0, 0, 0, 1]; 8]),
        numbers(1096, 4, &inodes.map(u32::to_be_bytes)),
        numbers(1116, 4, &directories.map(u32::to_be_bytes)),
        strings(1117, &["lib", "a.ko", "x", "b", "ghost", "empty", "d", "build"]),
        strings(1118, &["/", "/lib/modules/6.1/", "/usr/lib/firmware/"]),
        numbers(5008, 5, &sizes.map(u64::to_be_bytes)),
    ]);
    all
}

/// Returns a payload of rpm's own format: number and data of each file.
fn stripped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, data) in files {
        bytes.extend(format!("07070X{number:0>8}\0\0{data}").into_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes.extend(ended(Writer::new(Vec::new(), 0)));
    bytes
}

const FILES: [(&str, &str); 7] =
    [("0", ""), ("1", "a module"), ("5", ""), ("6", "apart"), ("7", "/usr/src"), ("2", ""), ("3", "same")];

fn expected_of_stripped() -> BTreeMap<String, String> {
    let all = [
        ("lib/modules/6.1/a.ko", "a module"),
        ("usr/lib/firmware/b", "same"),
        ("usr/lib/firmware/d", "apart"),
        ("lib/modules/6.1/empty", ""),
    ];
    all.map(|(name, content)| (name.to_owned(), content.to_owned())).into()
}

#[test]
fn payloads_of_rpms_own_format_are_unpacked() {
    for method in ALL {
        let bytes = package(&listed(), &compressed(method, &stripped(&FILES)));
        assert_eq!(open(&bytes).unwrap(), expected_of_stripped(), "{method:?}");
    }
}

#[test]
fn every_truncation_of_rpms_own_format_is_an_error() {
    for method in [None, Some(Method::Gzip), Some(Method::Zstd)] {
        let payload = compressed(method, &stripped(&FILES));
        let bytes = package(&listed(), &payload);
        for length in bytes.len() - payload.len()..bytes.len() {
            let error = open(&bytes[..length]).expect_err(&format!("{method:?} cut at {length}"));
            assert!(error.contains("truncated"), "{method:?} cut at {length}: {error}");
        }
    }
}

#[test]
fn each_field_of_a_list_of_files_is_checked() {
    let change = |tag: u32, at: usize, bytes: &[u8], message: &str| {
        let mut values = listed();
        let value = values.iter_mut().find(|value| value.0 == tag).unwrap();
        value.3[at..at + bytes.len()].copy_from_slice(bytes);
        let error = open(&package(&values, &stripped(&FILES))).expect_err(message);
        assert!(error.contains(message), "{tag}: {error}");
    };
    change(5008, 8, &[0xff; 8], "ends within its payload");
    change(5008, 15, &[4], "an entry that is neither a file nor the trailer");
    change(5008, 15, &[20], "an entry that is neither a file nor the trailer");
    change(1030, 2, &[0o40_755_u16.to_be_bytes()[0]], "an entry that is neither");
    change(1116, 7, &[3], "file \"00000001\", which its header does not list");
    // Values that are fewer than files, of another type, or missing.
    for tag in [1030, 1116, 1117, 1118, 5008] {
        let whole = listed();
        let place = whole.iter().position(|value| value.0 == tag).unwrap();
        let mut fewer = whole.clone();
        fewer[place].2 = 1;
        let error = open(&package(&fewer, &stripped(&FILES))).unwrap_err();
        assert!(error.contains("which its header does not list"), "{tag}: {error}");
        let mut other = whole.clone();
        other[place].1 = 7;
        let error = open(&package(&other, &stripped(&FILES))).unwrap_err();
        assert!(error.contains("has another type of"), "{tag}: {error}");
        let mut none = whole.clone();
        none.remove(place);
        // Without the sizes, it is an ordinary package.
        let message = if tag == 5008 { "no cpio header at byte 0" } else { "has no " };
        let error = open(&package(&none, &stripped(&FILES))).unwrap_err();
        assert!(error.contains(message), "{tag}: {error}");
    }
    let mut endless = listed();
    endless.iter_mut().find(|value| value.0 == 1118).unwrap().3[0..2].copy_from_slice(b"//");
    let long = "x".repeat(5000);
    endless.iter_mut().find(|value| value.0 == 1117).unwrap().3 =
        [b"lib\0", long.as_bytes(), &b"\0".repeat(8)].concat();
    assert!(open(&package(&endless, &stripped(&FILES))).unwrap_err().contains("longer than 4095 bytes"));
}

#[test]
fn each_field_of_a_stripped_entry_is_checked() {
    for (files, message) in [
        (&[("8", "")][..], "file \"00000008\", which its header does not list"),
        (&[("ffffffff", "")], "which its header does not list"),
        (&[("g", "")], "file \"0000000g\", which is not a number"),
    ] {
        let error = open(&package(&listed(), &stripped(files))).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let mut other = stripped(&FILES);
    other[5] = b'Y';
    assert!(open(&package(&listed(), &other)).unwrap_err().contains("neither a file nor the trailer"));
    // An ordinary archive.
    assert!(open(&package(&listed(), &archive())).unwrap_err().contains("neither a file nor the trailer"));
}
