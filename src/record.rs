//! The run record, `whit.conf`. mkraw and mkcpio write it from an image's configuration, so that the init needs no JSON parser.
//!
//! Each line is `key value`; the value extends to the end of the line. `\n` and `\\` are the only escapes. A repeated key
//! appends. Empty lines and lines that begin with `#` are skipped.

use crate::text::{Split, cut, split};

/// The limit of a record, in bytes: it must be shorter.
pub const MAX_RECORD: usize = 16 * 1024;

/// A decoded record, in the buffer that it was read into.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// The decoded lines, separated by NULs: a value may contain a newline.
    text: &'a [u8],
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number in the file, from 1.
    pub number: u32,
    /// Its key; empty if the line is malformed (no key, an unknown escape, or a NUL).
    pub key: &'a [u8],
    /// Its value; empty if it has none.
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Creates a record from decoded lines, separated by NULs.
    pub const fn decoded(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// Decodes the bytes of a file in place.
    pub fn decode(buffer: &'a mut [u8]) -> Self {
        let mut written = 0usize;
        let mut line_start = 0usize;
        let mut malformed = false;
        let mut read = 0usize;
        loop {
            let byte = buffer.get(read).copied();
            read += 1;
            let decoded = match byte {
                None | Some(b'\n') => {
                    // A malformed line gets a leading space: it has no key then.
                    if let (true, Some(first)) = (malformed, buffer.get_mut(line_start)) {
                        *first = b' ';
                    }
                    if byte.is_none() {
                        break;
                    }
                    malformed = false;
                    line_start = written + 1;
                    0
                }
                Some(b'\\') => match buffer.get(read) {
                    Some(b'n') => {
                        read += 1;
                        b'\n'
                    }
                    Some(b'\\') => {
                        read += 1;
                        b'\\'
                    }
                    _ => {
                        malformed = true;
                        b'\\'
                    }
                },
                Some(0) => {
                    malformed = true;
                    b'?'
                }
                Some(byte) => byte,
            };
            if let Some(place) = buffer.get_mut(written) {
                *place = decoded;
            }
            written += 1;
        }
        Self { text: buffer.get(..written).unwrap_or_default() }
    }

    /// Returns the texts of the lines: a key, and after a space its value.
    pub fn words(&self) -> Split<'a> {
        split(self.text, 0)
    }

    /// Returns the lines, malformed ones included, without empty lines and comments.
    pub fn lines(&self) -> Lines<'a> {
        Lines { rest: split(self.text, 0), number: 0 }
    }
}

/// The iterator of [`Record::lines`].
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    rest: Split<'a>,
    number: u32,
}

impl<'a> Lines<'a> {
    /// Returns the next line, even an empty one or a comment. No line follows the last NUL.
    pub(crate) fn whole(&mut self) -> Option<&'a [u8]> {
        self.number = self.number.wrapping_add(1);
        self.rest.next().filter(|line| !(line.is_empty() && self.rest.is_done()))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        loop {
            let line = self.whole()?;
            if !matches!(line, [] | [b'#', ..]) {
                let (key, value) = cut(line, b' ');
                return Some(Line { number: self.number, key, value });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// Returns number, key and value of each line; the number alone of a malformed one.
    fn lines(text: &str) -> Vec<(u32, Option<(Vec<u8>, Vec<u8>)>)> {
        let mut buffer = text.as_bytes().to_vec();
        let entry = |line: &Line<'_>| (!line.key.is_empty()).then(|| (line.key.to_vec(), line.value.to_vec()));
        Record::decode(&mut buffer).lines().map(|line| (line.number, entry(&line))).collect()
    }

    fn line(number: u32, key: &str, value: &str) -> (u32, Option<(Vec<u8>, Vec<u8>)>) {
        (number, Some((key.into(), value.into())))
    }

    #[test]
    fn values_extend_to_the_end_of_the_line() {
        assert_eq!(
            lines("# made by mkraw\n\nentrypoint /bin/sh\nentrypoint -c\ncmd echo \"a  b\" \ncmd \ngrow\nenv A=b=c"),
            [
                line(3, "entrypoint", "/bin/sh"),
                line(4, "entrypoint", "-c"),
                line(5, "cmd", "echo \"a  b\" "),
                line(6, "cmd", ""),
                line(7, "grow", ""),
                line(8, "env", "A=b=c"),
            ]
        );
    }

    #[test]
    fn newlines_and_backslashes_are_escaped() {
        assert_eq!(lines("cmd a\\nb\\\\n\\\\\nuser u\n"), [line(1, "cmd", "a\nb\\n\\"), line(2, "user", "u")]);
    }

    #[test]
    fn a_malformed_line_does_not_affect_the_others() {
        for bad in ["cmd \\t", "cmd \\", "cmd a\0b", " cmd a", " ", "\\nx y\\q"] {
            let text = std::format!("user u\n{bad}\ncmd c");
            assert_eq!(lines(&text), [line(1, "user", "u"), (2, None), line(3, "cmd", "c")], "{bad:?}");
            assert_eq!(lines(bad), [(1, None)], "{bad:?}");
        }
    }

    #[test]
    fn every_truncation_is_decoded() {
        let text = b"entrypoint /bin/sh\\n\ncmd \\\\ \n#x\nenv A=b";
        for end in 0..=text.len() {
            let mut buffer = text[..end].to_vec();
            assert!(Record::decode(&mut buffer).lines().count() <= 3);
        }
    }
}
