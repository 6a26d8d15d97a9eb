//! Files that a test writes and runs.
//!
//! A file that one thread has open for writing is also open in every process that another thread starts, until that
//! process calls execve(2); and execve(2) of a file that is open for writing fails with ETXTBSY. So install(1) writes these
//! files: once it has ended, they are open nowhere.

use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program, with mode 0755.
pub fn write_program(place: &Path, contents: &[u8]) {
    write(place, contents, 0o755);
}

/// Writes a file that may be executed later.
pub(crate) fn write(place: &Path, contents: &[u8], mode: u32) {
    let mut source = tempfile::tempfile().expect("a temporary file");
    source.write_all(contents).expect("room");
    source.rewind().expect("a file");
    install(Path::new("/dev/stdin"), place, mode, source.into());
}

/// Copies a program; the copy's mode is 0755.
pub fn copy_program(program: &Path, place: &Path) {
    install(program, place, 0o755, Stdio::null());
}

fn install(source: &Path, place: &Path, mode: u32, input: Stdio) {
    let mode = format!("{mode:o}");
    let output = Command::new("install").args(["-m", &mode]).arg(source).arg(place).stdin(input).output();
    let output = output.expect("install(1), of coreutils");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_written_program_runs_while_others_are_started() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        let copy = folder.path().join("busybox");
        let run = || {
            write_program(&script, b"#!/bin/sh\nexit 0\n");
            copy_program(Path::new("/bin/busybox"), &copy);
            Command::new(&script).status().unwrap().success()
                && Command::new(&copy).arg("true").status().unwrap().success()
        };
        thread::scope(|scope| {
            let runs = scope.spawn(|| (0..50).all(|_| run()));
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| while !runs.is_finished() && Command::new("true").status().is_ok() {});
                }
            });
            assert!(runs.join().unwrap());
        });
    }
}
