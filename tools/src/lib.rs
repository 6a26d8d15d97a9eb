//! The host half of whit: what turns a container image and a kernel into files that boot, and boots them.
//!
//! The programs in `bin/` are thin: arguments in, a call into this library, a message out. Bad input gets one
//! line that names what, where and what to do, a non-zero exit status, and leaves no output behind.
#![forbid(unsafe_code)]

pub mod bench;
pub mod debian;
pub mod documents;
pub mod elf;
pub mod ext4;
pub mod gpt;
pub mod image;
pub mod initramfs;
pub mod inspect;
pub mod kconfig;
pub mod kmod;
mod lz4;
pub mod newc;
pub mod output;
pub mod programs;
pub mod progress;
pub mod qemu;
pub mod rootfs;
pub mod runrecord;
pub mod segment;
pub mod size;
pub mod tar;
pub mod terminal;
pub mod tree;
pub mod uuid;
pub mod vm;
pub mod workspace;
