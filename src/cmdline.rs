//! The kernel command line, word by word (lib/cmdline.c, `next_arg`).
//!
//! Words are split at white space outside double quotes; the first `=` behind the first byte splits a word into key
//! and value; quotes around the whole word or around the value are dropped, any others stay. There is no escape.

use crate::text::{split_once, strip_prefix};

/// Bytes of a command line that are read. x86-64 and arm64 pass 2048 at most (COMMAND_LINE_SIZE).
pub const MAX_COMMAND_LINE: usize = 4096;

/// One word: `key` or `key=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// What stands before the first `=`, or the whole word.
    pub key: &'a [u8],
    /// What stands behind it, without quotes.
    pub value: Option<&'a [u8]>,
    /// It stands behind the first `--`; a second one is such a word itself.
    pub is_argument: bool,
}

/// The words of a line, but for the first `--`: what stands behind it is for the entrypoint.
pub fn words(command_line: &[u8]) -> Words<'_> {
    Words { line: command_line, arguments: false }
}

/// What [`words`] returns.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    line: &'a [u8],
    arguments: bool,
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            let line = self.line.trim_ascii_start();
            if line.is_empty() {
                return None;
            }
            let (mut word, rest) = split_word(line);
            self.line = rest;
            word.is_argument = self.arguments;
            if self.arguments || word.key != b"--" || word.value.is_some() {
                return Some(word);
            }
            self.arguments = true;
        }
    }
}

/// Splits the first word off a line that starts with one. `args` and `equals` are the kernel's names.
fn split_word(line: &[u8]) -> (Word<'_>, &[u8]) {
    let (quoted, args) = strip_prefix(line, b"\"").map_or((false, line), |args| (true, args));
    let mut in_quote = quoted;
    let end = args.iter().position(|byte| {
        in_quote ^= *byte == b'"';
        byte.is_ascii_whitespace() && !in_quote
    });
    let (word, rest) = end.and_then(|end| args.split_at_checked(end)).unwrap_or((args, b""));

    // The kernel takes offset 0 for "none seen yet": a leading `=` belongs to the key.
    let (key, value) = match word.get(1..).and_then(|tail| split_once(tail, b'=')) {
        Some((tail, value)) => (word.get(..=tail.len()).unwrap_or_default(), Some(value)),
        None => (word, None),
    };
    let (key, value) = match (value, value.and_then(|value| strip_prefix(value, b"\""))) {
        (_, Some(inner)) => (key, Some(without_quote(inner))),
        (Some(value), None) if quoted => (key, Some(without_quote(value))),
        (None, None) if quoted => (without_quote(key), None),
        _ => (key, value),
    };
    (Word { key, value, is_argument: false }, rest)
}

fn without_quote(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\"").unwrap_or(text)
}

/// Whether two names are the same word to the kernel: `-` and `_` are alike (kernel/params.c, `parameq`).
pub fn same_name(left: &[u8], right: &[u8]) -> bool {
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    left.iter().map(dashed).eq(right.iter().map(dashed))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn show(words: impl Iterator<Item = Word<'static>>) -> Vec<String> {
        words
            .map(|word| {
                let mut text = String::from_utf8_lossy(word.key).into_owned();
                if let Some(value) = word.value {
                    text += &std::format!(" -> {}", String::from_utf8_lossy(value));
                }
                text
            })
            .collect()
    }

    fn options(line: &'static [u8]) -> Vec<String> {
        show(words(line).filter(|word| !word.is_argument))
    }

    fn arguments(line: &'static [u8]) -> Vec<String> {
        show(words(line).filter(|word| word.is_argument))
    }

    #[test]
    fn words_split_as_the_kernel_splits_them() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t\n", &[]),
            ("ro quiet\n", &["ro", "quiet"]),
            ("root=UUID=ab-cd", &["root -> UUID=ab-cd"]),
            ("entrypoint=\"/bin/sh -c x\" ro", &["entrypoint -> /bin/sh -c x", "ro"]),
            ("\"entrypoint=/bin/sh -c x\" ro", &["entrypoint -> /bin/sh -c x", "ro"]),
            ("\"two words\"", &["two words"]),
            ("a=\"b", &["a -> b"]),
            ("a=\"b c", &["a -> b c"]),
            ("a=\"", &["a -> "]),
            ("a=", &["a -> "]),
            ("=a", &["=a"]),
            ("==a", &["= -> a"]),
            ("a=b\"c d\"e", &["a -> b\"c d\"e"]),
            ("\"", &[""]),
            ("\"a=b c", &["a -> b c"]),
        ] {
            assert_eq!(show(words(line.as_bytes())), expected, "{line:?}");
        }
    }

    #[test]
    fn the_first_dashes_end_the_options_and_the_second_stay() {
        let line = b"root=/dev/vda -- sh -c \"echo a\" -- x=\"y z\"";
        assert_eq!(options(line), ["root -> /dev/vda"]);
        assert_eq!(arguments(line), ["sh", "-c", "echo a", "--", "x -> y z"]);
        assert_eq!(arguments(b"no dashes"), [""; 0]);
        assert_eq!(options(b"a --b=c"), ["a", "--b -> c"]);
    }

    #[test]
    fn every_prefix_of_a_line_ends() {
        let line = b"a=\"b c\" \"d=e f\" -- \"g\" =h i=";
        for end in 0..=line.len() {
            let count = words(&line[..end]).count();
            assert!(count <= end);
        }
    }

    #[test]
    fn dashes_and_underscores_name_the_same_word() {
        assert!(same_name(b"whit.on-exit", b"whit.on_exit"));
        assert!(!same_name(b"whit.on", b"whit.on_exit"));
    }
}
