//! `root=`: the device, or the shared directory of the host, that is the root.
//!
//! The forms are those of the kernel (block/early-lookup.c, `early_lookup_bdev`); `UUID=`, `LABEL=` and `SERIAL=`, which the
//! kernel does not resolve; dracut's forms for a directory that the host shares; and remote roots.

use core::num::NonZero;

use crate::features::Feature;
use crate::text::{cut, hexadecimal, number, split, split_once, strip_prefix};

/// The source of a root or a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSpec<'a> {
    /// The kind of name.
    pub kind: Kind,
    /// The name: a path, a tag, or a text for [`is_written`].
    pub name: &'a [u8],
    /// The UUID, its first digit the highest, or the device's number as from [`device_number`]; `None` for other kinds.
    pub number: Option<NonZero<u128>>,
    /// The number of the partition relative to the one with the UUID on the same disk (`PARTNROFF=`).
    pub offset: u32,
}

/// The kinds of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The UUID of a file system, or a FAT's serial number.
    Uuid,
    /// The label of a file system.
    Label,
    /// The UUID of a partition in a GPT, or an MSDOS disk's signature and the partition's number.
    PartUuid,
    /// The name of a partition in a GPT.
    PartLabel,
    /// The serial number of a disk.
    Serial,
    /// The path of a device, below /dev.
    Device,
    /// The tag of a directory that the host shares by virtiofs.
    Virtiofs,
    /// The tag of a directory that the host shares by 9P.
    P9,
    /// A tmpfs.
    Tmpfs,
    /// The number of a device: `MAJOR:MINOR` or hexadecimal.
    Number,
    /// The name of an NVMe subsystem, whose first namespace is the device.
    #[cfg(any(feature = "nvme-tcp", test))]
    Subsystem,
}

/// The prefixes of the kinds, except those of [`Kind::Tmpfs`], [`Kind::Number`] and `Subsystem`. An init without `device-names` has only the last ones.
pub const PREFIXES: &[u8] = if Feature::DeviceNames.is_enabled() {
    b"UUID= LABEL= PARTUUID= PARTLABEL= SERIAL= /dev/ virtiofs: 9p:"
} else {
    b"/dev/ virtiofs: 9p:"
};
/// The index of the first prefix's kind in [`Kind::IN_ORDER`].
const FIRST: usize = if Feature::DeviceNames.is_enabled() { 0 } else { 5 };

impl Kind {
    /// Returns the file system type that the kind implies; empty for a device.
    pub fn tag(self) -> &'static [u8] {
        match self {
            Self::Virtiofs => b"virtiofs",
            Self::P9 => b"9p",
            Self::Tmpfs => b"tmpfs",
            _ => b"",
        }
    }

    /// The kinds in the order of [`PREFIXES`] with every feature.
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

/// Parses the value of `root=`. Returns `None` if it has none of the forms. If `fstype` is `virtiofs` or `9p`, the value may be
/// the tag alone.
#[inline(never)]
pub fn parse<'a>(value: &'a [u8], fstype: &[u8]) -> Option<RootSpec<'a>> {
    let mut spec = RootSpec { kind: Kind::Number, name: value, number: None, offset: 0 };
    #[cfg(any(feature = "nvme-tcp", test))]
    if let Some(target) = strip_prefix(value, NVME_TCP) {
        (spec.kind, spec.name) = (Kind::Subsystem, split_once(target, b'/')?.1);
        return (!spec.name.is_empty()).then_some(spec);
    }
    for (index, prefix) in split(PREFIXES, b' ').enumerate() {
        let name = strip_prefix(value, prefix);
        if name.is_some() || strip_prefix(prefix, fstype).is_some_and(|rest| rest == b":") {
            spec.kind = Kind::IN_ORDER[(FIRST + index) & 7];
            spec.name = name.unwrap_or(value);
        }
    }
    if spec.kind == Kind::Device {
        // devtmpfs has no names with a leading dot. This excludes `.` and `..`.
        if split(spec.name, b'/').any(|part| matches!(part, [] | [b'.', ..])) {
            return None;
        }
        spec.name = value;
    }
    if Feature::DeviceNames.is_enabled()
        && spec.kind == Kind::PartUuid
        && let Some((uuid, offset)) = split_once(spec.name, b'/')
    {
        spec.offset = number(strip_prefix(offset, b"PARTNROFF=")?)?;
        spec.name = uuid;
    }
    if matches!(spec.kind, Kind::Uuid | Kind::PartUuid | Kind::Number) {
        let number = if spec.kind == Kind::Number { device_number(value) } else { None };
        spec.number = Some(number.or_else(|| hexadecimal(spec.name))?); // `b302` is the number of a device
    }
    (!spec.name.iter().all(|byte| *byte == b'"')).then_some(spec)
}

