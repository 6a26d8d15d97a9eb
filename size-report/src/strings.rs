//! The strings of an init with their places. A string is a run of printable bytes inside one piece.
//!
//! Rust's strings do not end with a zero byte, and the linker places them side by side: only the borders of the constants
//! separate them.

use std::fmt::Write;

use crate::pieces::{Piece, PieceKind};

/// The shortest run of printable bytes that is a string inside other data, as in strings(1).
const MIN_RUN_LEN: usize = 4;

/// A string and the piece that holds it.
pub(crate) struct Found<'a> {
    pub(crate) text: &'a str,
    pub(crate) piece: &'a Piece,
    /// Its offset in the piece.
    pub(crate) at: usize,
}

/// Returns the printable runs of `data` with their positions. A run that is all of `data`, up to a final zero byte, may be shorter
/// than the limit and may begin with a line break; inside other data such a byte is more likely a number.
pub(crate) fn runs(data: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    let whole = data.strip_suffix(&[0]).unwrap_or(data);
    let is_text = !whole.is_empty() && whole.iter().all(is_printable);
    let mut position = 0;
    data.split(|byte| !is_printable(byte)).filter_map(move |run| {
        let end = position + run.len();
        position = end + 1;
        let text = str::from_utf8(run).ok()?;
        let text = if is_text { text } else { text.trim_start_matches(['\n', '\t']) };
        let min_len = if is_text { 1 } else { MIN_RUN_LEN };
        (text.len() >= min_len).then_some((end - text.len(), text))
    })
}

fn is_printable(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t')
}

/// Returns all strings, longest first.
pub(crate) fn find(pieces: &[Piece]) -> Vec<Found<'_>> {
    let mut found: Vec<Found<'_>> =
        pieces.iter().flat_map(|piece| runs(&piece.data).map(move |(at, text)| Found { text, piece, at })).collect();
    found.sort_by_key(|found| (std::cmp::Reverse(found.text.len()), found.address()));
    found
}

impl Found<'_> {
    fn address(&self) -> u64 {
        self.piece.address.unwrap_or(0) + self.at as u64
    }

    /// Returns `whit::mounts::MOUNTS+1`, or the users of the constant.
    fn holder(&self) -> String {
        match self.piece.kind {
            PieceKind::Named if self.at > 0 => format!("{}+{}", self.piece.name, self.at),
            PieceKind::Named => self.piece.name.clone(),
            _ if self.piece.users.is_empty() => "no known user".into(),
            _ => format!("for {}", self.piece.users.join(", ")),
        }
    }
}

/// Formats the list for people: size, address, text, holder.
pub(crate) fn list(pieces: &[Piece]) -> String {
    let found = find(pieces);
    let mut out = String::new();
    let bytes: usize = found.iter().map(|found| found.text.len()).sum();
    let _ = writeln!(
        out,
        "\n{:>5}  {:<10} {} strings of {bytes} bytes, and their holders",
        "bytes",
        "address",
        found.len()
    );
    for one in &found {
        let _ = writeln!(out, "{:>5}  {:<#10x} {:?}  {}", one.text.len(), one.address(), one.text, one.holder());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::tests::piece;

    #[test]
    fn runs_are_printable_text() {
        let of = |data: &'static [u8]| runs(data).collect::<Vec<_>>();
        assert_eq!(of(b"\0abc\0abcd\x01\x02tab\there\n\xffxyz"), [(5, "abcd"), (11, "tab\there\n")]);
        assert_eq!(of(b"sh"), [(0, "sh")], "a whole constant is a string of any length");
        assert_eq!((of(b"/\0"), of(b"\n")), (vec![(0, "/")], vec![(0, "\n")]));
        assert_eq!(of(b"\t/dev/tty\x00\x0a/dev/pts\x00"), [(1, "/dev/tty"), (11, "/dev/pts")], "with their lengths");
        assert_eq!(of(b"a\0b"), [], "but not a table");
        assert_eq!((of(b""), of(b"\0")), (vec![], vec![]));
    }

    #[test]
    fn strings_are_listed_longest_first_with_their_holders() {
        let mut table = piece(PieceKind::Named, "_ZN4whit6mounts5NODES17hbd905c7e7d907455E", ".rodata", 20);
        table.address = Some(0x40_0100);
        table.data = b"\x01/dev/null\0\0\0/dev/tty".to_vec();
        let mut message = piece(PieceKind::Constant, "\"halt\"", ".rodata", 4);
        message.address = Some(0x40_0200);
        message.data = b"halt".to_vec();
        let mut lost = message.clone();
        message.users = vec!["whit::main".into(), "whit::live".into()];
        lost.address = Some(0x40_0204);
        let expected = "
bytes  address    4 strings of 25 bytes, and their holders
    9  0x400101   \"/dev/null\"  whit::mounts::NODES+1
    8  0x40010d   \"/dev/tty\"  whit::mounts::NODES+13
    4  0x400200   \"halt\"  for whit::main, whit::live
    4  0x400204   \"halt\"  no known user
";
        assert_eq!(list(&[lost, table, message]), expected);
    }
}
