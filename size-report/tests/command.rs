//! The command on the init of this workspace.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.txt");

fn size_report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_size-report")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes the committed budget with one limit for all sizes.
fn budget(directory: &Path, name: &str, limit: &str) -> String {
    let lines = fs::read_to_string(COMMITTED).unwrap();
    let replaced = lines.lines().map(|line| {
        let mut fields = line.splitn(3, char::is_whitespace);
        let field = fields.next().unwrap();
        if field.is_empty() || field == "#" { String::new() } else { format!("{field} {limit} # a test's\n") }
    });
    let path = directory.join(name);
    fs::write(&path, replaced.collect::<String>()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_size_over_its_limit_fails_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let broken = size_report(&["--budget", &budget(directory.path(), "none", "1")]);
    let lines: Vec<&str> = text(&broken.stderr).lines().collect();
    assert_eq!(broken.status.code(), Some(1), "{lines:?}");
    let names = [
        "file",
        "gzip",
        "text",
        "rodata",
        "data",
        "bss",
        "min",
        "min.gzip",
        "seed",
        "seed.gzip",
        "fleet",
        "fleet.gzip",
    ];
    assert_eq!(lines.len(), names.len(), "{lines:?}");
    for (line, name) in lines.iter().zip(names) {
        assert!(
            line.starts_with(&format!("size-report: {name}: ")) && line.ends_with(" over its limit of 1"),
            "{line}"
        );
    }

    let held = size_report(&["--budget", &budget(directory.path(), "any", "9999999")]);
    assert!(held.status.success() && held.stderr.is_empty(), "{}", text(&held.stderr));
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let budget = budget(directory.path(), "any", "9999999");
    let into = |stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_size-report"));
        let output = command.args(["--budget", &budget]).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(into(writer.into()), (Some(0), String::new()));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, errors) = into(full.into());
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("size-report: standard output: ") && errors.lines().count() == 1, "{errors}");
}

#[test]
fn the_sums_are_the_file_and_a_saved_baseline_compares_equal() {
    let directory = tempfile::tempdir().unwrap();
    let budget = budget(directory.path(), "any", "9999999");
    let (saved, picture) = (directory.path().join("baseline.txt"), directory.path().join("size.svg"));
    let first = size_report(&["--budget", &budget, "--save", path(&saved), "--svg", path(&picture)]);
    let report = text(&first.stdout);
    let row = |name: &str| -> Vec<Vec<&str>> {
        let fields = report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        fields.filter(|fields| fields.first() == Some(&name)).collect()
    };
    let (file, sums) = (row("file")[0][1], row("sum"));
    assert_eq!((sums[0][1], sums[1][1]), (file, file), "sections, crates: {report}");

    let second = size_report(&["--budget", &budget, "--compare", path(&saved), "--strings", "--top", "0"]);
    let report = text(&second.stdout);
    assert!(report.contains("since the baseline: file +0, gzip +0, text +0\n"), "{report}");
    assert!(report.ends_with("\nsince the baseline\n  nothing changed\n"), "{report}");
    assert!(report.contains("/etc/whit.conf\"  for whit::"), "a message of the init: {report}");
    let strings = report.lines().filter(|line| line.contains("  0x40"));
    let (lost, held): (Vec<&str>, Vec<&str>) = strings.partition(|line| line.ends_with("  no known user"));
    assert!(lost.len() * 10 < held.len(), "relocations lead from code to constants: {lost:?}");
    let picture = fs::read_to_string(picture).unwrap();
    assert!(picture.contains("machine") && picture.ends_with("</svg>\n"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn an_error_is_one_line_before_the_build() {
    let directory = tempfile::tempdir().unwrap();
    let (missing, wrong) = (directory.path().join("missing"), directory.path().join("wrong"));
    fs::write(&wrong, "file 12\n").unwrap();
    for (arguments, message) in [
        (["--compare", path(&missing)], "missing: No such file or directory (os error 2)\n"),
        (["--compare", path(&wrong)], "wrong:1: not a file that this version's --save wrote\n"),
        (["--budget", path(&wrong)], "wrong:1: a limit needs its reason after a #\n"),
    ] {
        let output = size_report(&arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        let line = text(&output.stderr);
        assert!(line.starts_with("size-report: ") && line.ends_with(message), "{line}");
    }
}
