//! The kernel command line (lib/cmdline.c, `next_arg`), as two records.
//!
//! White space outside double quotes separates words. The first `=` after the first byte of a word separates key and value.
//! Quotes around the whole word or the value are dropped; others stay. There are no escapes.

use crate::record::Record;

/// Bytes of the command line that are read. x86-64 and arm64 have at most 2048 (COMMAND_LINE_SIZE).
pub const MAX_COMMAND_LINE: usize = 4096;

/// Splits the line in place into two records: the options, each a line `key value`, and the words after the first `--`, each a
/// line, which are the workload's arguments. White space in a key becomes `?`: no option has any.
pub fn decode(line: &mut [u8]) -> (Record<'_>, Record<'_>) {
    let (mut read, mut written) = (0usize, 0usize);
    // The start of the arguments, once known.
    let mut arguments = usize::MAX;
    while read < line.len() {
        let start = written;
        let is_argument = arguments <= start;
        let (mut in_quote, mut was_quoted, mut has_value) = (false, false, false);
        // The offset where a quote is dropped: the start of the word, then that of its value.
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
            continue; // repeated white space
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

/// Writes a byte to an offset that was read before. Only the NUL of the last word may have no room.
fn put(line: &mut [u8], written: &mut usize, byte: u8) {
    if let Some(place) = line.get_mut(*written) {
        *place = byte;
        *written += 1;
    }
}

/// Whether two names are equal to the kernel, which treats `-` and `_` alike (kernel/params.c, `parameq`).
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
    fn words_are_split_as_in_the_kernel() {
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
    fn the_first_double_dash_ends_the_options_and_the_second_is_kept() {
        let line = "root=/dev/vda -- sh -c \"echo a\" -- x=\"y z\"";
        assert_eq!(options(line), ["root -> /dev/vda"]);
        assert_eq!(arguments(line), ["sh", "-c", "echo a", "--", "x=y z"]);
        assert_eq!(arguments("no dashes"), [""; 0]);
        assert_eq!(options("a --b=c"), ["a", "--b -> c"]);
    }

    #[test]
    fn every_truncation_of_a_line_terminates() {
        let line = "a=\"b c\" \"d=e f\" -- \"g\" =h \"\" i=";
        for end in 0..=line.len() {
            assert!(options(&line[..end]).len() + arguments(&line[..end]).len() <= end);
        }
        assert_eq!(arguments(line), ["g", "=h", "", "i="]);
        assert_eq!(arguments(&line[..line.len() - 3]), ["g", "=h", ""]);
    }

    #[test]
    fn dashes_and_underscores_are_alike_in_names() {
        assert!(same_name(b"whit.on-exit", b"whit.on_exit"));
        assert!(!same_name(b"whit.on", b"whit.on_exit"));
    }
}
