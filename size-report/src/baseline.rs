//! The sizes of one build as text, and the changes since then.
//!
//! A line is `place bytes name`: `total 28672 file`, then every byte of the file and of `.bss` under the section that
//! holds it: `text 412 whit::dhcp::client::Client::step`, `rodata 24 "no such user"`, `file 64 ELF header`. Pieces of one
//! name (a generic function with several types, the numbers that a module uses) are one line, and no name has a hash, so
//! that only changed sizes differ. The lines are sorted by name, so that two baselines also diff as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::pieces::{Piece, PieceKind};
use crate::totals::{self, Totals};

/// The first line of the file.
const HEADER: &str = "# size-report 2: place bytes name";

/// The beginning of the second line.
const COMPILER: &str = "# made with ";

/// The place of [`Totals`].
const TOTAL: &str = "total";

/// The places of pieces: sections, and `file` for bytes in none of them.
const PLACES: [&str; 5] = ["file", "text", "rodata", "data", BSS];

/// The place of bytes that are only in memory.
const BSS: &str = "bss";

/// All sizes of one init.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Baseline {
    compiler: String,
    totals: BTreeMap<String, u64>,
    /// By place and name.
    pieces: BTreeMap<(&'static str, String), u64>,
}

impl Baseline {
    /// Collects the sizes of an init.
    pub(crate) fn new(compiler: &str, totals: &Totals, pieces: &[Piece]) -> Self {
        let mut baseline = Self { compiler: compiler.to_owned(), ..Self::default() };
        for (name, size) in &totals.0 {
            baseline.totals.insert((*name).to_owned(), *size);
        }
        for piece in pieces {
            *baseline.pieces.entry((place(piece), piece.name.clone())).or_default() += piece.size;
        }
        baseline
    }

    /// Parses the output of `to_string`; an error begins with the line's number.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        if lines.next().map(|(_, line)| line) != Some(HEADER) {
            return Err("1: not a file that this version's --save wrote".into());
        }
        let compiler = lines.next().and_then(|(_, line)| line.strip_prefix(COMPILER));
        let compiler = compiler.ok_or_else(|| format!("2: not `{COMPILER}COMPILER`"))?.to_owned();
        let mut baseline = Self { compiler, ..Self::default() };
        for (number, line) in lines {
            baseline.add(line).map_err(|message| format!("{number}: {message}"))?;
        }
        baseline.check_sums().map_err(|message| format!("{}: {message}", text.lines().count()))?;
        Ok(baseline)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let mut fields = line.splitn(3, ' ');
        let (Some(place), Some(size), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            return Err("not `place bytes name`".into());
        };
        let size = size.parse().map_err(|_| format!("`{size}` is not a number of bytes"))?;
        let twice = if place == TOTAL {
            self.totals.insert(name.to_owned(), size)
        } else {
            let known = PLACES.into_iter().find(|known| *known == place);
            let place = known.ok_or_else(|| format!("`{place}` is none of {TOTAL}, {}", PLACES.join(", ")))?;
            self.pieces.insert((place, name.to_owned()), size)
        };
        if twice.is_some() { Err(format!("a second size of {name}")) } else { Ok(()) }
    }

    /// Checks that the pieces of each place add up to its total: after a merge line by line they do not.
    fn check_sums(&self) -> Result<(), String> {
        for place in PLACES {
            let belongs = |piece: &str| if place == "file" { piece != BSS } else { piece == place };
            let sizes = self.pieces.iter().filter(|((piece, _), _)| belongs(piece)).map(|(_, size)| u128::from(*size));
            let (sum, total) = (sizes.sum::<u128>(), self.totals.get(place).copied().unwrap_or(0));
            if sum != u128::from(total) {
                return Err(format!("the parts of {place} add up to {sum} bytes, its total is {total}: --save again"));
            }
        }
        Ok(())
    }

    /// Returns `file +0, gzip -3, text -12`: the three main totals and the other changed ones. Another compiler changes sizes too.
    pub(crate) fn summary(&self, before: &Self) -> String {
        let always = ["file", "gzip", "text"];
        let delta = |name: &str| delta(before.totals.get(name).copied(), self.totals.get(name).copied());
        let others = self.totals.keys().map(String::as_str).filter(|name| !always.contains(name) && delta(name) != 0);
        let parts: Vec<_> = always.into_iter().chain(others).map(|name| format!("{name} {:+}", delta(name))).collect();
        let compiler = (self.compiler != before.compiler).then(|| format!("; it was made with {}", before.compiler));
        parts.join(", ") + &compiler.unwrap_or_default()
    }

    /// Describes the changes since `before`: totals, then each changed piece, the largest change first.
    pub(crate) fn difference(&self, before: &Self) -> String {
        let mut out = "\nsince the baseline\n".to_owned();
        if self.compiler != before.compiler {
            out += &format!("  made with {}, now with {}\n", before.compiler, self.compiler);
        }
        let totals = changes(&before.totals, &self.totals);
        let mut pieces = changes(&before.pieces, &self.pieces);
        pieces.sort_by_key(|change| std::cmp::Reverse(change.delta.unsigned_abs()));
        if totals.is_empty() && pieces.is_empty() {
            return out + "  nothing changed\n";
        }
        out.extend(totals.iter().map(|change| change.line(TOTAL, change.key)));
        out.extend(pieces.iter().map(|change| change.line(change.key.0, &change.key.1)));
        let in_file = || pieces.iter().filter(|change| change.key.0 != BSS).map(|change| change.delta);
        let more: i128 = in_file().filter(|delta| *delta > 0).sum();
        let fewer: i128 = -in_file().filter(|delta| *delta < 0).sum::<i128>();
        out + &format!("  {:>+7}  in the file: {more} bytes more, {fewer} fewer\n", more - fewer)
    }
}

