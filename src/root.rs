//! `root=`: which device, or which directory of the host, is the root.
//!
//! The forms are the kernel's (block/early-lookup.c, `early_lookup_bdev`); `UUID=`, `LABEL=` and `SERIAL=`, which only user
//! space knows; and dracut's for a directory that the host shares.

use core::num::NonZero;

use crate::text::{hexadecimal, number, split, split_once, strip_prefix};

/// The source of a root or a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSpec<'a> {
    /// The kind of its name.
    pub kind: Kind,
    /// The name: a path, a tag, or what [`is_written`] reads.
    pub name: &'a [u8],
    /// The name as a number, when it is a UUID, or the number of a device as [`device_number`] has it.
    pub number: Option<NonZero<u128>>,
    /// The partition's number, relative to the one with that UUID on the same disk.
    pub offset: u32,
}

/// The kinds of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The UUID of a file system, or a FAT's serial number.
    Uuid,
    /// The label of a file system.
    Label,
    /// The UUID of a partition in a GPT; in an MSDOS table the disk's signature and the partition's number.
    PartUuid,
    /// The name of a partition in a GPT.
    PartLabel,
    /// The serial number of a disk.
    Serial,
    /// The path of a device.
    Device,
    /// The tag of a directory that the host shares by virtiofs.
    Virtiofs,
    /// The tag of a directory that the host shares by 9P.
    P9,
    /// Memory.
    Tmpfs,
    /// The number of a device.
    Number,
}

/// The prefixes of the kinds, numbers excepted.
pub const PREFIXES: &[u8] = b"UUID= LABEL= PARTUUID= PARTLABEL= SERIAL= /dev/ virtiofs: 9p:";

impl Kind {
    /// The type of file system that the kind implies; empty for one on a device.
    pub fn tag(self) -> &'static [u8] {
        match self {
            Self::Virtiofs => b"virtiofs",
            Self::P9 => b"9p",
            Self::Tmpfs => b"tmpfs",
            _ => b"",
        }
    }

    /// In the order of [`PREFIXES`].
    const IN_ORDER: [Self; 8] = [
        Self::Uuid,
        Self::Label,
        Self::PartUuid,
        Self::PartLabel,
        Self::Serial,
        Self::Device,
        Self::Virtiofs,
        Self::P9,
    ];
}

/// Parses the value of `root=`; `None` when it has none of the forms. When `fstype` is `virtiofs` or `9p` it may be the tag
/// alone.
#[inline(never)]
pub fn parse<'a>(value: &'a [u8], fstype: &[u8]) -> Option<RootSpec<'a>> {
    let mut spec = RootSpec { kind: Kind::Number, name: value, number: None, offset: 0 };
    for (index, prefix) in split(PREFIXES, b' ').enumerate() {
        let name = strip_prefix(value, prefix);
        if name.is_some() || strip_prefix(prefix, fstype).is_some_and(|rest| rest == b":") {
            spec.kind = Kind::IN_ORDER[index & 7];
            spec.name = name.unwrap_or(value);
        }
    }
    if spec.kind == Kind::Device {
        // devtmpfs has no name with a dot in front: neither this directory nor the one above.
        if split(spec.name, b'/').any(|part| matches!(part, [] | [b'.', ..])) {
            return None;
        }
        spec.name = value;
    }
    if spec.kind == Kind::PartUuid
        && let Some((uuid, behind)) = split_once(spec.name, b'/')
    {
        spec.offset = number(strip_prefix(behind, b"PARTNROFF=")?)?;
        spec.name = uuid;
    }
    if matches!(spec.kind, Kind::Uuid | Kind::PartUuid | Kind::Number) {
        let number = if spec.kind == Kind::Number { device_number(value) } else { None };
        spec.number = Some(number.or_else(|| hexadecimal(spec.name))?);
    }
    (!spec.name.iter().all(|byte| *byte == b'"')).then_some(spec)
}

/// The number of a device from `MAJOR:MINOR`, as `root=b302` has it: 12 bits of major between 12 and 8 of minor
/// (include/linux/kdev_t.h, new_encode_dev).
pub fn device_number(text: &[u8]) -> Option<NonZero<u128>> {
    let (major, minor) = split_once(text, b':')?;
    let (major, minor) = (number(major)?, number(minor)?);
    NonZero::new(u128::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)))
}

