//! The report: lines of each file, and of the library those that no test reaches.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::lcov::Lines;

/// What the library is to have, in percent.
const GOAL: f64 = 95.0;

/// Lines of the library that no test can reach: the file, the functions, why. They are not counted.
const UNREACHABLE: [(&str, &[&str], &str); 4] = [
    ("src/contract.rs", &["text"], "the constants are ASCII"),
    ("src/mounts.rs", &["column", "mount", "packed", "node"], COMPILER),
    ("src/options/table.rs", &["kernel", "whit", "of", "seconds", "kernel_rows", "joined_len", "joined"], COMPILER),
    ("src/probe.rs", &["format"], COMPILER),
];
const COMPILER: &str = "the compiler runs it, to make a constant";

/// Lines of one file.
#[derive(Clone, Copy, Default)]
struct Count {
    all: usize,
    reached: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.reached += other.reached;
    }

    fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 * self.reached as f64 / self.all as f64 }
    }
}

/// The parts of the source that are measured, and their folders.
const PARTS: [(&str, &str); 2] = [("the library", "src/"), ("the tools", "tools/src/")];

/// Makes the report.
///
/// # Errors
/// A file that cannot be read; a library below its goal.
pub(crate) fn of(lines: &Lines, root: &Path, commands: &[String], compiler: &str) -> Result<String, String> {
    let mut text = format!("cargo coverage\nlines reached by {}; {compiler}\n", commands.join(" and "));
    text.push_str("unit tests, at the end of a file or in files of their own, are not counted; nor is src/pid1\n");
    let (mut totals, mut unreached) = ([Count::default(); PARTS.len()], String::new());
    let mut excused = BTreeMap::new();
    for (index, (part, folder)) in PARTS.iter().enumerate() {
        let mut table = String::new();
        for (file, lines) in lines.iter().filter(|(file, _)| file.starts_with(folder) && is_measured(file)) {
            let source = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
            let end = tests_start(&source);
            let mut count = Count::default();
            for (number, reached) in lines.range(..end) {
                let reason = if *reached { None } else { unreachable(file, function(&source, *number)) };
                if let Some(reason) = reason {
                    let place = format!("{file}, {}: {reason}", function(&source, *number));
                    *excused.entry(place).or_insert(0_usize) += 1;
                    continue;
                }
                count.add(Count { all: 1, reached: usize::from(*reached) });
                if index == 0 && !reached {
                    let line = source.lines().nth(*number as usize - 1).unwrap_or_default().trim();
                    let _ = writeln!(unreached, "{file}:{number}: {line}"); // a string takes everything
                }
            }
            totals[index].add(count);
            row(&mut table, file, count);
        }
        let _ = writeln!(text, "\n{:<52}{:>8}{:>10}{:>8}", "", "lines", "reached", "%");
        row(&mut text, part, totals[index]);
        text.push_str(&table);
    }
    text.push_str("\nlines of the library that no test can reach, which are not counted above\n");
    for (place, count) in excused {
        let _ = writeln!(text, "{count:>4}  {place}");
    }
    if !unreached.is_empty() {
        let _ = write!(text, "\nlines of the library that no test reaches\n{unreached}");
    }
    let percent = totals[0].percent();
    if percent < GOAL {
        return Err(format!("{text}\nthe library has {percent:.1} % of its lines reached, and is to have {GOAL} %"));
    }
    Ok(text)
}

/// Why no test can reach a function.
fn unreachable(file: &str, function: &str) -> Option<&'static str> {
    let known = UNREACHABLE.iter().find(|(known, functions, _)| *known == file && functions.contains(&function))?;
    Some(known.2)
}

fn row(table: &mut String, name: &str, count: Count) {
    let _ = writeln!(table, "{name:<52}{:>8}{:>10}{:>8.1}", count.all, count.reached, count.percent());
}

/// Whether a file is neither the init's effects nor a test.
fn is_measured(file: &str) -> bool {
    let is_test = |part: &str| matches!(part, "tests" | "tests.rs" | "fuzz.rs");
    !file.starts_with("src/pid1/") && !file.split('/').any(is_test)
}

/// The first line of the unit tests at the end of a file.
fn tests_start(source: &str) -> u32 {
    let lines: Vec<&str> = source.lines().collect();
    let is_start = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ");
    lines.windows(2).position(is_start).unwrap_or(lines.len()) as u32 + 1
}

/// The name of the function that a line is in: the last one that starts before it, and is named there.
fn function(source: &str, number: u32) -> &str {
    let lines: Vec<&str> = source.lines().take(number as usize).collect();
    let names = lines.iter().rev().filter(|line| !line.trim_start().starts_with("//"));
    let name = names.filter_map(|line| line.split_once("fn ")).map(|(_, rest)| rest.split(['(', '<']).next());
    name.flatten().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_no_lines_of_a_file() {
        assert_eq!(tests_start("fn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(tests_start("fn f() {}\n#[cfg(test)]\npub(crate) mod tests;\n"), 2);
        assert_eq!(tests_start("fn f() {}\n"), 2);
        let source =
            "impl X {\n    /// The fn of it.\n    const fn one<T>(t: T) {\n        // no fn\n        two()\n    }\n}\n";
        assert_eq!([function(source, 1), function(source, 3), function(source, 5)], ["", "one", "one"]);
        assert!(is_measured("src/a.rs") && is_measured("tools/src/tests_of.rs"));
        for file in ["src/pid1/main.rs", "src/a/tests.rs", "src/a/tests/b.rs", "src/a/fuzz.rs"] {
            assert!(!is_measured(file), "{file}");
        }
    }

    #[test]
    fn a_report_names_what_is_missed_and_refuses_too_little() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        let source: String = (1..=40).map(|number| format!("line {number}\n")).collect();
        fs::write(folder.path().join("src/a.rs"), source).unwrap();
        let lines = |missed: u32| {
            let lines: BTreeMap<u32, bool> = (1..=40).map(|number| (number, number > missed)).collect();
            Lines::from([("src/a.rs".to_owned(), lines)])
        };
        let of = |missed| of(&lines(missed), folder.path(), &["cargo test".to_owned()], "rustc 1");
        let text = of(2).unwrap();
        assert!(text.starts_with("cargo coverage\nlines reached by cargo test; rustc 1\n"), "{text}");
        assert!(
            text.contains("      40        38    95.0\n") && text.ends_with("src/a.rs:1: line 1\nsrc/a.rs:2: line 2\n")
        );
        assert!(of(3).unwrap_err().ends_with("the library has 92.5 % of its lines reached, and is to have 95 %"));
    }
}
