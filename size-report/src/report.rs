//! The report for people: totals against their limits, sections, bytes by crate and module, the largest symbols.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::budget::Budget;
use crate::image::Image;
use crate::machinery::Traces;
use crate::origin::Origin;
use crate::pieces::{Piece, PieceKind};
use crate::totals::{self, Totals};
use crate::{sections, strings};

/// Returns the whole report. Writing to a `String` cannot fail, so its results are dropped.
pub(crate) fn text(
    totals: &Totals,
    budget: &Budget,
    pieces: &[Piece],
    named: &Image,
    traces: &Traces,
    top: usize,
) -> String {
    let mut out = String::new();
    sizes(&mut out, totals, budget);
    let _ = write!(out, "\n{}", sections::table(pieces, named));
    crates(&mut out, pieces);
    largest(&mut out, pieces, top);
    let strings = strings::find(pieces);
    let bytes: usize = strings.iter().map(|string| string.text.len()).sum();
    let all: u64 = totals.0.iter().filter(|(name, _)| ["rodata", "data"].contains(name)).map(|(_, size)| size).sum();
    let _ = writeln!(out, "\nstrings   {}, {bytes} of the {all} bytes of .rodata and .data", strings.len());
    let (fmt, panicking, texts) = (traces.fmt.len(), traces.panicking.len(), traces.texts.len());
    let _ = writeln!(out, "core::fmt {fmt} symbols; core::panicking {panicking} symbols, {texts} texts");
    out
}

fn sizes(out: &mut String, totals: &Totals, budget: &Budget) {
    let _ = writeln!(out, "{:<10}{:>8}{:>8}{:>8}", "whole", "bytes", "limit", "left");
    for (name, size) in &totals.0 {
        let limit = budget.limit(name).unwrap_or(0);
        let left = i128::from(limit) - i128::from(*size);
        let _ = writeln!(out, "{name:<10}{size:>8}{limit:>8}{left:>8}");
    }
}

/// Bytes and symbols of one place.
#[derive(Clone, Copy, Default)]
struct Share {
    in_file: u64,
    /// Bytes of that which are code.
    code: u64,
    only_in_memory: u64,
    symbols: usize,
}

impl Share {
    fn add(&mut self, piece: &Piece) {
        *(if piece.is_in_file() { &mut self.in_file } else { &mut self.only_in_memory }) += piece.size;
        if totals::kind(&piece.section) == "text" {
            self.code += piece.size;
        }
        self.symbols += usize::from(piece.kind == PieceKind::Named);
    }

    fn columns(&self) -> String {
        let Self { in_file, code, only_in_memory, symbols } = self;
        format!("{in_file:>8}{code:>8}{:>8}{only_in_memory:>8}{symbols:>9}", in_file - code)
    }
}

fn crates(out: &mut String, pieces: &[Piece]) {
    let mut by_crate: BTreeMap<&str, (Share, BTreeMap<&str, Share>)> = BTreeMap::new();
    let mut sum = Share::default();
    for piece in pieces {
        let Origin { krate, module } = &piece.origin;
        let (whole, modules) = by_crate.entry(krate).or_default();
        for share in [whole, modules.entry(module).or_default(), &mut sum] {
            share.add(piece);
        }
    }
    let titles = ["file", "code", "other", "bss"].map(|title| format!("{title:>8}")).concat();
    let _ = writeln!(out, "\n{:<34}{titles}{:>9}", "by crate and module", "symbols");
    for (krate, (whole, modules)) in largest_first(by_crate, |(whole, _)| whole.in_file) {
        let _ = writeln!(out, "{krate:<34}{}", whole.columns());
        if modules.len() > 1 || !modules.contains_key("") {
            for (module, share) in largest_first(modules, |share| share.in_file) {
                let module = if module.is_empty() { "(root)" } else { module };
                let _ = writeln!(out, "  {module:<32}{}", share.columns());
            }
        }
    }
    let _ = writeln!(out, "{:<34}{}", "sum", sum.columns());
}

fn largest_first<V>(map: BTreeMap<&str, V>, bytes: impl Fn(&V) -> u64) -> Vec<(&str, V)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by_key(|(_, value)| std::cmp::Reverse(bytes(value)));
    entries
}

