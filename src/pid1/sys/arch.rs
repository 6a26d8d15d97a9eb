//! Differences between machines: the entry point, and the system calls that newer machines lack. `mem` has the memory
//! functions.
//!
//! A machine is one file. x86-64 keeps the oldest form of a call where that is the shortest; the others have the list of
//! include/uapi/asm-generic/unistd.h, which lacks those forms.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(not(target_arch = "x86_64"))]
mod generic;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use generic::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;
