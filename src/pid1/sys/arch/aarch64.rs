//! aarch64: 4K, 16K and 64K pages (build.rs), and the calls of `generic`.

use super::super::entry;

/// The entry point: argc, argv, envp, auxv upwards from `sp`, which is 16-byte aligned (fs/binfmt_elf.c, create_elf_tables).
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "mov x0, sp",   // The first argument of `entry`.
        "mov x29, xzr", // No frame above this one.
        "mov x30, xzr",
        "b {entry}",
        entry = sym entry,
    )
}
