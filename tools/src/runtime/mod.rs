//! The library of whit-runtime: an OCI runtime whose containers are machines.
//!
//! Engines (podman) call it by the command line that runc defined. [`create()`] starts a process, the shim, which
//! prepares the machine, owns QEMU and carries the workload's streams; its exit code is the workload's. Its process id is the
//! container's. The other commands talk to it by a socket in the container's folder.
//!
//! Everything of a container is in that folder, or ends with the shim: [`delete()`] cleans up after any process that was killed.

mod commands;
mod config;
mod control;
mod disk;
mod exec;
mod hooks;
mod named;
mod network;
mod oom;
mod shim;
mod signal;
mod state;
mod tree;

pub use commands::{Create, create, delete, features, kill, list, start, state};
pub use exec::{Exec, exec, run_client as client};
pub use named::Named;
pub use shim::run as shim;
pub use state::{NOT_THERE, Root};

use std::path::PathBuf;

/// The settings that are not a container's.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The kernel, as bzImage or Image; by default one is found.
    pub kernel: Option<PathBuf>,
    /// Its modules.
    pub modules: Option<PathBuf>,
    /// The init.
    pub init: Option<PathBuf>,
    /// What executes the guest: `auto`, `kvm` or `tcg`.
    pub accelerator: Option<String>,
    /// Whether annotations change these settings: engines take annotations from images, too.
    pub annotations: bool,
}
