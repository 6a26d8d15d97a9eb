//! The only unsafe code of whit: the entry point, and the system calls that rustix lacks.

mod mem;

/// `void exit_group(int status)` — `_exit(2)`. In PID 1 of a machine the kernel panics; only for a whit that is not PID 1.
pub(crate) fn exit(status: u8) -> ! {
    loop {
        // SAFETY: exit_group takes no pointers.
        unsafe { sc::syscall!(EXIT_GROUP, status) };
    }
}

/// Starts at the stack that the kernel made: argc, argv, envp, auxv upwards from `rsp` (fs/binfmt_elf.c, create_elf_tables).
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "xor ebp, ebp", // No frame above this one.
        "call {entry}", // `rsp` is 16-byte aligned here; the call leaves it as the ABI wants it.
        "ud2",
        entry = sym entry,
    )
}

extern "C" fn entry() -> ! {
    crate::main()
}
