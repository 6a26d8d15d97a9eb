//! Programs of other projects that tests run, and e2fsck as the check of an image.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `e2fsck -fn`; any line except its passes and its summary is a failure.
pub fn assert_clean(image: &Path) {
    let output = run(Command::new("e2fsck").arg("-fn").arg(image));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let passes =
        lines.by_ref().take(5).enumerate().all(|(index, line)| line.starts_with(&format!("Pass {}: ", index + 1)));
    let summary = lines.next().is_some_and(|line| line.contains(" files (") && line.ends_with(" blocks"));
    assert!(output.status.success() && passes && summary && lines.next().is_none(), "e2fsck -fn: {text}");
}

/// Runs a program that must exist, and returns its output.
pub fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match command.env("PATH", path).output() {
        Ok(output) => output,
        Err(error) => panic!("{name}: {error}; install e2fsprogs, tar, util-linux and mount"),
    }
}

/// Runs a program that must succeed, and returns its standard output.
pub fn run_well(command: &mut Command) -> Vec<u8> {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
