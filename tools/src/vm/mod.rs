//! The library of runvm: the cache, the kernel, shared folders, the console, and QEMU.

mod cache;
mod child;
mod console;
mod kernel;
pub mod qemu;
mod share;
pub mod streams;
mod timeline;

pub use cache::{Cache, Key};
pub use console::Clean;
pub use kernel::{Kernel, kernel_line};
pub use share::{Daemon, ShareKind, Volume};
pub use timeline::Timeline;
