//! One 512-byte header: its fields by offset, its checksum, its format (POSIX or GNU).

use super::{Entry, Kind, Problem, number};

/// Headers and contents come in blocks of this size.
pub(super) const BLOCK: usize = 512;

/// A header block with a correct checksum.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

/// The meaning of a header's type flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An entry of its own.
    Entry(Kind),
    /// A regular file with holes in GNU's old form (`S`).
    SparseFile,
    /// The name of the next entry (GNU `L`).
    LongName,
    /// The link target of the next entry (GNU `K`).
    LongLink,
    /// PAX records for the next entry (`x`, Solaris `X`).
    Records,
    /// PAX records for all entries that follow (`g`).
    GlobalRecords,
    /// Content to skip: a volume's label (`V`).
    Skip,
    /// The rest of a file from another volume (`M`).
    Continuation,
}

impl<'a> Header<'a> {
    /// Parses a block as a header if its checksum is correct.
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, Problem> {
        const CHECKSUM: std::ops::Range<usize> = 148..156;
        let stored = number::parse(&block[CHECKSUM]).ok_or(Problem::Checksum)?;
        // The field itself counts as eight spaces. Some old writers added the bytes as signed characters, which is 256
        // less for each byte that has the highest bit.
        let (before, after) = (&block[..CHECKSUM.start], &block[CHECKSUM.end..]);
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let unsigned = i64::from(sum(before) + sum(after) + 8 * u32::from(b' '));
        if stored == unsigned {
            return Ok(Self(block));
        }
        let high = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(byte >> 7)).sum::<u32>();
        let signed = unsigned - 256 * i64::from(high(before) + high(after));
        if stored == signed { Ok(Self(block)) } else { Err(Problem::Checksum) }
    }

    /// Returns the meaning of the type flag.
    pub(super) fn role(&self) -> Role {
        match self.0[156] {
            b'1' => Role::Entry(Kind::HardLink),
            b'2' => Role::Entry(Kind::Symlink),
            b'3' => Role::Entry(Kind::CharacterDevice),
            b'4' => Role::Entry(Kind::BlockDevice),
            // `D` is GNU's directory with a list of names as its content.
            b'5' | b'D' => Role::Entry(Kind::Directory),
            b'6' => Role::Entry(Kind::Fifo),
            b'L' => Role::LongName,
            b'K' => Role::LongLink,
            b'x' | b'X' => Role::Records,
            b'g' => Role::GlobalRecords,
            b'S' => Role::SparseFile,
            b'V' => Role::Skip,
            b'M' => Role::Continuation,
            // "If other values are encountered, the file shall be treated as a regular file" (POSIX, pax, typeflag).
            _ => Role::Entry(Kind::File),
        }
    }

    /// Returns the bytes of content after the header. POSIX has none for links, devices, directories and FIFOs, whatever
    /// the value of `size`. A GNU directory (`D`) has content.
    pub(super) fn content_size(&self) -> Result<u64, Problem> {
        match self.0[156] {
            b'1'..=b'6' => Ok(0),
            _ => unsigned(&self.0[124..136], "size"),
        }
    }

    /// Fills `entry` from the header's fields, for this kind of entry.
    pub(super) fn describe(&self, kind: Kind, entry: &mut Entry) -> Result<(), Problem> {
        entry.kind = kind;
        entry.path.clear();
        entry.link.clear();
        let prefix = self.prefix();
        if !prefix.is_empty() {
            entry.path.extend_from_slice(prefix);
            entry.path.push(b'/');
        }
        entry.path.extend_from_slice(text(&self.0[..100]));
        entry.link.extend_from_slice(text(&self.0[157..257]));
        let mode = number::parse(&self.0[100..108]).ok_or(Problem::Number("mode"))?;
        entry.mode = (mode & 0o7777) as u16; // the mask leaves 12 bits
        entry.uid = unsigned(&self.0[108..116], "uid")?;
        entry.gid = unsigned(&self.0[116..124], "gid")?;
        entry.mtime.seconds = number::parse(&self.0[136..148]).ok_or(Problem::Number("mtime"))?;
        entry.mtime.nanoseconds = 0;
        entry.device = match kind {
            Kind::CharacterDevice | Kind::BlockDevice => {
                (unsigned(&self.0[329..337], "devmajor")?, unsigned(&self.0[337..345], "devminor")?)
            }
            _ => (0, 0),
        };
        Ok(())
    }

    /// Returns the fields of GNU's old sparse form: four regions, whether more follow, and the file's real size.
    pub(super) fn sparse(&self) -> Result<(&'a [u8], bool, u64), Problem> {
        // star uses the same type flag, with other fields.
        if &self.0[257..265] != b"ustar  \0" {
            return Err(Problem::ForeignSparse);
        }
        Ok((&self.0[386..482], self.0[482] != 0, unsigned(&self.0[483..495], "realsize")?))
    }

    /// Returns ustar's separate directory part of the name. GNU uses these bytes for other fields.
    fn prefix(&self) -> &'a [u8] {
        let is_posix = &self.0[257..263] == b"ustar\0";
        if is_posix { text(&self.0[345..500]) } else { &[] }
    }
}

/// Returns a text field up to its first NUL, or all of it.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Parses a numeric field that must not be negative and must fit `T`.
pub(super) fn unsigned<T: TryFrom<i64>>(field: &[u8], name: &'static str) -> Result<T, Problem> {
    number::parse(field).and_then(|value| T::try_from(value).ok()).ok_or(Problem::Number(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..5].copy_from_slice(b"hello");
        block[100..108].copy_from_slice(b"0100644\0");
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        block
    }

    fn seal(block: &mut [u8; BLOCK]) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn the_signed_and_the_unsigned_sum_are_accepted() {
        let mut block = header();
        block[0] = 0xe9; // latin-1: the sums differ
        seal(&mut block);
        assert!(Header::parse(&block).is_ok());
        let sum = i64::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
        block[148..154].copy_from_slice(format!("{:06o}", sum - 256).as_bytes());
        assert!(Header::parse(&block).is_ok());
        block[148..154].copy_from_slice(format!("{:06o}", sum - 255).as_bytes());
        assert!(matches!(Header::parse(&block), Err(Problem::Checksum)));
    }

    #[test]
    fn every_changed_byte_breaks_the_checksum() {
        for position in 0..BLOCK {
            let mut block = header();
            block[position] ^= 0x11;
            // The bytes after the sum's digits are blanks; any other byte makes the field invalid.
            let accepted = Header::parse(&block).is_ok();
            assert!(!accepted, "byte {position}");
        }
    }

    #[test]
    fn the_prefix_is_used_for_posix_and_not_for_gnu() {
        let mut entry = Entry::default();
        let mut block = header();
        block[345..348].copy_from_slice(b"usr");
        seal(&mut block);
        Header::parse(&block).unwrap().describe(Kind::File, &mut entry).unwrap();
        assert_eq!((entry.path.as_slice(), entry.mode), (&b"usr/hello"[..], 0o644));
        block[257..265].copy_from_slice(b"ustar  \0");
        seal(&mut block);
        Header::parse(&block).unwrap().describe(Kind::File, &mut entry).unwrap();
        assert_eq!(entry.path, b"hello");
    }

    #[test]
    fn a_bad_number_names_its_field() {
        let mut block = header();
        block[108..116].copy_from_slice(b"nobody\0\0");
        seal(&mut block);
        let result = Header::parse(&block).unwrap().describe(Kind::File, &mut Entry::default());
        assert_eq!(result, Err(Problem::Number("uid")));
    }
}
