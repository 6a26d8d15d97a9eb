//! The stages of a boot.

/// A stage, in the order in which they are shown.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// The init runs.
    Init,
    /// The modules of the list are loaded, and what the hardware asked for.
    Modules,
    /// A network interface has a carrier.
    Link,
    /// The root is mounted.
    Root,
    /// There is a lease.
    Lease,
    /// The workload starts.
    Entrypoint,
}

/// Their names, in that order.
pub const NAMES: &[u8] = b"init modules link root lease entrypoint";

/// How many there are.
pub const STAGES: usize = Stage::Entrypoint as usize + 1;
