//! Domain names in a server's options. They are validated because they are written to files and to the kernel.

use crate::text::{cut, split};

/// Bytes of a search list: the limit of old resolvers (resolv.conf(5)).
pub const MAX_SEARCH: usize = 256;
/// Bytes of a label (RFC 1035 §2.3.4), and so of a host name.
pub const MAX_LABEL: usize = 63;

/// A search list: domains, each preceded by a space.
pub type Search = crate::bounded::Vec<u8, MAX_SEARCH>;

/// Returns the first label of option 12; empty if the value is not a domain name.
pub fn host(value: &[u8]) -> &[u8] {
    let name = without_dot(without_nuls(value));
    if is_name(name) { cut(name, b'.').0 } else { b"" }
}

/// Appends the domains of option 15, of which some servers send several, with spaces or commas between them. Appends none if one of
/// them is not a domain name, and as many as fit otherwise.
pub fn domains(value: &[u8], search: &mut Search) {
    let start = search.len();
    for list in split(without_nuls(value), b',') {
        for name in split(list, b' ').map(without_dot).filter(|name| !name.is_empty()) {
            let mut before = search.len();
            if !is_name(name) {
                before = start;
            } else if push(search, b' ', name).is_some() {
                continue;
            }
            return search.truncate(before);
        }
    }
}

/// Removes the dot at the end of an absolute name.
fn without_dot(name: &[u8]) -> &[u8] {
    if let [name @ .., b'.'] = name { name } else { name }
}

/// Appends the domains of option 119 (RFC 3397), as many as fit. Returns `None` if the value is malformed.
///
/// A pointer must lead to an offset before its own name, and before the previous pointer's target: this ensures termination.
#[inline(never)]
pub fn search_list(value: &[u8], search: &mut Search) -> Option<()> {
    let mut at = 0;
    while at < value.len() {
        let (before, mut separator) = (search.len(), b' ');
        let (mut place, mut limit, mut end) = (at, at, None);
        loop {
            let length = *value.get(place)?;
            let next = place.wrapping_add(1);
            match length {
                0 => {
                    at = end.unwrap_or(next);
                    break;
                }
                1..=0x3f => {
                    place = next.wrapping_add(usize::from(length));
                    let label = value.get(next..place).filter(|label| is_label(label))?;
                    if push(search, separator, label).is_none() {
                        search.truncate(before);
                        return Some(());
                    }
                    separator = b'.';
                }
                0xc0.. => {
                    place = usize::from(u16::from_be_bytes([length & 0x3f, *value.get(next)?]));
                    if place >= limit {
                        return None;
                    }
                    end = end.or(Some(next.wrapping_add(1)));
                    limit = place;
                }
                _ => return None,
            }
        }
    }
    Some(())
}

/// Appends a separator and a text; `None` if they do not fit.
pub(crate) fn push(search: &mut Search, separator: u8, text: &[u8]) -> Option<()> {
    search.push(separator).ok()?;
    search.extend_from_slice(text).ok()
}

/// Removes trailing NULs, which some servers send.
fn without_nuls(mut value: &[u8]) -> &[u8] {
    while let [shorter @ .., 0] = value {
        value = shorter;
    }
    value
}

fn is_name(name: &[u8]) -> bool {
    split(name, b'.').all(is_label)
}

