//! riscv64, and the calls of `generic`. It passes `cargo check`; it was neither linked nor booted.

use super::super::entry;

/// The entry point: argc, argv, envp, auxv upwards from `sp`, which is 16-byte aligned (fs/binfmt_elf.c, create_elf_tables).
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        ".option push",
        ".option norelax", // The register is not set yet that the linker would use.
        "lla gp, __global_pointer$",
        ".option pop",
        "mv a0, sp", // The first argument of `entry`.
        "li s0, 0",  // No frame above this one.
        "li ra, 0",
        "tail {entry}",
        entry = sym entry,
    )
}
