//! PAX records: `length key=value newline`, where `length` counts the whole record (POSIX, pax, "Extended Header").
//!
//! Values are bytes and may hold newlines: the length alone ends a record. An empty value cancels the value of a global
//! header. Only keys that apply to an image are read; the rest (atime, comment, uname, …) is skipped.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::acl::{self, Acl};
use super::sparse::{self, Region};
use super::{Attribute, Entry, Problem, Time};

/// libarchive leaves out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// More attributes than this are refused: ext4 has room for 4 KiB of them.
const MAX_ATTRIBUTES: usize = 1024;

/// The values of the records read so far.
#[derive(Clone, Default)]
pub(super) struct Records {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    attributes: Vec<Attribute>,
    /// Attributes in the form of text, as ACLs: used where there is no raw one of that name. `None`: it cannot be converted.
    texts: Vec<(&'static [u8], Option<Vec<u8>>)>,
    /// Bytes stored in the archive.
    pub(super) size: Option<u64>,
    /// The file has holes.
    pub(super) sparse: Option<Sparse>,
}

/// The `GNU.sparse.*` records of one file.
#[derive(Clone, Default)]
pub(super) struct Sparse {
    pub(super) real_size: Option<u64>,
    pub(super) regions: Vec<Region>,
    /// Form 1.0: the regions come as text before the content.
    pub(super) map_in_content: bool,
    /// The file's name; `path` then holds a substitute for programs that do not know these records.
    name: Option<Vec<u8>>,
    offset: Option<u64>,
}

impl Records {
    /// Reads all records of one extended header.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while !bytes.is_empty() {
            let (key, value, rest) = split(bytes).ok_or(Problem::PaxRecord)?;
            self.set(key, value)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Overrides the header's values by the records.
    pub(super) fn apply(&mut self, entry: &mut Entry) {
        let sparse_name = self.sparse.as_mut().and_then(|sparse| sparse.name.take());
        if let Some(path) = sparse_name.or(self.path.take()) {
            entry.path = path;
        }
        if let Some(link) = self.link.take() {
            entry.link = link;
        }
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.attributes.clear();
        entry.attributes.append(&mut self.attributes);
        entry.text_acls = 0;
        for (name, value) in self.texts.drain(..) {
            match value {
                _ if entry.attributes.iter().any(|attribute| attribute.0 == name) => {}
                Some(value) => entry.attributes.push((name.to_vec(), value)),
                None => entry.text_acls += 1,
            }
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        match key {
            b"path" => self.path = some(value),
            b"linkpath" => self.link = some(value),
            b"size" => self.size = number(value, "size")?.map(i64::unsigned_abs), // so that padding it cannot overflow
            b"uid" => self.uid = number(value, "uid")?,
            b"gid" => self.gid = number(value, "gid")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or(Problem::PaxValue("mtime"))?),
            // GNU tar --selinux leaves out the NUL that setfilecon(3) stores.
            b"RHT.security.selinux" => self.set_text(b"security.selinux", Some([value, b"\0"].concat())),
            b"SCHILY.acl.access" | b"SCHILY.acl.default" if value.is_empty() => {}
            b"SCHILY.acl.access" => match acl::parse(value) {
                Some(Acl::Minimal(_)) => {}
                Some(Acl::Extended(acl)) => self.set_text(b"system.posix_acl_access", Some(acl)),
                None => self.set_text(b"system.posix_acl_access", None),
            },
            b"SCHILY.acl.default" => {
                let acl = acl::parse(value).map(|(Acl::Extended(acl) | Acl::Minimal(acl))| acl);
                self.set_text(b"system.posix_acl_default", acl);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.set_attribute(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    // libarchive writes both forms; this one alone only for names that hold `=`.
                    let name = percent_decoded(name);
                    let value = BASE64.decode(value).map_err(|_| Problem::PaxValue("LIBARCHIVE.xattr"))?;
                    self.set_attribute(&name, &value)?;
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.set_sparse(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn set_attribute(&mut self, name: &[u8], value: &[u8]) -> Result<(), Problem> {
        self.attributes.retain(|attribute| attribute.0 != name);
        if self.attributes.len() == MAX_ATTRIBUTES {
            return Err(Problem::TooManyAttributes);
        }
        self.attributes.push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn set_text(&mut self, name: &'static [u8], value: Option<Vec<u8>>) {
        self.texts.retain(|text| text.0 != name);
        self.texts.push((name, value));
    }

    fn set_sparse(&mut self, name: &[u8], value: &[u8]) -> Result<(), Problem> {
        const KEY: &str = "GNU.sparse";
        let sparse = self.sparse.get_or_insert_default();
        match name {
            b"size" | b"realsize" => sparse.real_size = number(value, KEY)?,
            b"major" => sparse.map_in_content = number(value, KEY)? == Some(1_u64),
            b"name" => sparse.name = some(value),
            b"offset" => sparse.offset = number(value, KEY)?,
            b"numbytes" => {
                let offset = sparse.offset.take().ok_or(Problem::SparseMap)?;
                let length = number(value, KEY)?.ok_or(Problem::SparseMap)?;
                sparse::push(&mut sparse.regions, Region { offset, length })?;
            }
            b"map" => {
                sparse.regions.clear();
                let mut numbers = value.split(|byte| *byte == b',');
                while let Some(offset) = numbers.next() {
                    let offset = number(offset, KEY)?.ok_or(Problem::SparseMap)?;
                    let length = numbers.next().ok_or(Problem::SparseMap)?;
                    let length = number(length, KEY)?.ok_or(Problem::SparseMap)?;
                    sparse::push(&mut sparse.regions, Region { offset, length })?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Splits off the first record. Returns its key, its value and the rest.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?; // 20 digits hold any u64
    let length: usize = decimal(bytes.get(..space)?)?.try_into().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((record.get(..equals)?, record.get(equals + 1..)?, rest))
}

/// Decodes a percent-encoded name (`%3D` is `=`).
fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8); // two digits
                rest = &after[2..];
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

fn some(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

/// Parses a number that fits `T`; `None` for the empty value.
fn number<T: TryFrom<u64>>(value: &[u8], key: &'static str) -> Result<Option<T>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    let value = decimal(value).and_then(|value| T::try_from(value).ok());
    value.map(Some).ok_or(Problem::PaxValue(key))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Parses decimal seconds with an optional fraction and an optional exponent, as Python writes small numbers (`1e-05`); digits
/// after the ninth are dropped. -1.25 is 0.75 s after -2.
fn time(value: &[u8]) -> Option<Time> {
    const MAX_EXPONENT: i64 = 40;
    let (is_negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mantissa = parts.next()?;
    let exponent: i64 = match parts.next() {
        None => 0,
        Some(text) => match text.split_first()? {
            (b'-', digits) => -i64::try_from(decimal(digits)?).ok()?,
            (b'+', digits) => i64::try_from(decimal(digits)?).ok()?,
            _ => i64::try_from(decimal(text)?).ok()?,
        },
    };
    let mut parts = mantissa.splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or(b""));
    if whole.is_empty() || exponent > MAX_EXPONENT {
        return None;
    }
    // The digits with the point moved by the exponent: up to nine after it count.
    let digits: Vec<u8> = whole.iter().chain(fraction).copied().collect();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let point = whole.len() as i64 + exponent;
    let digit =
        |index: i64| usize::try_from(index).ok().and_then(|index| digits.get(index)).map_or(b'0', |digit| *digit);
    let seconds: Vec<u8> = (0..point.max(1)).map(|index| if point < 1 { b'0' } else { digit(index) }).collect();
    let nanoseconds: Vec<u8> = (point..point + 9).map(digit).collect();
    let seconds = i64::try_from(decimal(&seconds)?).ok()?;
    let nanoseconds = u32::try_from(decimal(&nanoseconds)?).ok()?;
    Some(match (is_negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(bytes: &[u8]) -> Result<Entry, Problem> {
        let mut records = Records::default();
        records.read(bytes)?;
        let mut entry = Entry::default();
        records.apply(&mut entry);
        Ok(entry)
    }

    #[test]
    fn records_override_and_values_may_hold_newlines() {
        let entry = apply(b"14 path=a\nb=c\n18 uid=4294967295\n34 SCHILY.xattr.user.k=\x00\n9 x=y\n\xff\n\n").unwrap();
        assert_eq!(entry.path, b"a\nb=c");
        assert_eq!(entry.uid, u32::MAX);
        assert_eq!(entry.attributes, [(b"user.k".to_vec(), b"\x00\n9 x=y\n\xff\n".to_vec())]);
    }

    fn record(key: &str, value: &str) -> Vec<u8> {
        let rest = format!(" {key}={value}\n");
        let length = rest.len() + 2 + usize::from(rest.len() > 97);
        format!("{length}{rest}").into_bytes()
    }

    #[test]
    fn attributes_of_all_writers_are_read() {
        let entry = apply(
            &[
                record("LIBARCHIVE.xattr.user.a%3Db%25", "AAECPQ"),
                record("LIBARCHIVE.xattr.user.c", "dmFsdWU="),
                record("SCHILY.xattr.user.d", "raw"),
                record("RHT.security.selinux", "system_u:object_r:etc_t:s0"),
            ]
            .concat(),
        )
        .unwrap();
        let attribute = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        assert_eq!(
            entry.attributes,
            [
                attribute(b"user.a=b%", b"\0\x01\x02="),
                attribute(b"user.c", b"value"),
                attribute(b"user.d", b"raw"),
                attribute(b"security.selinux", b"system_u:object_r:etc_t:s0\0"),
            ]
        );
        let error = apply(&record("LIBARCHIVE.xattr.user.a", "!"));
        assert_eq!(error, Err(Problem::PaxValue("LIBARCHIVE.xattr")));
    }

    #[test]
    fn acls_as_text_become_attributes_or_are_counted() {
        let entry = apply(
            &[
                record("SCHILY.acl.access", "user::rw-,user:5:r--,group::r--,mask::r--,other::---"),
                record("SCHILY.acl.default", "user::rw-,group::r--,other::---"),
            ]
            .concat(),
        )
        .unwrap();
        let names: Vec<&[u8]> = entry.attributes.iter().map(|(name, _)| name.as_slice()).collect();
        assert_eq!(names, [&b"system.posix_acl_access"[..], b"system.posix_acl_default"]);
        assert_eq!(entry.text_acls, 0);
        let entry =
            apply(&record("SCHILY.acl.access", "user::rw-,user:alice:r--,group::r--,mask::r--,other::---")).unwrap();
        assert_eq!((entry.attributes.len(), entry.text_acls), (0, 1));
        let entry = apply(&record("SCHILY.acl.access", "user::rw-,group::r--,other::---")).unwrap();
        assert_eq!((entry.attributes.len(), entry.text_acls), (0, 0));
    }

    #[test]
    fn an_attribute_beside_its_text_is_one() {
        let raw = record("SCHILY.xattr.system.posix_acl_access", "raw");
        let label = record("SCHILY.xattr.security.selinux", "label");
        for text in [
            record("SCHILY.acl.access", "user::rw-,user:5:r--,group::r--,mask::r--,other::---"),
            record("SCHILY.acl.access", "user::rw-,user:alice:r--,group::r--,mask::r--,other::---"),
            record("SCHILY.acl.access", "user::rw-,group::r--,other::---"),
        ] {
            for records in [[&raw[..], &text].concat(), [&text[..], &raw].concat()] {
                let entry = apply(&records).unwrap();
                assert_eq!(entry.attributes, [(b"system.posix_acl_access".to_vec(), b"raw".to_vec())]);
                assert_eq!(entry.text_acls, 0);
            }
        }
        let entry = apply(&[label, record("RHT.security.selinux", "label")].concat()).unwrap();
        assert_eq!(entry.attributes, [(b"security.selinux".to_vec(), b"label".to_vec())]);
    }

    #[test]
    fn an_empty_value_cancels_an_earlier_one() {
        assert_eq!(apply(b"9 path=a\n8 path=\n").unwrap().path, b"");
    }

    #[test]
    fn times_round_down() {
        for (text, seconds, nanoseconds) in [
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("5", 5, 0),
            ("5.1", 5, 100_000_000),
            ("0.1234567899", 0, 123_456_789),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
            ("-0.5", -1, 500_000_000),
            ("5.", 5, 0),
            ("1e-05", 0, 10_000),
            ("-1e-05", -1, 999_990_000),
            ("1.5e-3", 0, 1_500_000),
            ("1.7e+09", 1_700_000_000, 0),
            ("1.7000000001234567E9", 1_700_000_000, 123_456_700),
            ("12345e-2", 123, 450_000_000),
            ("1e-400", 0, 0),
        ] {
            assert_eq!(time(text.as_bytes()), Some(Time { seconds, nanoseconds }), "{text}");
        }
        for text in
            ["", ".", "-", "1.x", "--1", "99999999999999999999", "1e", "1e+", "1e40", "1e99999", "e5", "nan", "inf"]
        {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in
            ["8 path=a\n", "11 path=a\n", "9 path=a ", "path=a\n", "8 patha\n", "0 path=a\n", "9path=aa\n", "9"]
        {
            assert!(matches!(apply(bytes.as_bytes()), Err(Problem::PaxRecord)), "{bytes:?}");
        }
        for (bytes, key) in [("8 uid=x\n", "uid"), ("18 gid=4294967296\n", "gid"), ("8 size=\n11 size=-1\n", "size")] {
            assert_eq!(apply(bytes.as_bytes()), Err(Problem::PaxValue(key)), "{bytes:?}");
        }
    }

    #[test]
    fn the_name_of_a_sparse_file_wins_in_any_order() {
        let (name, path) = (record("GNU.sparse.name", "real"), record("path", "./GNUSparseFile.1/real"));
        for records in [[&name[..], &path].concat(), [&path[..], &name].concat()] {
            assert_eq!(apply(&records).unwrap().path, b"real");
        }
        assert_eq!(apply(&[record("GNU.sparse.name", ""), path].concat()).unwrap().path, b"./GNUSparseFile.1/real");
    }

    #[test]
    fn sparse_maps_of_forms_0_0_and_0_1_agree() {
        let read = |text: &str| {
            let mut bytes = Vec::new();
            for line in text.lines() {
                // Two digits of length and a space, for records this short.
                bytes.extend(format!("{} {line}\n", line.len() + 4).bytes());
            }
            let mut records = Records::default();
            records.read(&bytes).unwrap();
            records.sparse.unwrap()
        };
        let pairs = read(
            "GNU.sparse.size=9000\nGNU.sparse.numblocks=2\nGNU.sparse.offset=0\nGNU.sparse.numbytes=5\n\
             GNU.sparse.offset=8000\nGNU.sparse.numbytes=7",
        );
        let list = read("GNU.sparse.size=9000\nGNU.sparse.map=0,5,8000,7");
        assert_eq!(pairs.regions, list.regions);
        assert_eq!((pairs.real_size, list.real_size, list.map_in_content), (Some(9000), Some(9000), false));
    }
}
