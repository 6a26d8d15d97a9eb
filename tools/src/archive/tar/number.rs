//! The numeric fields of a header: octal text, or GNU's base-256 when the first bit is set.

/// Parses a numeric field. An empty field is 0: some headers leave unused fields empty.
///
/// Octal digits may have spaces or NULs before them and must have only those after them. Base-256 is a big-endian
/// two's complement number. Its top bit marks the encoding, the next bit is the sign.
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => parse_binary(*first, field.get(1..)?),
        _ => parse_octal(field),
    }
}

fn parse_binary(first: u8, rest: &[u8]) -> Option<i64> {
    // Bit 6 is the sign. Shifting left, then right (arithmetic), drops the mark and copies the sign into bit 7.
    let start = i64::from(((first << 1) as i8) >> 1);
    rest.iter().try_fold(start, |value, byte| Some(value.checked_mul(256)? | i64::from(*byte)))
}

fn parse_octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let text = field.get(start..)?;
    let end = text.iter().position(blank).unwrap_or(text.len());
    let (digits, after) = text.split_at_checked(end)?;
    if !after.iter().all(blank) {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn octal_numbers_parse_with_every_known_padding() {
        for field in
            [&b"0000644\0"[..], b"000644 \0", b"   644 \0", b"    644\0", b"644     ", b"\0\x000644\0 ", b"00000644"]
        {
            assert_eq!(parse(field), Some(0o644), "{}", field.escape_ascii());
        }
        assert_eq!(parse(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(parse(b"        "), Some(0));
        assert_eq!(parse(b"77777777777\0"), Some((1 << 33) - 1));
    }

    #[test]
    fn base_256_is_twos_complement() {
        // As GNU tar writes 2^33 bytes, uid 2097152 and the mtime -1.
        assert_eq!(parse(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(1 << 33));
        assert_eq!(parse(b"\x80\0\0\0\0\x20\0\0"), Some(2_097_152));
        assert_eq!(parse(&[0xff; 12]), Some(-1));
        assert_eq!(parse(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff"), Some(-257));
        assert_eq!(parse(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
    }

    #[test]
    fn invalid_and_too_large_numbers_are_refused() {
        for field in [&b"0000648\0"[..], b"-000001\0", b"12 34 \0\0", b"0x1ff\0\0\0", b"\x80\0\0\0\x80\0\0\0\0\0\0\0"] {
            assert_eq!(parse(field), None, "{}", field.escape_ascii());
        }
    }
}
