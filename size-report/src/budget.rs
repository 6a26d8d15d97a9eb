//! The limits in `budget.txt`, and in those of other machines: one `name limit  # reason` in each line.
//!
//! Each size has exactly one limit, and each limit has a reason: a reviewer sees when one is raised.

use std::fmt;

use crate::totals::Totals;

/// The names of sizes, in the order of [`Totals`].
pub(crate) const NAMES: &[&str] =
    &["file", "gzip", "text", "rodata", "data", "bss", "min", "min.gzip", "seed", "seed.gzip", "fleet", "fleet.gzip"];

/// How much larger an init of another compiler may be. The limits are exact for the compiler of rust-toolchain.toml.
pub(crate) const OTHER_COMPILER_PERCENT: u64 = 2;

/// A limit for each name of a size.
#[derive(Debug, PartialEq)]
pub(crate) struct Budget(Vec<(&'static str, u64)>);

/// An error of a budget file, and its line.
#[derive(Debug, PartialEq)]
pub(crate) struct ParseError {
    line: usize,
    cause: Cause,
}

#[derive(Debug, PartialEq)]
enum Cause {
    Shape,
    Name(String, &'static [&'static str]),
    Twice(String),
    Limit(String),
    Reason,
    Missing(&'static str),
}

impl Budget {
    /// Parses the text of a budget file with a limit for each of `names`.
    pub(crate) fn parse(text: &str, names: &'static [&'static str]) -> Result<Self, ParseError> {
        let mut limits = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let at = |cause| ParseError { line: index + 1, cause };
            let (fields, reason) = line.split_once('#').unwrap_or((line, ""));
            let mut fields = fields.split_whitespace();
            let Some(name) = fields.next() else { continue };
            let (Some(limit), None) = (fields.next(), fields.next()) else { return Err(at(Cause::Shape)) };
            let known =
                names.iter().find(|known| **known == name).ok_or_else(|| at(Cause::Name(name.into(), names)))?;
            if limits.iter().any(|(earlier, _)| earlier == known) {
                return Err(at(Cause::Twice(name.into())));
            }
            limits.push((*known, limit.parse().map_err(|_| at(Cause::Limit(limit.into())))?));
            if reason.trim().is_empty() {
                return Err(at(Cause::Reason));
            }
        }
        let budget = Self(limits);
        match names.iter().find(|name| budget.limit(name).is_none()) {
            Some(name) => Err(ParseError { line: text.lines().count(), cause: Cause::Missing(name) }),
            None => Ok(budget),
        }
    }

    /// Returns the limit of a size.
    pub(crate) fn limit(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, limit)| *limit)
    }

    /// Returns the limits for another compiler than the pinned one.
    pub(crate) fn for_other_compiler(&self) -> Self {
        Self(self.0.iter().map(|(name, limit)| (*name, limit + limit * OTHER_COMPILER_PERCENT / 100)).collect())
    }

    /// Returns one line for each size over its limit.
    pub(crate) fn broken_by(&self, totals: &Totals) -> Vec<String> {
        let over = |(name, size): &(&str, u64)| {
            let limit = self.limit(name)?;
            (*size > limit).then(|| format!("{name}: {size} bytes, {} over its limit of {limit}", size - limit))
        };
        totals.0.iter().filter_map(over).collect()
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        match &self.cause {
            Cause::Shape => write!(f, "not `name limit  # reason`"),
            Cause::Name(name, names) => write!(f, "`{name}` is none of {}", names.join(", ")),
            Cause::Twice(name) => write!(f, "a second limit for {name}"),
            Cause::Limit(limit) => write!(f, "`{limit}` is not a number of bytes"),
            Cause::Reason => write!(f, "a limit needs its reason after a #"),
            Cause::Missing(name) => write!(f, "the file ends without a limit for {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# sizes\n\nfile 60 # a\ngzip 50 # a\ntext 40 # a\nrodata 30 # a\ndata 20 # a\nbss 10  # a b\n\
    min 6 # a\nmin.gzip 5 # a\nseed 4 # a\nseed.gzip 3 # a\nfleet 2 # a\nfleet.gzip 1 # a\n";

    fn totals(sizes: [u64; 6]) -> Totals {
        let sizes = sizes.into_iter().chain([6, 5, 4, 3, 2, 1]);
        Totals(NAMES.iter().copied().zip(sizes).collect())
    }

    #[test]
    fn a_size_at_its_limit_is_within_it() {
        let budget = Budget::parse(GOOD, NAMES).unwrap();
        assert_eq!(budget.broken_by(&totals([60, 50, 40, 30, 20, 10])), [""; 0]);
        assert_eq!(
            budget.broken_by(&totals([61, 50, 40, 30, 20, 17])),
            ["file: 61 bytes, 1 over its limit of 60", "bss: 17 bytes, 7 over its limit of 10"]
        );
    }

    #[test]
    fn another_compiler_may_add_two_percent() {
        let budget = Budget::parse(&GOOD.replace("file 60", "file 6000"), NAMES).unwrap().for_other_compiler();
        assert_eq!(budget.broken_by(&totals([6120, 51, 40, 30, 20, 10])), [""; 0]);
        assert_eq!(
            budget.broken_by(&totals([6121, 51, 40, 30, 20, 10])),
            ["file: 6121 bytes, 1 over its limit of 6120"]
        );
    }

    #[test]
    fn an_error_names_the_line() {
        for (good, bad, message) in [
            ("text 40", "text", "5: not `name limit  # reason`"),
            ("text 40", "text 40 41", "5: not `name limit  # reason`"),
            (
                "text 40",
                "txt 40",
                "5: `txt` is none of file, gzip, text, rodata, data, bss, min, min.gzip, seed, seed.gzip, fleet, fleet.gzip",
            ),
            ("text 40", "gzip 40", "5: a second limit for gzip"),
            ("text 40", "text 40k", "5: `40k` is not a number of bytes"),
            ("text 40", "text -1", "5: `-1` is not a number of bytes"),
            ("bss 10  # a b", "bss 10  # ", "8: a limit needs its reason after a #"),
            ("bss 10  # a b", "", "14: the file ends without a limit for bss"),
        ] {
            let text = GOOD.replace(good, bad);
            assert_ne!(text, GOOD);
            assert_eq!(Budget::parse(&text, NAMES).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_committed_budget_is_valid() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/budget.txt")).unwrap();
        let budget = Budget::parse(&text, NAMES).unwrap();
        // The report must fail before the link does: linker/whit.ld asserts 105 KiB of memory.
        assert!(budget.limit("bss").is_some_and(|limit| limit <= 105 * 1024) && budget.limit("file").is_some());
        assert_eq!(budget.limit("name"), None);
    }
}
