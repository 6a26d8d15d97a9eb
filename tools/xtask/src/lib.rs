//! Tasks of the repository: builds, demo, checks and measurements of whit. None of them is installed.
//!
//! The programs are `build-init`, `build-put`, `demo`, `selftest`, `coverage`, `dist`, `record` and `bootbench`; two more benchmarks are workspaces
//! of their own.
#![forbid(unsafe_code)]

pub mod bench;
pub mod crates;
pub mod elf;
pub mod images;
pub mod init;
pub mod put;
pub mod workspace;
