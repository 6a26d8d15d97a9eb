//! The mark of a container whose programs were killed for want of memory: a file `oom`, as conmon writes it for a cgroup.
//!
//! The kernel of the machine kills there, of which no cgroup of the host has a trace. podman looks for the file when the container has
//! ended: 4.3 in the bundle, later versions in the folder that they give to conmon as `--persist-dir`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of the file (conmon, src/cgroup.c).
const NAME: &str = "oom";

/// The places of the mark.
#[derive(Clone, Debug)]
pub(super) struct Oom(Vec<PathBuf>);

impl Oom {
    pub(super) fn new<'a>(folders: impl Iterator<Item = &'a Path>) -> Self {
        Self(folders.map(|folder| folder.join(NAME)).collect())
    }

    /// Creates the mark if a line of the console is the kernel's report of a killed process.
    pub(super) fn look_at(&self, line: &str) {
        if is_report(line) {
            // Without the mark, the container's status is the same.
            self.0.iter().for_each(|path| drop(File::create(path)));
        }
    }
}

/// Whether a line is the report of `__oom_kill_process()` (mm/oom_kill.c), for the whole memory or for a cgroup of the workload's own.
fn is_report(line: &str) -> bool {
    ["Out of memory", "Memory cgroup out of memory"].iter().any(|cause| {
        let report = line.find(cause).and_then(|place| line.get(place + cause.len()..));
        report.is_some_and(|rest| rest.contains(": Killed process "))
    })
}

/// Returns conmon's folder for the container, if conmon has started this process with one.
pub(super) fn persistent_folder() -> Option<PathBuf> {
    let parent = rustix::process::getppid()?;
    folder_of(&fs::read(format!("/proc/{}/cmdline", parent.as_raw_nonzero())).ok()?)
}

/// Finds the folder in conmon's command line, as proc(5) has it.
fn folder_of(line: &[u8]) -> Option<PathBuf> {
    let mut words = line.split(|byte| *byte == 0);
    let program = Path::new(OsStr::from_bytes(words.next()?));
    if program.file_name() != Some(OsStr::new("conmon")) {
        return None;
    }
    words.find(|word| *word == b"--persist-dir")?;
    let folder = PathBuf::from(OsStr::from_bytes(words.next()?));
    folder.is_absolute().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_report_of_a_killed_process_leaves_the_mark() {
        for (line, expected) in [
            ("[   12.34] Out of memory: Killed process 101 (tail) total-vm:70000kB, anon-rss:40000kB", true),
            ("Memory cgroup out of memory: Killed process 7 (a) total-vm:1kB", true),
            ("Out of memory (oom_kill_allocating_task): Killed process 7 (a) total-vm:1kB", true),
            ("[    1.00] Out of memory and no killable processes...", false),
            ("Killed process 7", false),
            ("", false),
        ] {
            let top = tempfile::tempdir().unwrap();
            let (bundle, persistent) = (top.path().join("bundle"), top.path().join("persistent"));
            fs::create_dir(&bundle).unwrap();
            fs::create_dir(&persistent).unwrap();
            let missing = top.path().join("missing");
            let folders = [bundle.as_path(), &missing, &persistent];
            Oom::new(folders.into_iter()).look_at(line);
            let marks = folders.map(|folder| folder.join("oom").exists());
            assert_eq!(marks, [expected, false, expected], "{line}");
        }
    }

    #[test]
    fn the_folder_is_that_of_conmon() {
        for (line, expected) in [
            // Of podman 5: the runtime's options follow.
            (
                "/usr/bin/conmon\0-c\0id\0-b\0/b\0--persist-dir\0/run/libpod/persist/id\0--rt\0x\0",
                Some("/run/libpod/persist/id"),
            ),
            ("conmon\0--persist-dir\0relative\0", None),
            ("conmon\0-c\0id\0", None),
            ("conmon\0--persist-dir", None),
            ("/usr/bin/other\0--persist-dir\0/run\0", None),
            ("", None),
        ] {
            assert_eq!(folder_of(line.as_bytes()), expected.map(PathBuf::from), "{line}");
        }
    }
}