fn largest(out: &mut String, pieces: &[Piece], top: usize) {
    let mut owned: Vec<&Piece> =
        pieces.iter().filter(|piece| matches!(piece.kind, PieceKind::Named | PieceKind::Constant)).collect();
    owned.sort_by(|left, right| right.size.cmp(&left.size).then_with(|| left.name.cmp(&right.name)));
    let (in_file, only_in_memory): (Vec<&Piece>, _) = owned.into_iter().partition(|piece| piece.is_in_file());
    for (title, pieces) in [("in the file", in_file), ("only in memory", only_in_memory)] {
        if pieces.is_empty() || top == 0 {
            continue;
        }
        let (shown, all) = (top.min(pieces.len()), pieces.len());
        let _ = writeln!(
            out,
            "\n{:<8}{:<9}{title}: the largest {shown} of {all} symbols and constants",
            "bytes", "section"
        );
        for Piece { name, section, size, .. } in pieces.into_iter().take(top) {
            let _ = writeln!(out, "{size:<8}{section:<9}{name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::NAMES;
    use crate::image::tests::image;
    use crate::machinery;
    use crate::pieces::tests::piece;

    #[test]
    fn the_report_of_a_small_init() {
        let budget = "file 32768 # a\ngzip 16384 # a\ntext 500 # a\nrodata 30 # a\ndata 20 # a\nbss 10 # a\n\
            min 6 # a\nmin.gzip 5 # a\nseed 4 # a\nseed.gzip 3 # a\nfleet 2 # a\nfleet.gzip 1 # a\n";
        let sizes = [("file", 1000), ("gzip", 700), ("text", 535), ("rodata", 12), ("data", 0), ("bss", 0)];
        let mut lease = piece(PieceKind::Constant, "\"whit: lease\"", ".rodata", 12);
        lease.data = b"\0whit: lease".to_vec();
        lease.origin = Origin { krate: "whit".into(), module: "dhcp::lease".into() };
        let pieces = [
            piece(PieceKind::Header, "ELF header", "ELF header", 64),
            piece(PieceKind::Named, "_ZN4whit4dhcp6client6Client4step17hf3828d5be280a9e5E", ".text", 400),
            piece(PieceKind::Named, "_ZN4whit4dhcp5lease5Lease5parse17hf3828d5be280a9e5E", ".text", 100),
            piece(PieceKind::Named, "_ZN4whit4main17hf3828d5be280a9e5E", ".text", 30),
            piece(PieceKind::Named, "memcpy", ".text", 5),
            lease,
            piece(PieceKind::Named, "_ZN4whit6BUFFER17hf3828d5be280a9e5E", ".bss", 9),
        ];
        let traces = machinery::find(&pieces, []);
        let named = image(&[(".text", &[0; 535]), (".rodata", &[0; 12]), (".bss", &[0; 9])]);
        let text = text(&Totals(sizes.into()), &Budget::parse(budget, NAMES).unwrap(), &pieces, &named, &traces, 2);
        let (head, rest) = text.split_once("\nsection ").unwrap();
        let (_, rest) = rest.split_once("\n\n").unwrap(); // the table of sections has its own test
        let expected = "\
whole        bytes   limit    left
file          1000   32768   31768
gzip           700   16384   15684
text           535     500     -35
rodata          12      30      18
data             0      20      20
bss              0      10      10
";
        assert_eq!(head, expected);
        let expected = "\
by crate and module                   file    code   other     bss  symbols
whit                                   542     530      12       9        4
  dhcp::client                         400     400       0       0        1
  dhcp::lease                          112     100      12       0        1
  (root)                                30      30       0       9        2
headers and padding                     64       0      64       0        0
no_mangle                                5       5       0       0        1
sum                                    611     535      76       9        5

bytes   section  in the file: the largest 2 of 5 symbols and constants
400     .text    whit::dhcp::client::Client::step
100     .text    whit::dhcp::lease::Lease::parse

bytes   section  only in memory: the largest 1 of 1 symbols and constants
9       .bss     whit::BUFFER

strings   1, 11 of the 12 bytes of .rodata and .data
core::fmt 0 symbols; core::panicking 0 symbols, 0 texts
";
        assert_eq!(rest, expected);
    }
}
