//! The report for people: totals against their limits, bytes by crate and module, the largest symbols.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::budget::Budget;
use crate::image::{Symbol, Totals};
use crate::machinery::{self, Traces};
use crate::origin::Origin;

/// The whole report. Writing to a `String` cannot fail, so its results are dropped.
pub(crate) fn text(
    totals: &Totals,
    budget: &Budget,
    symbols: &[Symbol],
    rodata: &[u8],
    traces: &Traces,
    top: usize,
) -> String {
    let mut out = String::new();
    sizes(&mut out, totals, budget);
    crates(&mut out, symbols);
    largest(&mut out, symbols, top);
    let (count, bytes) =
        machinery::strings(rodata).fold((0, 0), |(count, bytes), text| (count + 1, bytes + text.len()));
    let _ = writeln!(out, "\nstrings   {count}, {bytes} of the {} bytes of .rodata", rodata.len());
    let (fmt, panicking, texts) = (traces.fmt.len(), traces.panicking.len(), traces.texts.len());
    let _ = writeln!(out, "core::fmt {fmt} symbols; core::panicking {panicking} symbols, {texts} texts");
    out
}

fn sizes(out: &mut String, totals: &Totals, budget: &Budget) {
    let _ = writeln!(out, "{:<10}{:>8}{:>8}{:>8}", "the init", "bytes", "limit", "left");
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
    in_memory_alone: u64,
    symbols: usize,
}

impl Share {
    fn add(&mut self, symbol: &Symbol) {
        *(if symbol.is_in_file() { &mut self.in_file } else { &mut self.in_memory_alone }) += symbol.size;
        self.symbols += 1;
    }

    fn columns(&self) -> String {
        format!("{:>8}{:>8}{:>9}", self.in_file, self.in_memory_alone, self.symbols)
    }
}

fn crates(out: &mut String, symbols: &[Symbol]) {
    let mut by_crate: BTreeMap<&str, (Share, BTreeMap<&str, Share>)> = BTreeMap::new();
    for symbol in symbols {
        let Origin { krate, module } = &symbol.origin;
        let (whole, modules) = by_crate.entry(krate).or_default();
        for share in [whole, modules.entry(module).or_default()] {
            share.add(symbol);
        }
    }
    let _ = writeln!(out, "\n{:<34}{:>8}{:>8}{:>9}", "by crate and module", "file", "bss", "symbols");
    for (krate, (whole, modules)) in largest_first(by_crate, |(whole, _)| whole.in_file) {
        let _ = writeln!(out, "{krate:<34}{}", whole.columns());
        if modules.len() > 1 || !modules.contains_key("") {
            for (module, share) in largest_first(modules, |share| share.in_file) {
                let module = if module.is_empty() { "(root)" } else { module };
                let _ = writeln!(out, "  {module:<32}{}", share.columns());
            }
        }
    }
}

fn largest_first<V>(map: BTreeMap<&str, V>, bytes: impl Fn(&V) -> u64) -> Vec<(&str, V)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by_key(|(_, value)| std::cmp::Reverse(bytes(value)));
    entries
}

fn largest(out: &mut String, symbols: &[Symbol], top: usize) {
    let (in_file, in_memory_alone): (Vec<&Symbol>, _) = symbols.iter().partition(|symbol| symbol.is_in_file());
    for (title, symbols) in [("in the file", in_file), ("in memory alone", in_memory_alone)] {
        if symbols.is_empty() || top == 0 {
            continue;
        }
        let (shown, all) = (top.min(symbols.len()), symbols.len());
        let _ = writeln!(out, "\n{:<8}{:<9}{title}: the largest {shown} of {all} symbols", "bytes", "section");
        for Symbol { name, section, size, .. } in symbols.into_iter().take(top) {
            let _ = writeln!(out, "{size:<8}{section:<9}{name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin;

    fn symbol(mangled: &str, section: &str, size: u64) -> Symbol {
        let (name, origin) = origin::of(mangled);
        Symbol { name, origin, section: section.into(), size }
    }

    #[test]
    fn the_report_of_a_small_init() {
        let budget = "file 32768 # a\ngzip 16384 # a\ntext 500 # a\nrodata 30 # a\ndata 20 # a\nbss 10 # a\n";
        let sizes = [("file", 1000), ("gzip", 700), ("text", 535), ("rodata", 12), ("data", 0), ("bss", 0)];
        let symbols = [
            symbol("_ZN4whit4dhcp6client6Client4step17hf3828d5be280a9e5E", ".text", 400),
            symbol("_ZN4whit4dhcp5lease5Lease5parse17hf3828d5be280a9e5E", ".text", 100),
            symbol("_ZN4whit4main17hf3828d5be280a9e5E", ".text", 30),
            symbol("memcpy", ".text", 5),
            symbol("_ZN4whit6BUFFER17hf3828d5be280a9e5E", ".bss", 9),
        ];
        let traces = machinery::find(&symbols, b"");
        let rodata = b"\0whit: lease";
        let text = text(&Totals(sizes.into()), &Budget::parse(budget).unwrap(), &symbols, rodata, &traces, 2);
        let expected = "\
the init     bytes   limit    left
file          1000   32768   31768
gzip           700   16384   15684
text           535     500     -35
rodata          12      30      18
data             0      20      20
bss              0      10      10

by crate and module                   file     bss  symbols
whit                                   530       9        4
  dhcp::client                         400       0        1
  dhcp::lease                          100       0        1
  (root)                                30       9        2
no_mangle                                5       0        1

bytes   section  in the file: the largest 2 of 4 symbols
400     .text    whit::dhcp::client::Client::step
100     .text    whit::dhcp::lease::Lease::parse

bytes   section  in memory alone: the largest 1 of 1 symbols
9       .bss     whit::BUFFER

strings   1, 11 of the 12 bytes of .rodata
core::fmt 0 symbols; core::panicking 0 symbols, 0 texts
";
        assert_eq!(text, expected);
    }
}
