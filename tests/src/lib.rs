//! Fixtures shared by the test programs, and the only way in which tests start the init outside QEMU.
//!
//! Every helper panics, and so fails its test, when a file or program is missing, a program fails, or a deadline passes.

pub mod archive;
pub mod boards;
pub mod commands;
pub mod deadline;
pub mod debian;
pub mod disks;
pub mod documents;
mod executable;
pub mod fuzz;
pub mod http;
pub mod images;
pub mod namespace;
mod once;
pub mod postgres;
pub mod power;
mod programs;
pub mod snapshot;
pub mod stdio;
pub mod table;
pub mod terminal;
mod transcript;
pub mod tree;
pub mod vsock;
pub mod whole;

pub use executable::{copy_program, write_program};
pub use programs::{attack, init, init_for, init_named, init_of_features, plain_init, tool};
pub use transcript::Transcript;

/// Gives this process the umask of the kernel's first program, 022 (fs/fs_struct.c, init_fs), and of most users: the tests may have
/// been started with another.
pub fn use_standard_umask() {
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
}

/// The init's own memory functions, tested on the host where the init itself cannot be.
#[cfg(test)]
#[path = "../../src/pid1/sys/mem.rs"]
mod mem;
