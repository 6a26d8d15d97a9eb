//! Whether the host's processor can run guests: asked of QEMU, for a /dev/kvm that opens is not yet one that works.
//!
//! In a machine that is itself a guest, KVM may be there and QEMU abort as it sets up the first processor.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::command::PROGRAM;

/// Whether QEMU can use KVM here. Asked once.
pub(super) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| can_open(Path::new("/dev/kvm")) && can_start(Path::new(PROGRAM)))
}

fn can_open(device: &Path) -> bool {
    OpenOptions::new().read(true).write(true).open(device).is_ok()
}

/// Whether a machine with KVM comes up to its first instruction, where it is told to quit.
fn can_start(program: &Path) -> bool {
    let child = Command::new(program)
        .args([
            "-accel",
            "kvm",
            "-cpu",
            "max",
            "-m",
            "16M",
            "-nodefaults",
            "-display",
            "none",
            "-S",
            "-monitor",
            "stdio",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    if let Some(mut monitor) = child.stdin.take() {
        // A QEMU that aborted reads nothing; its status tells.
        let _ = monitor.write_all(b"quit\n");
    }
    child.wait().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_program_decides() {
        let directory = tempfile::tempdir().unwrap();
        let played = |name: &str, script: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            can_start(&path)
        };
        assert!(played("works", "read line && test \"$line\" = quit"));
        assert!(!played("aborts", "kill -ABRT $$"));
        assert!(!played("refuses", "exit 1"));
        assert!(!can_start(&directory.path().join("missing")));
        assert!(!can_open(&directory.path().join("missing")));
    }
}
