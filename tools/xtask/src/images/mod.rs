//! Container images made of Debian's packages, as `docker export` would write them: for the demo, the tests and the benchmarks.

pub mod engine;
pub mod nginx;
pub mod system;
