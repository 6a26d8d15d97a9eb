//! What every program does at its edges: documents about itself, output files and messages, progress, the terminal, and
//! sizes, UUIDs and files as people write and list them.

pub mod documents;
pub mod identity;
pub mod listing;
pub mod options;
pub mod output;
pub mod path;

pub mod progress;
pub mod size;
pub mod temporary;
pub mod terminal;
pub mod uuid;