/// Whether `written` is a way to write `name`, whose characters take `width` bytes: as it is, or with any byte as `\x20`, which
/// is what udev makes of a space in the names of its links. Quotes do not count: the kernel leaves those inside a value. Nor do
/// NULs and spaces at the end of the name, which fill its field.
pub fn is_written(mut name: &[u8], width: usize, mut written: &[u8]) -> bool {
    while let [first, rest @ ..] = written {
        let mut byte = *first;
        written = rest;
        if byte == b'"' {
            continue;
        }
        if let (b'\\', [b'x', high, low, rest @ ..]) = (byte, rest)
            && let Some(escaped) = hexadecimal(&[*high, *low])
        {
            (byte, written) = (escaped.get() as u8, rest);
        }
        match name.split_at_checked(width) {
            Some(([expected] | [expected, 0], rest)) if *expected == byte => name = rest,
            _ => return false,
        }
    }
    name.iter().all(|byte| matches!(byte, 0 | b' '))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// What a value is named by, and the name.
    #[track_caller]
    fn check(value: &str, expected: Option<(Kind, &str)>) {
        let spec = parse(value.as_bytes(), b"");
        assert_eq!(
            spec.map(|spec| (spec.kind, spec.name)),
            expected.map(|(kind, name)| (kind, name.as_bytes())),
            "{value}"
        );
    }

    /// What a value is named by, the number, and the offset.
    #[track_caller]
    fn check_number(value: &str, expected: Option<(Kind, u128, u32)>) {
        let spec = parse(value.as_bytes(), b"");
        let found = spec.map(|spec| (spec.kind, spec.number.map_or(0, NonZero::get), spec.offset));
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn every_kind_but_numbers_has_a_prefix() {
        assert_eq!(split(PREFIXES, b' ').count(), Kind::IN_ORDER.len());
    }

    #[test]
    fn a_path_stays_below_dev() {
        check("/dev/vda", Some((Kind::Device, "/dev/vda")));
        check("/dev/mapper/root=1:2", Some((Kind::Device, "/dev/mapper/root=1:2")));
        for other in ["", "vda", "/dev/", "/dev/../etc/passwd", "/dev//vda", "/dev/./vda", "/dev/vda/", "/devvda", "/"]
        {
            check(other, None);
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        // MKDEV(254, 1), MKDEV(179, 2), MKDEV(259, 0x12345) through new_encode_dev
        for (value, number) in [
            ("254:1", 0xfe01),
            ("fe01", 0xfe01),
            ("FE01", 0xfe01),
            ("b302", 0xb302),
            ("179:2", 0xb302),
            ("8:0", 0x800),
            ("259:74565", 0x1231_0345),
            ("12310345", 0x1231_0345),
        ] {
            check_number(value, Some((Kind::Number, number, 0)));
        }
        for other in ["254:", ":1", "1:2:3", "4294967296:0", "-1:0", "0x801", "b302 ", "sda1", "0", "0:0", "-"] {
            check_number(other, None);
        }
    }

    #[test]
    fn names_are_of_five_kinds() {
        check("LABEL=root", Some((Kind::Label, "root")));
        check("LABEL=a=b:c/d", Some((Kind::Label, "a=b:c/d")));
        check("PARTLABEL=root", Some((Kind::PartLabel, "root")));
        check("SERIAL=disk0", Some((Kind::Serial, "disk0")));
        let uuid = 0x0a1b_2c3d_4e5f_6071_8293_a4b5_c6d7_e8f9;
        check_number("UUID=0a1b2c3d-4e5f-6071-8293-A4B5C6D7E8F9", Some((Kind::Uuid, uuid, 0)));
        check_number("UUID=1A2B-3C4D", Some((Kind::Uuid, 0x1a2b_3c4d, 0)));
        check_number("UUID=\"1A2B-3C4D\"", Some((Kind::Uuid, 0x1a2b_3c4d, 0)));
        for other in ["LABEL=", "LABEL=\"\"", "PARTLABEL=", "SERIAL=", "label=x", "ID=1", "=1"] {
            check(other, None);
        }
        for other in ["UUID=", "UUID=root", "UUID=8:1", "UUID=0000-0000", "UUID=\"\"", "UUID=1 ", "uuid=1"] {
            check_number(other, None);
        }
        // 33 digits
        check_number("UUID=10a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", None);
    }

    #[test]
    fn a_partition_is_found_from_another_of_its_disk() {
        let partition = |offset| Some((Kind::PartUuid, 0x1a_2b3c_4d01, offset));
        check_number("PARTUUID=1a2b3c4d-01", partition(0));
        check_number("PARTUUID=1A2B3C4D-01/PARTNROFF=3", partition(3));
        for offset in ["", "3", "PARTNROFF=", "PARTNROFF=x", "PARTNROFF=1 ", "PARTNROFF=4294967296", "PARTNROFF=1/"] {
            check_number(&std::format!("PARTUUID=1a2b3c4d-01/{offset}"), None);
        }
        for other in ["PARTUUID=", "PARTUUID=/PARTNROFF=1", "PARTUUID=root"] {
            check_number(other, None);
        }
    }

    #[test]
    fn a_share_has_a_tag() {
        check("virtiofs:root", Some((Kind::Virtiofs, "root")));
        check("9p:a:b", Some((Kind::P9, "a:b")));
        check("9p:/dev/root", Some((Kind::P9, "/dev/root")));
        for other in ["virtiofs:", "9p:", "9p", "nfs:host"] {
            check(other, None);
        }
    }

    #[test]
    fn with_its_type_a_tag_stands_alone() {
        for (value, fstype, expected) in [
            ("root", "virtiofs", Some((Kind::Virtiofs, "root"))),
            ("/dev/root", "9p", Some((Kind::P9, "/dev/root"))),
            ("9p:root", "9p", Some((Kind::P9, "root"))),
            ("UUID=1", "9p", Some((Kind::P9, "UUID=1"))),
            ("/dev/vda", "ext4", Some((Kind::Device, "/dev/vda"))),
            ("/dev/vda", "9p,ext4", Some((Kind::Device, "/dev/vda"))),
            ("root", "ext4", None),
            ("root", "", None),
        ] {
            let spec = parse(value.as_bytes(), fstype.as_bytes());
            let expected = expected.map(|(kind, name)| (kind, name.as_bytes()));
            assert_eq!(spec.map(|spec| (spec.kind, spec.name)), expected, "{value} as {fstype}");
        }
    }

    #[test]
    fn a_name_can_be_written_with_quotes_and_escapes() {
        for (name, written, same) in [
            ("two words", "two words", true),
            ("two words", r"two\x20words", true),
            ("two words", r#""two words""#, true),
            ("two words", r#"two" "words"#, true),
            ("a\"b", r"a\x22b", true),
            ("a\"b", "a\"b", false),
            ("a/b", r"a\x2fb", true),
            ("a/b", r"a\x2Fb", true),
            (r"a\x20", r"a\x5cx20", true),
            (r"\x2", r"\x2", true),
            (r"\xyz", r"\xyz", true),
            ("two  ", "two", true),
            ("two\0\0", "two", true),
            ("two ", "two ", true),
            ("two", "two ", false),
            ("two\0x", "two", false),
            ("two\0", "two\0x", false),
            ("two words", "two", false),
            ("two", "two words", false),
            ("two", "Two", false),
            ("two", r"two\x20", false),
            (r"a\x20", r"a\x20", false),
            ("", "a", false),
        ] {
            assert_eq!(is_written(name.as_bytes(), 1, written.as_bytes()), same, "{name} as {written}");
        }
    }

    #[test]
    fn a_wide_name_is_written_in_ascii() {
        let wide = |name: &str| name.encode_utf16().flat_map(u16::to_le_bytes).collect::<std::vec::Vec<u8>>();
        assert!(is_written(&wide("two words\0\0"), 2, br"two\x20words"));
        assert!(!is_written(&wide("two"), 2, b"two words"));
        assert!(!is_written(&wide("two words"), 2, b"two"));
        assert!(!is_written(&wide("\u{141}"), 2, b"A"), "U+0141 is 41 01");
        assert!(!is_written(b"two", 2, b"two"));
        assert!(!is_written(b"t", 2, b"t"));
    }

    #[test]
    fn the_kernels_command_line_leaves_quotes_inside_a_value() {
        for line in [r#"root=LABEL="two words" ro"#, r#""root=LABEL=two words" ro"#, r#"root="LABEL=two words" ro"#] {
            let mut line = line.as_bytes().to_vec();
            let value = crate::cmdline::decode(&mut line).0.lines().next().unwrap().value;
            let spec = parse(value, b"").unwrap();
            assert!(spec.kind == Kind::Label && is_written(b"two words", 1, spec.name));
        }
    }

    #[test]
    fn every_prefix_of_a_value_is_read() {
        for value in
            ["PARTUUID=1a2b3c4d-01/PARTNROFF=1", r#"LABEL="a\x20b""#, "virtiofs:tag", "/dev/a/b", "1:2", "b302"]
        {
            for end in 0..=value.len() {
                let _ = parse(&value.as_bytes()[..end], b"9p");
                let _ = parse(&value.as_bytes()[..end], b"");
                let _ = is_written(b"LABEL=a b", 1, &value.as_bytes()[..end]);
            }
        }
    }
}
