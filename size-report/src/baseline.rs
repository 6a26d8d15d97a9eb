//! The sizes of one build kept as text, and what changed since.
//!
//! A line is `kind size name`: `total 28672 file` or `symbol 412 whit::dhcp::client::Client::step`. Symbols of one name
//! (a generic function with several types) are one line. Sorted by name, so that two baselines also diff as text.

use std::collections::BTreeMap;
use std::fmt;

use crate::image::{Symbol, Totals};

/// The first line of the file.
const HEADER: &str = "# size-report 1: kind bytes name";

/// All sizes of one init, by kind and name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Baseline {
    totals: BTreeMap<String, u64>,
    symbols: BTreeMap<String, u64>,
}

impl Baseline {
    /// The sizes of an init.
    pub(crate) fn new(totals: &Totals, symbols: &[Symbol]) -> Self {
        let mut baseline = Self::default();
        for (name, size) in &totals.0 {
            baseline.totals.insert((*name).to_owned(), *size);
        }
        for symbol in symbols {
            *baseline.symbols.entry(symbol.name.clone()).or_default() += symbol.size;
        }
        baseline
    }

    /// Parses what `to_string` made; an error begins with the line's number.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(HEADER) {
            return Err("1: not a file that --save wrote".into());
        }
        let mut baseline = Self::default();
        for (index, line) in lines {
            let mut fields = line.splitn(3, ' ');
            let (Some(kind), Some(size), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
                return Err(format!("{}: not `kind bytes name`", index + 1));
            };
            let size = size.parse().map_err(|_| format!("{}: `{size}` is not a number of bytes", index + 1))?;
            let table = match kind {
                "total" => &mut baseline.totals,
                "symbol" => &mut baseline.symbols,
                _ => return Err(format!("{}: `{kind}` is neither total nor symbol", index + 1)),
            };
            table.insert(name.to_owned(), size);
        }
        Ok(baseline)
    }

    /// What changed since `before`, as text: totals in their order, symbols by how much they moved.
    pub(crate) fn difference(&self, before: &Self) -> String {
        let mut lines = vec!["\nsince the baseline\n".to_owned()];
        lines.extend(changes(&before.totals, &self.totals).into_iter().map(line));
        let mut symbols = changes(&before.symbols, &self.symbols);
        symbols.sort_by_key(|change| std::cmp::Reverse(change.delta.unsigned_abs()));
        lines.extend(symbols.into_iter().map(line));
        if lines.len() == 1 {
            lines.push("  nothing changed\n".to_owned());
        }
        lines.concat()
    }
}

struct Change<'a> {
    name: &'a str,
    before: Option<u64>,
    now: Option<u64>,
    delta: i128,
}

fn changes<'a>(before: &'a BTreeMap<String, u64>, now: &'a BTreeMap<String, u64>) -> Vec<Change<'a>> {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &'a String| {
        let (before, now) = (before.get(name).copied(), now.get(name).copied());
        let delta = i128::from(now.unwrap_or(0)) - i128::from(before.unwrap_or(0));
        (delta != 0 || before.is_some() != now.is_some()).then_some(Change { name, before, now, delta })
    };
    names.into_iter().filter_map(change).collect()
}

fn line(change: Change<'_>) -> String {
    let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), |size| size.to_string());
    format!("  {:>+7}  {:>6} -> {:<6}  {}\n", change.delta, size(change.before), size(change.now), change.name)
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for (kind, table) in [("total", &self.totals), ("symbol", &self.symbols)] {
            for (name, size) in table {
                writeln!(f, "{kind} {size} {name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin;

    fn baseline(file: u64, symbols: &[(&str, u64)]) -> Baseline {
        let symbol = |(name, size): &(&str, u64)| Symbol {
            name: (*name).into(),
            origin: origin::of(name).1,
            section: ".text".into(),
            size: *size,
        };
        Baseline::new(&Totals(vec![("file", file)]), &symbols.iter().map(symbol).collect::<Vec<_>>())
    }

    #[test]
    fn saved_and_read_again_it_is_the_same() {
        let saved = baseline(900, &[("whit::main", 10), ("<a as b>::c", 5), ("whit::main", 7)]);
        let text = saved.to_string();
        assert_eq!(
            text,
            "# size-report 1: kind bytes name\ntotal 900 file\nsymbol 5 <a as b>::c\nsymbol 17 whit::main\n"
        );
        assert_eq!(Baseline::parse(&text), Ok(saved));
    }

    #[test]
    fn the_difference_names_each_symbol_that_moved() {
        let before = baseline(900, &[("same", 1), ("grown", 10), ("gone", 30)]);
        let now = baseline(800, &[("same", 1), ("grown", 12), ("new", 4)]);
        let expected = "
since the baseline
     -100     900 -> 800     file
      -30      30 -> -       gone
       +4       - -> 4       new
       +2      10 -> 12      grown
";
        assert_eq!(now.difference(&before), expected);
        assert_eq!(now.difference(&now), "\nsince the baseline\n  nothing changed\n");
    }

    #[test]
    fn each_mistake_has_its_line() {
        for (text, message) in [
            ("", "1: not a file that --save wrote"),
            ("total 1 file\n", "1: not a file that --save wrote"),
            ("# size-report 1: kind bytes name\ntotal 1\n", "2: not `kind bytes name`"),
            ("# size-report 1: kind bytes name\ntotal one file\n", "2: `one` is not a number of bytes"),
            ("# size-report 1: kind bytes name\nsum 1 file\n", "2: `sum` is neither total nor symbol"),
        ] {
            assert_eq!(Baseline::parse(text), Err(message.into()));
        }
    }
}
