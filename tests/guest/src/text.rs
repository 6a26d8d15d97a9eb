//! Parsing and printing of lines, without core::fmt.

use crate::kernel;

/// A line for the console; text past its end is dropped.
pub(crate) struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 512], length: 0 }
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
                self.length += 1;
            }
        }
        self
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        // 2^64 has 20 digits.
        let mut digits = [0; 20];
        let mut rest = number;
        let mut start = digits.len();
        while let Some(place) = start.checked_sub(1).and_then(|at| digits.get_mut(at)) {
            start -= 1;
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes(digits.get(start..).unwrap_or_default())
    }

    pub(crate) fn address(&mut self, address: [u8; 4]) -> &mut Self {
        let mut separator = "";
        for byte in address {
            self.text(separator).number(byte.into());
            separator = ".";
        }
        self
    }

    pub(crate) fn print(&mut self) {
        self.text("\n");
        kernel::write_console(self.bytes.get(..self.length).unwrap_or_default());
    }
}

/// Splits a text into lines, without empty ones.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Returns a word of a line, counted from 0.
pub(crate) fn word(line: &[u8], index: usize) -> Option<&[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).nth(index)
}

/// Parses a decimal number.
pub(crate) fn number(word: &[u8]) -> Option<u64> {
    word.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}
