//! What the tests of the whole share: fixtures, and the one way to start the init outside a machine.

pub mod deadline;
pub mod debian;
pub mod disks;
mod executable;
pub mod images;
pub mod namespace;
pub mod power;
mod programs;
pub mod stdio;
pub mod table;
pub mod terminal;
mod transcript;
pub mod vsock;
pub mod whole;

pub use executable::{copy_program, write_program};
pub use programs::{attack, init, init_of_parts, tool};
pub use transcript::Transcript;

/// The init's own memory functions, tested on the host where the init itself cannot be.
#[cfg(test)]
#[path = "../../src/pid1/sys/mem.rs"]
mod mem;
