//! The kernel command line, word by word (lib/cmdline.c, `next_arg`), as two records.
//!
//! Words are split at white space outside double quotes; the first `=` after the first byte splits a word into key
//! and value; quotes around the whole word or around the value are dropped, any others stay. There is no escape.

use crate::record::Record;

/// Bytes of a command line that are read. x86-64 and arm64 pass 2048 at most (COMMAND_LINE_SIZE).
pub const MAX_COMMAND_LINE: usize = 4096;

/// Splits the line in place. The first record has the options, a line `key value` each; the second the words after the first
/// `--`, which are the entrypoint's arguments, a line each. White space in a key is a `?`: no option has any.
pub fn decode(line: &mut [u8]) -> (Record<'_>, Record<'_>) {
    let (mut read, mut written) = (0usize, 0usize);
    // Where the arguments begin, once they do.
    let mut arguments = usize::MAX;
    while read < line.len() {
        let start = written;
        let is_argument = arguments <= start;
        let (mut in_quote, mut was_quoted, mut has_value) = (false, false, false);
        // Where a quote is dropped: at the start of the word, then at that of its value.
        let mut opening = start;
        while let Some(byte) = line.get(read).copied() {
            read += 1;
            let mut decoded = byte;
            match byte {
                b'"' => {
                    in_quote = !in_quote;
                    if written == opening {
                        (opening, was_quoted) = (usize::MAX, true);
                        continue;
                    }
                }
                b' ' | b'\t'..=b'\r' if !in_quote => break,
                b' ' | b'\t'..=b'\r' if !has_value && !is_argument => decoded = b'?',
                b'=' if !has_value && written > start => {
                    (opening, has_value) = (written + 1, true);
                    if !is_argument {
                        decoded = b' ';
                    }
                }
                _ => {}
            }
            put(line, &mut written, decoded);
        }
        let mut word = line.get(start..written).unwrap_or_default();
        if let (true, Some((b'"', inner))) = (was_quoted, word.split_last()) {
            word = inner;
        } else if word.is_empty() && !was_quoted {
            continue; // There was more white space than one.
        }
        written = start + word.len();
        if !is_argument && word == b"--" {
            (arguments, written) = (start, start);
            continue;
        }
        put(line, &mut written, 0);
    }
    let line = line.get(..written).unwrap_or_default();
    let (options, arguments) = line.split_at(arguments.min(line.len()));
    (Record::decoded(options), Record::decoded(arguments))
}

/// Writes a byte where one was read before; only the end of the last word has no place.
fn put(line: &mut [u8], written: &mut usize, byte: u8) {
    if let Some(place) = line.get_mut(*written) {
        *place = byte;
        *written += 1;
    }
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
    use std::borrow::ToOwned;
    use std::string::String;
    use std::vec::Vec;

    fn options(line: &str) -> Vec<String> {
        let mut line = line.as_bytes().to_vec();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let lines = decode(&mut line).0.lines();
        lines
            .map(|line| {
                text(line.key)
                    + &if line.value.is_empty() { String::new() } else { " -> ".to_owned() + &text(line.value) }
            })
            .collect()
    }

    fn arguments(line: &str) -> Vec<String> {
        let mut line = line.as_bytes().to_vec();
        let mut lines = decode(&mut line).1.lines();
        core::iter::from_fn(|| lines.whole()).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
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
            ("\"two words\"", &["two?words"]),
            ("a=\"b", &["a -> b"]),
            ("a=\"b c", &["a -> b c"]),
            ("a=\"", &["a"]),
            ("a=", &["a"]),
            ("=a", &["=a"]),
            ("==a", &["= -> a"]),
            ("a=b\"c d\"e", &["a -> b\"c d\"e"]),
            ("\"", &[]),
            ("\"a=b c", &["a -> b c"]),
        ] {
            assert_eq!(options(line), expected, "{line:?}");
        }
    }

    #[test]
    fn the_first_dashes_end_the_options_and_the_second_stay() {
        let line = "root=/dev/vda -- sh -c \"echo a\" -- x=\"y z\"";
        assert_eq!(options(line), ["root -> /dev/vda"]);
        assert_eq!(arguments(line), ["sh", "-c", "echo a", "--", "x=y z"]);
        assert_eq!(arguments("no dashes"), [""; 0]);
        assert_eq!(options("a --b=c"), ["a", "--b -> c"]);
    }

    #[test]
    fn every_prefix_of_a_line_ends() {
        let line = "a=\"b c\" \"d=e f\" -- \"g\" =h \"\" i=";
        for end in 0..=line.len() {
            assert!(options(&line[..end]).len() + arguments(&line[..end]).len() <= end);
        }
        assert_eq!(arguments(line), ["g", "=h", "", "i="]);
        assert_eq!(arguments(&line[..line.len() - 3]), ["g", "=h", ""]);
    }

    #[test]
    fn dashes_and_underscores_name_the_same_word() {
        assert!(same_name(b"whit.on-exit", b"whit.on_exit"));
        assert!(!same_name(b"whit.on", b"whit.on_exit"));
    }
}
