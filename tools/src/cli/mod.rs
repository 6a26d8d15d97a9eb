//! What every program does at its edges: documents about itself, output files and messages, progress, the terminal, and
//! sizes and UUIDs as people write them.

pub mod documents;
pub mod output;
pub mod progress;
pub mod size;
pub mod terminal;
pub mod uuid;
