//! Measured boots: inits, network cards, kernels and kinds of roots in a matrix, each booted many times.
//!
//! Under QEMU's exact clock one guest instruction is one nanosecond and an idle guest jumps to its next timer, so the
//! same boot takes the same time on any host, however busy. Devices that would answer late (a disk of the host, a packet that
//! waits for QEMU's main loop) are avoided: see [`machine`].

mod build;
mod csv;
mod goals;
mod host;
mod json;
pub mod kernel;
mod machine;
mod matrix;
mod probe;
mod recipe;
mod run;
mod runvm;
mod script;
mod stages;
mod stats;
mod svg;
mod table;

pub use build::{Contender, Workshop};
pub use csv::csv;
pub use goals::goals;
pub use host::{Host, header};
pub use json::json;
pub use kernel::{BenchKernel, KernelName};
pub use machine::{Card, Clock, RootKind};
pub use matrix::{Cell, Plan, Skipped, matrix};
pub use probe::Report;
pub use recipe::{Making, Recipe};
pub use run::{Boot, Measured, measure, stay_on_one_processor};
pub use runvm::runvm;
pub use stages::{STAGES, Stage, Times};
pub use stats::Sample;
pub use svg::svg;
pub use table::table;
