//! Command-line functions that all programs share: man pages and completions, output files and messages, progress, the
//! terminal, and the text forms of sizes, UUIDs and file listings.

pub mod documents;
pub mod identity;
pub mod input;
pub mod listing;
pub mod options;
pub mod output;
pub mod path;

pub mod progress;
pub mod size;
pub mod temporary;
pub mod terminal;
pub mod uuid;
