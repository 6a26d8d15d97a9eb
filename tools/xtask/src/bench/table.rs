//! The report for people: a table for each machine, with a row for each init and a column for each stage.

use super::goals::goals;
use super::matrix::Skipped;
use super::run::Measured;
use super::stages::{STAGES, Stage};
use super::stats::Sample;
use whit_tools::cli::size;

/// Returns the tables: medians in milliseconds, the widest spread of any stage, memory and sizes.
#[must_use]
pub fn table(head: &[String], measured: &[Measured], skipped: &[Skipped]) -> String {
    let mut text = head.join("\n");
    text.push('\n');
    let mut groups: Vec<(String, Vec<&Measured>)> = Vec::new();
    for one in measured {
        let title = one.cell.machine();
        match groups.iter_mut().find(|(known, _)| *known == title) {
            Some((_, group)) => group.push(one),
            None => groups.push((title, vec![one])),
        }
    }
    for (title, group) in groups {
        let runs = group.iter().map(|one| one.boots.len()).max().unwrap_or(0);
        text.push_str(&format!("\n{title} (milliseconds, median of {runs})\n"));
        text.push_str(&lines(&group));
        for one in group.iter().filter(|one| one.failure.is_some()) {
            let failure = one.failure.as_deref().unwrap_or_default();
            text.push_str(&format!(
                "  {} failed: {}\n",
                one.cell.contender,
                failure.lines().next().unwrap_or_default()
            ));
        }
    }
    let goals = goals(measured);
    if !goals.is_empty() {
        text.push_str("\ngoals\n");
        for goal in goals {
            text.push_str(&format!("  {goal}\n"));
        }
    }
    if !skipped.is_empty() {
        text.push_str("\nleft out\n");
        for Skipped { name, why } in skipped {
            text.push_str(&format!("  {name}: {why}\n"));
        }
    }
    text
}

fn lines(group: &[&Measured]) -> String {
    let mut rows = vec![titles()];
    rows.extend(group.iter().filter(|one| !one.boots.is_empty()).map(|one| row(one)));
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::from(" ");
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Names to the left, figures to the right.
            line.push_str(&if at == 0 { format!(" {cell:<width$}") } else { format!("  {cell:>width$}") });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn titles() -> Vec<String> {
    let stages = STAGES.iter().map(|stage| stage.title());
    ["init"].into_iter().chain(stages).chain(["spread", "PID 1 peak", "initramfs"]).map(str::to_owned).collect()
}

fn row(one: &Measured) -> Vec<String> {
    let mut row = vec![one.cell.contender.clone()];
    let samples: Vec<Option<Sample>> = STAGES.iter().map(|stage| one.sample(*stage)).collect();
    row.extend(samples.iter().map(|sample| sample.as_ref().map_or_else(|| "-".to_owned(), |one| millis(one.median()))));
    row.push(spread(one));
    row.push(one.peak_kib().map_or_else(|| "-".to_owned(), |peak| size::show(peak * 1024)));
    row.push(one.cell.initramfs_bytes.map_or_else(|| "none".to_owned(), size::show));
    row
}

/// Returns the widest spread of any stage of the init, in percent and milliseconds.
fn spread(one: &Measured) -> String {
    let samples = STAGES.iter().filter(|stage| **stage != Stage::Kernel).filter_map(|stage| one.sample(*stage));
    let widest = samples.max_by(|left, right| left.spread_percent().total_cmp(&right.spread_percent()));
    match widest {
        Some(sample) if sample.range() > 0 => {
            format!("{:.2} % ({} ms)", sample.spread_percent(), millis(sample.range()))
        }
        Some(_) => "0".to_owned(),
        None => "-".to_owned(),
    }
}

/// Formats milliseconds with microseconds after the point.
pub(super) fn millis(nanoseconds: u64) -> String {
    let micros = (nanoseconds + 500) / 1000;
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::measured;
    use super::*;

    #[test]
    fn a_row_has_every_stage() {
        let text = table(
            &["head".to_owned()],
            &[measured("whit", &[3_000_000, 3_000_000]), measured("other", &[30_000_000, 33_000_000])],
            &[Skipped { name: "x/y".into(), why: "no module".into() }],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["head", "", "micro, virtio-net, root on memory (milliseconds, median of 2)"]);
        assert!(lines[3].starts_with("  init   kernel -> init  init -> root"), "{text}");
        let words: Vec<&str> = lines[4].split_whitespace().collect();
        assert_eq!(words, ["whit", "100.000", "1.000", "-", "-", "3.000", "-", "0", "112.0", "KiB", "20.0", "KiB"]);
        assert!(lines[5].contains("10.00 % (3.000 ms)"), "{text}");
        assert_eq!(lines[7..], ["left out", "  x/y: no module"]);
    }

    #[test]
    fn microseconds_are_rounded() {
        assert_eq!([0, 499, 500, 1_234_567].map(millis), ["0.000", "0.000", "0.001", "1.235"]);
    }
}