/// Returns the place of a piece. A piece in no section of the running program belongs to the file as a whole.
fn place(piece: &Piece) -> &'static str {
    let kind = totals::kind(&piece.section);
    match PLACES.into_iter().find(|place| *place == kind) {
        _ if !piece.is_in_file() => BSS,
        Some(place) if piece.kind != PieceKind::Header => place,
        _ => "file",
    }
}

struct Change<'a, K> {
    key: &'a K,
    before: Option<u64>,
    now: Option<u64>,
    delta: i128,
}

impl<K> Change<'_, K> {
    fn line(&self, place: &str, name: &str) -> String {
        let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        format!("  {:>+7}  {:>6} -> {:<6}  {place:<7}{name}\n", self.delta, size(self.before), size(self.now))
    }
}

fn changes<'a, K: Ord>(before: &'a BTreeMap<K, u64>, now: &'a BTreeMap<K, u64>) -> Vec<Change<'a, K>> {
    let keys: BTreeSet<&K> = before.keys().chain(now.keys()).collect();
    let change = |key: &'a K| {
        let (before, now) = (before.get(key).copied(), now.get(key).copied());
        (before != now).then_some(Change { key, before, now, delta: delta(before, now) })
    };
    keys.into_iter().filter_map(change).collect()
}

fn delta(before: Option<u64>, now: Option<u64>) -> i128 {
    i128::from(now.unwrap_or(0)) - i128::from(before.unwrap_or(0))
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\n{COMPILER}{}", self.compiler)?;
        for (name, size) in &self.totals {
            writeln!(f, "{TOTAL} {size} {name}")?;
        }
        for ((place, name), size) in &self.pieces {
            writeln!(f, "{place} {size} {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::tests::piece;

    /// Returns a baseline of these functions; the rest of the file is its header.
    fn baseline(file: u64, functions: &[(&str, u64)]) -> Baseline {
        let text: u64 = functions.iter().map(|(_, size)| size).sum();
        let mut pieces: Vec<Piece> =
            functions.iter().map(|(name, size)| piece(PieceKind::Named, name, ".text", *size)).collect();
        pieces.push(piece(PieceKind::Header, "ELF header", "ELF header", file - text));
        Baseline::new("rustc 1.95.0", &Totals(vec![("file", file), ("gzip", 60), ("text", text)]), &pieces)
    }

    const SAVED: &str = "\
# size-report 2: place bytes name
# made with rustc 1.95.0
total 900 file
total 60 gzip
total 22 text
file 878 ELF header
text 17 whit::main
text 5 whit::tell
";

    #[test]
    fn a_saved_baseline_is_read_back_unchanged() {
        let saved = baseline(900, &[("whit::main", 10), ("whit::tell", 5), ("whit::main", 7)]);
        assert_eq!(saved.to_string(), SAVED);
        assert_eq!(Baseline::parse(SAVED), Ok(saved));
    }

    #[test]
    fn hashes_make_no_difference() {
        let before = baseline(900, &[("_ZN4whit4main17hf3828d5be280a9e5E", 10)]);
        let now = baseline(900, &[("_ZN4whit4main17h0123456789abcdefE", 10)]);
        assert_eq!(now.difference(&before), "\nsince the baseline\n  nothing changed\n");
    }

    #[test]
    fn every_piece_has_a_place() {
        let pieces = [
            piece(PieceKind::Padding, "padding", ".text", 1),
            piece(PieceKind::Constant, "\"halt\"", ".rodata", 2),
            piece(PieceKind::Constant, "1", ".rodata.cst16", 16),
            piece(PieceKind::Padding, "padding", "padding", 3),
            piece(PieceKind::Header, ".text", ".text", 4),
            piece(PieceKind::Named, "table", ".got", 8),
            piece(PieceKind::Named, "BUFFER", ".bss", 5),
            piece(PieceKind::Named, "LOCAL", ".bss.tls", 6),
        ];
        assert_eq!(pieces.each_ref().map(place), ["text", "rodata", "rodata", "file", "file", "file", "bss", "bss"]);
    }

    #[test]
    fn the_difference_names_each_changed_piece() {
        let before = baseline(900, &[("same", 1), ("grown", 10), ("gone", 30)]);
        let now = baseline(800, &[("same", 1), ("grown", 12), ("new", 4)]);
        let expected = "
since the baseline
     -100     900 -> 800     total  file
      -24      41 -> 17      total  text
      -76     859 -> 783     file   ELF header
      -30      30 -> -       text   gone
       +4       - -> 4       text   new
       +2      10 -> 12      text   grown
     -100  in the file: 6 bytes more, 106 fewer
";
        assert_eq!(now.difference(&before), expected);
        assert_eq!(now.summary(&before), "file -100, gzip +0, text -24");
        let mut other = now.clone();
        other.totals.insert("bss".into(), 7);
        assert_eq!(other.summary(&now), "file +0, gzip +0, text +0, bss +7");
        other.compiler = "rustc 1.96.0".into();
        assert_eq!(other.summary(&now), "file +0, gzip +0, text +0, bss +7; it was made with rustc 1.95.0");
        assert!(other.difference(&now).contains("  made with rustc 1.95.0, now with rustc 1.96.0\n"));
    }

    #[test]
    fn an_error_names_the_line() {
        for (good, bad, message) in [
            ("# size-report 2: place bytes name\n", "", "1: not a file that this version's --save wrote"),
            ("# made with rustc", "# by rustc", "2: not `# made with COMPILER`"),
            ("total 60 gzip", "total 60", "4: not `place bytes name`"),
            ("total 60 gzip", "total 6o gzip", "4: `6o` is not a number of bytes"),
            ("file 878 ELF", "sum 878 ELF", "6: `sum` is none of total, file, text, rodata, data, bss"),
            ("total 60 gzip", "total 60 file", "4: a second size of file"),
            ("whit::tell", "whit::main", "8: a second size of whit::main"),
            ("text 5", "text 6", "8: the parts of file add up to 901 bytes, its total is 900: --save again"),
            ("text 5", "data 5", "8: the parts of text add up to 17 bytes, its total is 22: --save again"),
        ] {
            let text = SAVED.replace(good, bad);
            assert_ne!(text, SAVED);
            assert_eq!(Baseline::parse(&text), Err(message.into()));
        }
    }
}