/// Whether a label has only letters, digits, `-` except as the first, and `_`, which some networks use (RFC 952, RFC 1123 §2.1).
fn is_label(label: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    matches!(label, [first, ..] if *first != b'-') && label.len() <= MAX_LABEL && label.iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::wire::Value;
    use super::*;
    use std::string::String;

    fn text(search: &[u8]) -> String {
        String::from_utf8(search.to_vec()).unwrap()
    }

    #[test]
    fn a_host_name_is_the_first_label_of_a_valid_name() {
        for (value, expected) in [
            (&b"node7"[..], "node7"),
            (b"node7.example.test", "node7"),
            (b"good\0", "good"),
            (b"a_b-c", "a_b-c"),
            (b"node7.", "node7"),
            (b"node7.example.test.\0", "node7"),
            (b"node7..", ""),
            (b".", ""),
            (b"", ""),
            (b"\0", ""),
            (b"x;touch f;$(id)", ""),
            (b"a\nb", ""),
            (b"a b", ""),
            (b"a/b", ""),
            (b"../x", ""),
            (b"-a", ""),
            (b".a", ""),
            (b"a..b", ""),
            (b"a\0b", ""),
            (b"n\xc3\xa4", ""),
            (&[b'a'; 64], ""),
            (&[b'a'; 255], ""),
        ] {
            assert_eq!(text(host(value)), expected, "{value:?}");
        }
    }

    fn search_of(value: &[u8]) -> Option<String> {
        let mut search = Search::new();
        let value = Value::from_slice(value).unwrap();
        search_list(&value, &mut search).map(|()| text(&search))
    }

    #[test]
    fn domains_are_names_between_spaces_and_commas() {
        let domains_of = |value: &[u8]| {
            let mut search = Search::new();
            domains(value, &mut search);
            text(&search)
        };
        assert_eq!(domains_of(b"example.test\0"), " example.test");
        assert_eq!(domains_of(b"a.test b.test"), " a.test b.test");
        assert_eq!(domains_of(b"a.test,b.test, c.test."), " a.test b.test c.test");
        assert_eq!(domains_of(b"example.test.\0"), " example.test");
        assert_eq!(domains_of(b".  ,"), "");
        assert_eq!(domains_of(b"a.test, b.test;c"), "", "one is no name");
        assert_eq!(domains_of(b"a.test\nnameserver 6.6.6.6"), "");
        assert_eq!(domains_of(b""), "");
        assert_eq!(domains_of(b"a.test\n"), "");
        let many = [&b"twenty.characters.xx"[..]; 13].join(&b' ');
        assert_eq!(domains_of(&many).len(), 252, "12 whole domains");
    }

    #[test]
    fn the_example_of_rfc_3397_has_two_domains() {
        // eng.apple.com, marketing.apple.com
        let value = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(search_of(value).unwrap(), " eng.apple.com marketing.apple.com");
        for end in 1..value.len() {
            let cut = search_of(&value[..end]);
            assert!(cut.is_none() || end == 15, "{end}: {cut:?}");
        }
    }

    #[test]
    fn pointers_lead_backwards_and_terminate() {
        assert_eq!(search_of(b"\x01a\x00\xc0\x00\xc0\x00").unwrap(), " a a a");
        for (value, what) in [
            (&b"\xc0\x00"[..], "at itself"),
            (b"\x01a\xc0\x02", "at itself, after a label"),
            (b"\x01a\xc0\x00", "into its own name"),
            (b"\xc0\x02\xc0\x00", "in a circle"),
            (b"\xc0\x02\x01a\x00", "forward"),
            (b"\xc0", "truncated"),
            (b"\x40a", "a reserved label type"),
            (b"\x80a", "a reserved label type"),
            (b"\x05a", "past the end"),
            (b"\x02a\n\x00", "a newline"),
            (b"\x03a b\x00", "a space"),
            (b"\x02-a\x00", "a leading hyphen"),
            (b"\x01a", "without a root label"),
        ] {
            assert_eq!(search_of(value), None, "{what}");
        }
        assert_eq!(search_of(b"\x00").unwrap(), "", "the root");
    }

    #[test]
    fn a_long_search_list_is_truncated_between_domains() {
        let label = [&[63][..], &[b'x'; 63], &[0]].concat();
        assert_eq!(search_of(&label.repeat(7)).unwrap().len(), 4 * 64);
        let bomb = [&label[..64], &label[..64], &label[..64], &label[..64], &label].concat();
        assert_eq!(search_of(&bomb).unwrap(), "", "one name of 320 bytes");
    }
}
