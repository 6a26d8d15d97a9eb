//! Machines in QEMU: builds and prints a command line, and runs the machine.
//!
//! ```no_run
//! use std::time::Duration;
//! use whit_tools::vm::qemu::{CommandLine, Machine};
//!
//! let command = CommandLine::new("vmlinuz").initrd("initramfs.cpio.gz").append("console=ttyS0 panic=-1");
//! let mut machine = Machine::start(&command)?;
//! println!("{}", machine.wait_for_line("whit: exit ", Duration::from_secs(60))?);
//! # Ok::<(), whit_tools::vm::qemu::Error>(())
//! ```

mod command;
mod console;
mod control;
mod error;
mod events;
mod forward;
mod kvm;
mod machine;

use whit::contract::EXIT_LINE;

pub use command::{Accelerator, Board, CommandLine, DiskInterface, Nic, Share, Tap, share_tag, shell_word};
pub use error::Error;
pub use forward::{Forward, Protocol};
pub use machine::{Input, Machine};

/// Parses the exit status from a console line `whit: exit N`.
///
/// If the workload's last line has no newline, the init's text follows it on the same line.
#[must_use]
pub fn exit_line(line: &str) -> Option<u8> {
    line.get(line.rfind(EXIT_LINE)? + EXIT_LINE.len()..)?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_line_must_end_with_the_number() {
        for (line, expected) in [
            ("whit: exit 0", Some(0)),
            ("whit: exit 255", Some(255)),
            ("no newline herewhit: exit 7", Some(7)),
            ("whit: exit 256", None),
            ("whit: exit -1", None),
            ("whit: exit", None),
            ("whit: exit 0 or so", None),
            ("", None),
        ] {
            assert_eq!(exit_line(line), expected, "{line}");
        }
    }
}
