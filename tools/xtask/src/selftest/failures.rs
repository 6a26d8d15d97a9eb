//! Extracts the cause of a failure from the output of `cargo test`.

/// Lines that are shown from the beginning of a message, which has the expectation.
const FIRST_LINES: usize = 4;
/// Lines that are shown from its end: of a console, the last output.
const LAST_LINES: usize = 10;
/// Characters of a line that are shown.
const MAX_COLUMNS: usize = 200;
/// Limit for the panics that are shown. If everything fails, the first ones are enough.
const MAX_PANICS: usize = 10;

/// Returns the output of the test programs that failed; the whole output without such a program, as after a compile error.
pub(crate) fn of_failed_programs(output: &str) -> String {
    let mut programs = vec![String::new()];
    for line in output.lines() {
        if line.starts_with("     Running ") || line.starts_with("   Doc-tests ") {
            programs.push(String::new());
        }
        let program = programs.last_mut().expect("one at least");
        program.push_str(line);
        program.push('\n');
    }
    let failed: String = programs.drain(1..).filter(|program| !program.contains("\ntest result: ok. ")).collect();
    if failed.is_empty() { output.to_owned() } else { failed }
}

/// Summarises the output in a few lines: each failed test, its place, and the beginning and end of its message.
pub(crate) fn summary(output: &str) -> Vec<String> {
    let panics = panics(output);
    let mut summary = Vec::new();
    for Panic { test, place, message } in panics.iter().take(MAX_PANICS) {
        summary.push(format!("{test}, {place}"));
        let first = message.len().min(FIRST_LINES);
        let last = message.len().saturating_sub(LAST_LINES).max(first);
        summary.extend(message[..first].iter().map(|line| format!("    {}", clipped(line))));
        if last > first {
            summary.push(format!("    [lines left out: {}]", last - first));
        }
        summary.extend(message[last..].iter().map(|line| format!("    {}", clipped(line))));
    }
    if panics.len() > MAX_PANICS {
        summary.push(format!("and {} more panics", panics.len() - MAX_PANICS));
    }
    summary
}

/// Cuts a line to [`MAX_COLUMNS`]: an assertion of two files shows each byte.
fn clipped(line: &str) -> String {
    let Some((end, _)) = line.char_indices().nth(MAX_COLUMNS) else { return line.to_owned() };
    format!("{} [{} more bytes]", &line[..end], line.len() - end)
}

/// A panic of a test that failed.
struct Panic<'o> {
    test: &'o str,
    place: &'o str,
    message: Vec<&'o str>,
}

/// Returns all panics of failed tests. Panics of tests that passed were expected.
fn panics(output: &str) -> Vec<Panic<'_>> {
    let mut panics = Vec::new();
    let mut test = "";
    let mut is_failure = false;
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        match line {
            "failures:" => is_failure = true,
            "successes:" => is_failure = false,
            _ => test = test_of(line).unwrap_or(test),
        }
        if let Some(place) = place_of(line).filter(|_| is_failure) {
            let mut message: Vec<&str> = std::iter::from_fn(|| lines.next_if(|line| !is_after_message(line))).collect();
            message.truncate(message.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
            panics.push(Panic { test, place, message });
        }
    }
    panics
}

/// Parses the test's name in libtest's line before its output: `---- root_is_late stdout ----`.
fn test_of(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// Parses the place in a panic's first line: `thread 'root_is_late' (12) panicked at tests/qemu_root.rs:4:9:`.
fn place_of(line: &str) -> Option<&str> {
    line.strip_prefix("thread '")?.split_once(" panicked at ")?.1.strip_suffix(':')
}

/// Returns whether a line is after a panic's message (std, `default_hook`): only a program's first panic has the note on backtraces.
fn is_after_message(line: &str) -> bool {
    matches!(line, "stack backtrace:" | "failures:")
        || line.starts_with("note: run with `RUST_BACKTRACE")
        || test_of(line).is_some()
        || place_of(line).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of cargo 1.96, shortened.
    const OUTPUT: &str = "\
     Running tests/good.rs (target/debug/deps/good-1)

running 1 test
test is_meant_to_panic - should panic ... ok

successes:

---- is_meant_to_panic stdout ----

thread 'is_meant_to_panic' (12) panicked at tests/good.rs:3:5:
meant
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


successes:
    is_meant_to_panic

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/bad.rs (target/debug/deps/bad-1)

running 2 tests
test fine ... ok
test power ... FAILED

successes:

---- fine stdout ----

thread '<unnamed>' panicked at tests/bad.rs:9:5:
caught


successes:
    fine

failures:

---- power stdout ----
WHIT_SEED=1

thread '<unnamed>' panicked at tests/bad.rs:4:9:
the console did not show \"wrote\"
stack backtrace:
   0: rust_begin_unwind
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
cut 12

thread 'power' (14) panicked at tests/bad.rs:20:5:
called `Result::unwrap()` on an `Err` value: Any { .. }

thread 'power' (14) panicked at tests/bad.rs:21:5:
again

failures:
    power

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.07s

error: test failed, to rerun pass `-p whit-tests --test bad`
";

    #[test]
    fn each_panic_of_a_failed_test_is_shown_without_its_stack() {
        let expected = [
            "power, tests/bad.rs:4:9",
            "    the console did not show \"wrote\"",
            "power, tests/bad.rs:20:5",
            "    called `Result::unwrap()` on an `Err` value: Any { .. }",
            "power, tests/bad.rs:21:5",
            "    again",
        ];
        assert_eq!(summary(OUTPUT), expected);
    }

    #[test]
    fn long_messages_have_a_beginning_and_an_end() {
        let console: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let bytes = "0, ".repeat(100);
        let panics = format!("thread 'a' panicked at a.rs:1:1:\n{console}{bytes}\nstack backtrace:\n").repeat(12);
        let summary = summary(&format!("failures:\n---- a stdout ----\n{panics}"));
        assert_eq!(summary[..3], ["a, a.rs:1:1", "    line 0", "    line 1"]);
        assert_eq!(summary[5..7], ["    [lines left out: 87]", "    line 91"]);
        assert_eq!(summary[14..17], ["    line 99", &format!("    {} [100 more bytes]", &bytes[..200]), "a, a.rs:1:1"]);
        assert_eq!(summary.last().unwrap(), "and 2 more panics");
        assert_eq!(summary.len(), 161);
    }

    #[test]
    fn programs_that_passed_are_left_out() {
        let failed = of_failed_programs(OUTPUT);
        assert!(failed.starts_with("     Running tests/bad.rs"), "{failed}");
        assert!(OUTPUT.ends_with(&failed));
        // One that crashed has no result.
        let crashed = "     Running tests/crash.rs\nrunning 1 test\nerror: test failed\n";
        assert_eq!(of_failed_programs(&format!("{crashed}     Running a\n\ntest result: ok. 0 passed\n")), crashed);
        let uncompiled = "error[E0425]: cannot find value `x`\n";
        assert_eq!(of_failed_programs(uncompiled), uncompiled);
    }
}