/// The start of a root over NVMe/TCP: `nvme-tcp:ADDRESS[:PORT]/NQN`.
const NVME_TCP: &[u8] = b"nvme-tcp:";

/// Returns address and port of a `Subsystem` in the value of `root=`, which the kernel checks. The default is the port for I/O that
/// IANA assigned.
pub fn target(value: &[u8]) -> (&[u8], &[u8]) {
    let (place, _) = cut(value.get(NVME_TCP.len()..).unwrap_or_default(), b'/');
    address_and_port(place, b"4420")
}

/// Returns the parts of `ADDRESS[:PORT]`.
pub(crate) fn address_and_port<'a>(place: &'a [u8], default: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let (address, port) = cut(place, b':');
    (address, if port.is_empty() { default } else { port })
}

/// Parses `MAJOR:MINOR` to the number of a device, as in `root=b302`: 12 bits of major between 12 and 8 bits of minor
/// (include/linux/kdev_t.h, new_encode_dev).
pub fn device_number(text: &[u8]) -> Option<NonZero<u128>> {
    let (major, minor) = split_once(text, b':')?;
    let (major, minor) = (number(major)?, number(minor)?);
    NonZero::new(u128::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)))
}

/// Whether `written`, from an option, is the name `name`, whose characters have `width` bytes each.
///
/// `written` may have any byte as `\x20`, as udev writes a space in the names of its links. Its quotes are ignored: the kernel
/// keeps quotes inside a value. NULs and spaces at the end of `name` are padding, and are ignored.
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

    /// Asserts the kind and the name of a value.
    #[track_caller]
    fn check(value: &str, expected: Option<(Kind, &str)>) {
        let spec = parse(value.as_bytes(), b"");
        assert_eq!(
            spec.map(|spec| (spec.kind, spec.name)),
            expected.map(|(kind, name)| (kind, name.as_bytes())),
            "{value}"
        );
    }

    /// Asserts the kind, the number and the offset of a value.
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
    fn device_numbers_are_as_in_the_kernel() {
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
    fn labels_serial_numbers_and_uuids_are_parsed() {
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
    fn a_partition_may_be_given_relative_to_another() {
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
    fn a_remote_root_is_the_name_of_its_subsystem() {
        for (value, nqn, address, port) in [
            ("nvme-tcp:10.0.0.1/nqn.2014-08.org.nvmexpress:x", "nqn.2014-08.org.nvmexpress:x", "10.0.0.1", "4420"),
            ("nvme-tcp:10.0.0.1:8009/a/b", "a/b", "10.0.0.1", "8009"),
        ] {
            check(value, Some((Kind::Subsystem, nqn)));
            assert_eq!(target(value.as_bytes()), (address.as_bytes(), port.as_bytes()));
        }
        for value in ["nvme-tcp:", "nvme-tcp:10.0.0.1", "nvme-tcp:10.0.0.1/", "nvme:10.0.0.1/nqn"] {
            check(value, None);
            let _ = target(value.as_bytes());
        }
    }

    #[test]
    fn a_tag_needs_no_prefix_if_its_type_is_given() {
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
    fn a_name_may_have_quotes_and_escapes() {
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
    fn a_utf16_name_matches_ascii() {
        let wide = |name: &str| name.encode_utf16().flat_map(u16::to_le_bytes).collect::<std::vec::Vec<u8>>();
        assert!(is_written(&wide("two words\0\0"), 2, br"two\x20words"));
        assert!(!is_written(&wide("two"), 2, b"two words"));
        assert!(!is_written(&wide("two words"), 2, b"two"));
        assert!(!is_written(&wide("\u{141}"), 2, b"A"), "U+0141 is 41 01");
        assert!(!is_written(b"two", 2, b"two"));
        assert!(!is_written(b"t", 2, b"t"));
    }

    #[test]
    fn quotes_inside_a_value_of_the_command_line_are_ignored() {
        for line in [r#"root=LABEL="two words" ro"#, r#""root=LABEL=two words" ro"#, r#"root="LABEL=two words" ro"#] {
            let mut line = line.as_bytes().to_vec();
            let value = crate::cmdline::decode(&mut line).0.lines().next().unwrap().value;
            let spec = parse(value, b"").unwrap();
            assert!(spec.kind == Kind::Label && is_written(b"two words", 1, spec.name));
        }
    }

    #[test]
    fn every_truncation_of_a_value_is_parsed_or_refused() {
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

    #[test]
    fn kinds_without_a_device_imply_a_file_system() {
        for (kind, tag) in [
            (Kind::Virtiofs, "virtiofs"),
            (Kind::P9, "9p"),
            (Kind::Tmpfs, "tmpfs"),
            (Kind::Device, ""),
            (Kind::Uuid, ""),
        ] {
            assert_eq!(kind.tag(), tag.as_bytes());
        }
    }
}
