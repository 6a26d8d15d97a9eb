//! Texts: safe display of foreign bytes, numbers, and splitting.

use core::num::NonZero;

use ufmt::{Formatter, uDisplay, uWrite};

/// Bytes from outside (a command line, a server, a disk), displayed as printable ASCII. NULs, which pad a field, are skipped; any
/// other byte is displayed as `?`.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

impl uDisplay for Text<'_> {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        for byte in self.0.iter().filter(|byte| **byte != 0) {
            let shown = if matches!(byte, b' '..=b'~') { *byte } else { b'?' };
            f.write_char(char::from(shown))?;
        }
        Ok(())
    }
}

/// Parses decimal digits. Returns `None` for an empty text, any other byte, or a number of more than 32 bits.
pub fn number(digits: &[u8]) -> Option<u32> {
    long_number(digits)?.try_into().ok()
}

/// Parses decimal digits, as [`number`], up to 64 bits.
pub fn long_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Parses hexadecimal digits of either case; dashes and quotes are ignored. Returns `None` for 0, any other byte, or a number of
/// more than 128 bits.
pub fn hexadecimal(digits: &[u8]) -> Option<NonZero<u128>> {
    let mut value = 0u128;
    for digit in digits.iter().filter(|digit| !matches!(digit, b'-' | b'"')) {
        let digit = char::from(*digit).to_digit(16).filter(|_| value >> 124 == 0)?;
        value = value << 4 | u128::from(digit);
    }
    NonZero::new(value)
}

/// The parts of a text between separators, as from `slice::split`: empty parts are returned, and one part for an empty text. The
/// separator is a value, not a closure, so that every caller shares one function.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

/// Splits a text at every `separator`.
pub fn split(text: &[u8], separator: u8) -> Split<'_> {
    Split { rest: Some(text), separator }
}

impl<'a> Split<'a> {
    /// Whether all parts have been returned.
    pub fn is_done(&self) -> bool {
        self.rest.is_none()
    }

    /// Returns the rest of the text, which is not split yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.unwrap_or_default()
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    #[inline(never)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (part, after) = match split_once(rest, self.separator) {
            Some((part, after)) => (part, Some(after)),
            None => (rest, None),
        };
        self.rest = after;
        Some(part)
    }

    /// The generic function is longer.
    #[inline(never)]
    fn nth(&mut self, mut place: usize) -> Option<&'a [u8]> {
        while place > 0 {
            self.next()?;
            place -= 1;
        }
        self.next()
    }
}

/// Returns the text at an index of a comma-separated list; empty past its end. Such a list is smaller than a table, which has a
/// pointer and a length for each text.
#[inline(never)]
pub fn nth(texts: &[u8], place: usize) -> &[u8] {
    split(texts, b',').nth(place).unwrap_or_default()
}

/// Returns the index of a part of a text between separators.
#[inline(never)]
pub fn position(text: &[u8], separator: u8, wanted: &[u8]) -> Option<u32> {
    split(text, separator).position(|part| part == wanted).map(|place| place as u32)
}

/// Returns the text after a prefix. (core's function is generic over the prefix: the length of each literal makes a copy.)
#[inline(never)]
pub fn strip_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(prefix)
}

/// Returns the rest of the first text that starts with `key`. Each text ends with `end`.
#[cfg_attr(feature = "hardware", inline(never))]
pub fn value_in<'a>(texts: &'a [u8], end: u8, key: &[u8]) -> Option<&'a [u8]> {
    split(texts, end).find_map(|text| strip_prefix(text, key))
}

/// Splits at the first `separator`. Without one, the second part is empty.
#[inline(never)]
pub fn cut(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == separator) {
        Some(end) => (text.get(..end).unwrap_or_default(), text.get(end.wrapping_add(1)..).unwrap_or_default()),
        None => (text, b""),
    }
}

