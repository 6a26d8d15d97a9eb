//! Tables of cases and the tests that cover them: `ginit.md`, `dhcp.md`. Each case has a row, and each test that a row names
//! exists.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// Checks the rows `| number | … | … | tests |` of a file of this package. Tests are named as `` `FILE::TEST` ``, where a FILE
/// outside of `src/` is `tests/FILE.rs`; a row without tests starts with `not covered: ` and the reason.
pub fn check(table: &str, numbers: RangeInclusive<u32>) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(package.join(table)).unwrap_or_else(|error| panic!("{table}: {error}"));
    let mut seen = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, number, _, _, tests, _] = columns[..] else { panic!("not four columns: {row}") };
        let Ok(number) = number.parse::<u32>() else { continue };
        assert!(seen.insert(number), "{number} has two rows");
        let names: Vec<(&str, &str)> = tests.split('`').filter_map(|name| name.split_once("::")).collect();
        assert!(!names.is_empty() || tests.starts_with("not covered: "), "{number} has no test and no reason");
        for (file, test) in names {
            let path = if file.starts_with("src/") {
                package.join("..").join(file)
            } else {
                package.join("tests").join(file).with_extension("rs")
            };
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(has_test(&text, test), "{file} has no test {test}");
        }
    }
    assert!(seen.into_iter().eq(numbers), "each number has a row");
}

/// Returns whether there is such a function, with `#[test]` among the attributes right above it.
fn has_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}()")) else { return false };
    // The first is the text before the function on its own line.
    let attributes = before.lines().rev().map(str::trim).skip_while(|line| line.is_empty());
    attributes.take_while(|line| line.starts_with("#[")).any(|line| line == "#[test]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_without_the_attribute_is_no_test() {
        let text = "#[test]\n#[ignore]\nfn one() {}\n\n#[test]\nfn two() {}\n\n    #[test]\n    fn three() {}\n\nfn four() {}\n";
        for (name, expected) in [("one", true), ("two", true), ("three", true), ("four", false), ("five", false)] {
            assert_eq!(has_test(text, name), expected, "{name}");
        }
    }
}
