//! The host half of whit: turns a container image and a kernel into files that boot, and boots them.
//!
//! Each program in `bin/` has a wing: [`disk`] is mkraw's, [`initramfs`] mkcpio's, [`vm`] runvm's. All three stand on [`kernel`],
//! [`archive`] and [`compress`], and everything on [`cli`]; no arrow goes the other way.
//!
//! The programs are thin: arguments in, a call into this library, a message out. Bad input gets one line that names what,
//! where and what to do, a non-zero exit status, and leaves no output behind.
#![forbid(unsafe_code)]

pub mod archive;
pub mod cli;
pub mod compress;
pub mod disk;
pub mod initramfs;
pub mod kernel;
pub mod programs;
pub mod runrecord;
pub mod vm;
