//! The inits for another machine than the host: their sizes beside those of the host, and their limits.

use std::fmt::Write;
use std::path::Path;

use xtask::init::{Init, Toolchain};

use crate::budget::Budget;
use crate::totals::{Totals, gzip_len};

/// The names of sizes in a budget: an init and `gzip -9` of it, in the order of [`Init::ALL`].
const NAMES: &[&str] = &["min", "min.gzip", "seed", "seed.gzip", "whole", "whole.gzip", "fleet", "fleet.gzip"];

/// Builds the inits for the machine of `triple`, and passes their report to `show`; returns one line for each size over its limit.
pub(crate) fn run(
    package: &Path,
    triple: &str,
    show: &dyn Fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, String> {
    let machine = triple.split('-').next().unwrap_or(triple);
    let path = package.join(format!("budget-{machine}.txt"));
    let text = crate::read_text(&path)?;
    let budget = Budget::parse(&text, NAMES).map_err(|error| format!("{}:{error}", path.display()))?;
    let (ours, theirs) = (sizes(&Toolchain::host())?, sizes(&Toolchain::of(triple)?)?);
    show(&table(machine, &ours, &theirs, &budget))?;
    Ok(budget.broken_by(&theirs))
}

/// Builds the inits by a toolchain; returns their sizes.
fn sizes(toolchain: &Toolchain) -> Result<Totals, String> {
    let mut sizes = Vec::new();
    for init in Init::ALL {
        let path = init.build_with(toolchain)?;
        let file = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        sizes.extend([file.len() as u64, gzip_len(&file)]);
    }
    Ok(Totals(NAMES.iter().copied().zip(sizes).collect()))
}

/// Returns a line for each size: that of the host, that of the machine, their relation, and the limit.
fn table(machine: &str, ours: &Totals, theirs: &Totals, budget: &Budget) -> String {
    let mut text = format!("{:<12}{:>10}{:>10}{:>8}{:>10}\n", "bytes", "host", machine, "", "limit");
    for ((name, our), (_, their)) in ours.0.iter().zip(&theirs.0) {
        let percent = (*their as f64 / *our as f64 - 1.0) * 100.0;
        let limit = budget.limit(name).unwrap_or_default();
        let _ = writeln!(text, "{name:<12}{our:>10}{their:>10}{percent:>+7.1}%{limit:>10}"); // writing to a string cannot fail
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_the_difference_and_the_limit() {
        let totals = |size: u64| Totals(NAMES.iter().map(|name| (*name, size)).collect());
        let limits: String = NAMES.iter().map(|name| format!("{name} 104 # reason\n")).collect();
        let budget = Budget::parse(&limits, NAMES).unwrap();
        let text = table("arm", &totals(100), &totals(105), &budget);
        assert_eq!(text.lines().nth(1), Some("min                100       105   +5.0%       104"));
        assert_eq!(budget.broken_by(&totals(105)).len(), NAMES.len());
    }

    #[test]
    fn the_committed_budget_is_valid() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/budget-aarch64.txt")).unwrap();
        Budget::parse(&text, NAMES).unwrap();
    }
}
