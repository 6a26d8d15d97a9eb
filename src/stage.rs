//! The stages of a boot, which the timeline reports.

/// A stage, in the order of the report.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// The init runs.
    Init,
    /// The modules of the list and the drivers of the hardware are loaded.
    Modules,
    /// A network interface has a carrier.
    Link,
    /// The root is mounted.
    Root,
    /// The first lease is configured.
    Lease,
    /// The workload starts.
    Entrypoint,
}

/// The names of the stages in this order, separated by spaces.
pub const NAMES: &[u8] = b"init modules link root lease entrypoint";

/// The number of stages.
pub const STAGES: usize = Stage::Entrypoint as usize + 1;
