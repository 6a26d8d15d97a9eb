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
    *USABLE.get_or_init(|| can_open(Path::new("/dev/kvm")) && can_start(Command::new(PROGRAM)))
}

fn can_open(device: &Path) -> bool {
    OpenOptions::new().read(true).write(true).open(device).is_ok()
}

/// Whether a machine with KVM comes up to its first instruction, where it is told to quit.
fn can_start(mut qemu: Command) -> bool {
    let child = qemu
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

    #[test]
    fn the_program_decides() {
        let played = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            can_start(shell)
        };
        assert!(played("read line && test \"$line\" = quit"));
        assert!(!played("kill -ABRT $$"));
        assert!(!played("exit 1"));
        let missing = tempfile::tempdir().unwrap().path().join("missing");
        assert!(!can_start(Command::new(&missing)));
        assert!(!can_open(&missing));
    }
}
