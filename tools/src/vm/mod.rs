//! The library of runvm: the cache, the kernel, shared folders, the console, and QEMU.

mod cache;
pub(crate) mod child;
mod console;
mod drivers;
mod end;
mod exit_port;
mod kernel;
mod messages;
pub(crate) mod namespace;
pub mod pull;
pub mod qemu;
mod share;
pub mod streams;
mod timeline;

pub use cache::{Cache, Key, content};
pub use console::Clean;
pub use drivers::{BUTTON, Drivers, PORT, may_be_unsigned};
pub use end::End;
pub use exit_port::ExitPort;
pub use kernel::{Kernel, check_line, kernel_line};
pub use messages::{Lines, Message, cause, explain};
pub use share::{Daemon, Link, ShareKind, Volume};
pub use timeline::Timeline;
