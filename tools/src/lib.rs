//! The host half of whit: turns a container image and a kernel into files that boot, and boots them.
//!
//! Each program in `bin/` has its own module: [`disk`] for mkraw, [`initramfs`] for mkcpio, [`vm`] for runvm. All three use
//! [`kernel`], [`archive`] and [`compress`]; everything uses [`cli`]. No dependency goes the other way.
//!
//! The programs are thin: they parse arguments, call this library and print a message. Bad input gets one line that names the
//! problem, the place and the remedy, and a non-zero exit status. It leaves no output file.
#![deny(unsafe_code)]

pub mod archive;
pub mod cli;
pub mod compress;
pub mod disk;
pub mod initramfs;
pub mod kernel;
pub mod programs;
pub mod runrecord;
pub mod vm;
