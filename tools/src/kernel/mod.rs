//! Kernels: their file, configuration and modules, and Debian's packages of them.

pub mod bzimage;
pub mod config;
pub mod debian;
pub mod elf;
pub mod image;
pub mod modules;
