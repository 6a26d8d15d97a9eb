//! Text for people: what goes into a message, made safe to print.

use ufmt::{Formatter, uDisplay, uWrite};

/// Bytes from outside (a command line, a server) as printable ASCII; anything else is shown as `?`.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

impl uDisplay for Text<'_> {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        for byte in self.0 {
            let shown = if matches!(byte, b' '..=b'~') { *byte } else { b'?' };
            f.write_char(char::from(shown))?;
        }
        Ok(())
    }
}

/// Text in bounded storage; what does not fit is cut.
#[derive(Default)]
pub struct Buffer<const SIZE: usize>(pub heapless::Vec<u8, SIZE>);

impl<const SIZE: usize> uWrite for Buffer<SIZE> {
    type Error = core::convert::Infallible;

    // Every message is made of calls to this: inlined it would be the largest part of the init.
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
        for byte in text.bytes() {
            let _ = self.0.push(byte);
        }
        Ok(())
    }
}

/// Decimal digits, and nothing else, as a number; `None` when there are none, others, or too many.
pub fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

/// Splits at the first `separator`; `None` when there is none.
pub fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == separator)?;
    let (before, after) = text.split_at_checked(position)?;
    Some((before, after.split_first()?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_command_a_terminal() {
        let mut shown = Buffer::<64>::default();
        ufmt::uwrite!(shown, "{}", Text(b"bye\n\x1b[31m\xff")).unwrap();
        assert_eq!(shown.0, b"bye??[31m?");
    }

    #[test]
    fn text_that_does_not_fit_is_cut() {
        let mut shown = Buffer::<4>::default();
        ufmt::uwrite!(shown, "{} and more", 12).unwrap();
        assert_eq!(shown.0, b"12 a");
    }

    #[test]
    fn numbers_are_digits_and_fit() {
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
    }
}