/// Splits at the first `separator`; `None` without one.
pub fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == separator)?;
    let (before, after) = text.split_at_checked(position)?;
    Some((before, after.split_first()?.1))
}

#[cfg(test)]
pub(crate) mod tests {
    extern crate std;
    use super::*;
    use std::string::String;

    /// Returns the text of a value.
    pub(crate) fn shown(value: &impl uDisplay) -> String {
        let mut text = String::new();
        let Ok(()) = ufmt::uwrite!(Written(&mut text), "{}", value);
        text
    }

    struct Written<'a>(&'a mut String);

    impl uWrite for Written<'_> {
        type Error = core::convert::Infallible;
        fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
            self.0.push_str(text);
            Ok(())
        }
    }

    #[derive(Default)]
    struct Buffer(crate::bounded::Vec<u8, 64>);

    impl uWrite for Buffer {
        type Error = ();

        fn write_str(&mut self, text: &str) -> Result<(), ()> {
            self.0.extend_from_slice(text.as_bytes()).map_err(drop)
        }
    }

    #[test]
    fn foreign_text_cannot_control_a_terminal() {
        let mut shown = Buffer::default();
        ufmt::uwrite!(shown, "{}", Text(b"bye\n\x1b[31m\xff")).unwrap();
        assert_eq!(shown.0, b"bye??[31m?");
    }

    #[test]
    fn padding_is_not_displayed() {
        let mut shown = Buffer::default();
        ufmt::uwrite!(shown, "{}", Text(b"x\0f\0s\0\0")).unwrap();
        assert_eq!(shown.0, b"xfs");
    }

    #[test]
    fn parts_are_as_from_slice_split() {
        for text in ["", ":", "a", "a:", ":a", "a::b:c", "::"] {
            assert!(split(text.as_bytes(), b':').eq(text.as_bytes().split(|byte| *byte == b':')), "{text:?}");
        }
    }

    #[test]
    fn a_text_is_cut_at_its_first_separator() {
        for (text, before, after) in
            [("a:b:c", "a", "b:c"), (":a", "", "a"), ("a:", "a", ""), ("a", "a", ""), ("", "", "")]
        {
            assert_eq!(cut(text.as_bytes(), b':'), (before.as_bytes(), after.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn only_whole_parts_are_found() {
        for (text, wanted, place) in [
            ("a bc d", "bc", Some(1)),
            ("a bc d", "b", None),
            ("a", "a", Some(0)),
            ("a", "", None),
            ("a ", "", Some(1)),
        ] {
            assert_eq!(position(text.as_bytes(), b' ', wanted.as_bytes()), place, "{wanted:?} in {text:?}");
        }
    }

    #[test]
    fn numbers_have_only_digits_and_fit() {
        for (text, value) in [
            ("0", Some(0)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("", None),
            ("-1", None),
            ("1 ", None),
            ("+1", None),
        ] {
            assert_eq!(number(text.as_bytes()), value, "{text:?}");
        }
        assert_eq!(long_number(b"4294967296"), Some(1 << 32));
        assert_eq!(long_number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(long_number(b"18446744073709551616"), None);
    }

    #[test]
    fn hexadecimal_numbers_have_only_digits_and_fit() {
        for (text, value) in [
            ("1", Some(1)),
            ("b302", Some(0xb302)),
            ("1A2b-3C4d", Some(0x1a2b_3c4d)),
            ("\"1A2b-3C4d\"", Some(0x1a2b_3c4d)),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", Some(u128::MAX)),
            ("00000000000000000000000000000000001", Some(1)),
            ("1ffffffff-ffff-ffff-ffff-ffffffffffff", None),
            ("0", None),
            ("", None),
            ("-", None),
            ("0x1", None),
            ("g", None),
            ("1 ", None),
            ("+1", None),
        ] {
            assert_eq!(hexadecimal(text.as_bytes()).map(NonZero::get), value, "{text:?}");
        }
    }
}
