//! Finds code that the init must not have: `core::fmt`, and code that can panic.
//!
//! There are two kinds of evidence: symbols, if the optimiser has not inlined the functions; and otherwise the constants, with the
//! texts of core's panics and the names of source files, which every panic passes on.

use crate::pieces::{Piece, PieceKind};
use crate::strings;

/// The beginnings of core's panic messages (library/core: panicking.rs, slice/index.rs, option.rs, result.rs, cell.rs, str/mod.rs).
const PANIC_TEXTS: [&str; 13] = [
    "index out of bounds",
    "attempt to ",
    "called `Option::",
    "called `Result::",
    "range start index",
    "range end index",
    "slice index starts at",
    "byte index ",
    "internal error: entered unreachable code",
    "explicit panic",
    "already borrowed",
    "already mutably borrowed",
    "copy_from_slice: ",
];

/// The traces that were found; there should be none.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Traces {
    /// Functions of `core::fmt`, and implementations of its traits.
    pub(crate) fmt: Vec<String>,
    /// Functions of core that panic, and the panic handler.
    pub(crate) panicking: Vec<String>,
    /// Constants that only a panic reads.
    pub(crate) texts: Vec<String>,
}

/// Searches the symbols of an init and its `data`. These are whole sections, so that a text is found however it is divided.
pub(crate) fn find<'a>(pieces: &[Piece], data: impl IntoIterator<Item = &'a [u8]>) -> Traces {
    let names = |chosen: fn(&Piece) -> bool| {
        let named = pieces.iter().filter(|piece| piece.kind == PieceKind::Named);
        named.filter(|piece| chosen(piece)).map(|piece| piece.name.clone()).collect()
    };
    let texts = data.into_iter().flat_map(strings::runs).map(|(_, text)| text);
    Traces {
        fmt: names(is_fmt),
        panicking: names(is_panicking),
        texts: texts.filter(|text| is_panic_text(text)).map(str::to_owned).collect(),
    }
}

impl Traces {
    /// Returns one line for each kind found, with an example.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        [
            ("core::fmt is linked", &self.fmt),
            ("core::panicking is linked", &self.panicking),
            ("a panic's text is linked", &self.texts),
        ]
        .into_iter()
        .filter_map(|(what, found)| found.first().map(|first| format!("{what}, {} times: {first}", found.len())))
    }
}

fn is_fmt(symbol: &Piece) -> bool {
    let own =
        symbol.origin.krate == "core" && (symbol.origin.module == "fmt" || symbol.origin.module.starts_with("fmt::"));
    own || symbol.name.contains(" as core::fmt::")
}

fn is_panicking(symbol: &Piece) -> bool {
    // core has its panics in functions of their own: slice_index_fail, unwrap_failed, panic_bounds_check.
    let core = symbol.origin.krate == "core"
        && symbol.name.split("::").any(|part| {
            part.starts_with("panic") || part.ends_with("_fail") || part.ends_with("_failed") || part == "fail"
        });
    core || symbol.name.contains("rust_begin_unwind")
}

fn is_panic_text(text: &str) -> bool {
    PANIC_TEXTS.iter().any(|panic| text.contains(panic)) || names_a_source_file(text)
}

/// Returns whether a text has the file of a `core::panic::Location`: `src/network.rs`, `/library/core/src/slice/mod.rs`.
fn names_a_source_file(text: &str) -> bool {
    text.match_indices(".rs").any(|(dot, _)| {
        let path = text.get(..dot).unwrap_or_default();
        let stem = path.bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        stem > 0 && path.get(..dot - stem).is_some_and(|folder| folder.ends_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::tests::piece;

    fn symbol(mangled: &str) -> Piece {
        piece(PieceKind::Named, mangled, ".text", 1)
    }

    #[test]
    fn formatting_is_found_in_every_crate() {
        for mangled in [
            "_ZN4core3fmt9Formatter9pad_inner17h0123456789abcdefE",
            "_ZN4core3fmt3num3imp52_$LT$impl$u20$core..fmt..Display$u20$for$u20$u32$GT$3fmt17h0123456789abcdefE",
            "_RNvXsh_NtCsgEmfK2I1SDS_4core3fmteNtB5_5Debug3fmt",
            "_ZN56_$LT$whit..ipv4..Address$u20$as$u20$core..fmt..Debug$GT$3fmt17h614fb2edb508d4ffE",
        ] {
            let found = find(&[symbol(mangled)], []);
            assert_eq!((found.fmt.len(), found.panicking.len(), found.texts.len()), (1, 0, 0), "{mangled}");
        }
    }

    #[test]
    fn panics_are_found_by_function() {
        for mangled in [
            "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
            "_ZN4core5slice5index16slice_index_fail17h0123456789abcdefE",
            "_ZN4core6option13unwrap_failed17h0123456789abcdefE",
            "_RNvCsgY6Mt91CT9J_7___rustc17rust_begin_unwind",
            "rust_begin_unwind",
        ] {
            let found = find(&[symbol(mangled)], []);
            assert_eq!((found.fmt.len(), found.panicking.len(), found.texts.len()), (0, 1, 0), "{mangled}");
        }
    }

    #[test]
    fn texts_of_panics_are_found_in_the_constants() {
        for rodata in [
            &b"\0\0index out of bounds: the len is \0"[..],
            b"\x01attempt to divide by zero",
            b"whit: mount src/pid1/network.rswhit: lease",
            b"/rustc/59807616e/library/core/src/slice/mod.rs\0",
        ] {
            assert_eq!(find(&[], [rodata]).texts.len(), 1);
        }
    }

    #[test]
    fn an_init_without_them_has_no_lines() {
        let symbols = [
            symbol("_ZN4whit6status4fail17h0123456789abcdefE"),
            symbol("_ZN54_$LT$whit..ipv4..Address$u20$as$u20$ufmt..uDisplay$GT$3fmt17h614fb2edb508d4ffE"),
            symbol("_ZN4core5slice6memchr6memchr17h0123456789abcdefE"),
        ];
        let data = &b"whit: root: tried /dev/vda for 30 s\n\0www.rs\0/.rs\0no.rs"[..];
        let found = find(&symbols, [data]);
        assert_eq!(found, Traces::default());
        assert_eq!(found.lines().count(), 0);
    }

    #[test]
    fn the_line_counts_and_names_one() {
        let symbols = [symbol("_ZN4core9panicking9panic_fmt17h0123456789abcdefE"), symbol("rust_begin_unwind")];
        let lines: Vec<_> = find(&symbols, []).lines().collect();
        assert_eq!(lines, ["core::panicking is linked, 2 times: core::panicking::panic_fmt"]);
    }
}
