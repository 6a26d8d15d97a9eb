//! A workload that attacks its terminal and PID 1.
//!
//! `attack sti TEXT` types a text into its terminal (TIOCSTI), `attack foreground` takes the foreground and shows what is typed,
//! `attack stop` stops the output and fills its buffer, `attack limit` limits PID 1 to four descriptors, `attack effective` shows
//! whether its effective user is root. `attack daemon SECONDS …` does one of these as a daemon, after that time.
#![no_std]
#![no_main]

#[path = "../../../src/pid1/sys/mem.rs"]
mod mem;

use core::ffi::CStr;

/// The stack as the kernel made it: argc, and argv upwards (fs/binfmt_elf.c, create_elf_tables).
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!("mov rdi, rsp", "xor ebp, ebp", "call {entry}", "ud2", entry = sym entry)
}

extern "C" fn entry(stack: *const usize) -> ! {
    let argument = |place: usize| {
        // SAFETY: after argc come argc pointers to strings and a null pointer.
        unsafe {
            if place < stack.read() { CStr::from_ptr(stack.add(1 + place).read() as *const _).to_bytes() } else { b"" }
        }
    };
    let mut first = 1;
    if argument(1) == b"daemon" {
        become_daemon(argument(2).first().map_or(0, |digit| digit.wrapping_sub(b'0').into()));
        first = 3;
    }
    let code = match argument(first) {
        b"sti" => type_text(argument(first + 1)),
        b"foreground" => take_foreground(),
        b"stop" => stop_output(),
        b"limit" => limit(),
        b"effective" => show_effective_user(),
        _ => 2,
    };
    exit(code)
}

/// Calls the kernel with numbers, and with pointers to static memory or to values that outlive the call.
fn call(number: usize, arguments: [usize; 4]) -> isize {
    let [a, b, c, d] = arguments;
    // SAFETY: every caller below passes the arguments that its system call requires.
    unsafe { sc::syscall4(number, a, b, c, d) as isize }
}

fn exit(code: usize) -> ! {
    loop {
        call(sc::nr::EXIT_GROUP, [code, 0, 0, 0]);
    }
}

fn print(text: &str) {
    call(sc::nr::WRITE, [1, text.as_ptr() as usize, text.len(), 0]);
}

/// Exits in the parent; the child is a process group of its own that no terminal stops.
fn become_daemon(seconds: usize) {
    const IGNORED: [usize; 4] = [1, 0, 0, 0]; // SIG_IGN (struct sigaction)
    if call(sc::nr::FORK, [0; 4]) > 0 {
        exit(0);
    }
    for signal in [1, 21, 22] {
        call(sc::nr::RT_SIGACTION, [signal, IGNORED.as_ptr() as usize, 0, 8]);
    }
    call(sc::nr::SETPGID, [0; 4]);
    let time = [seconds, 0];
    call(sc::nr::NANOSLEEP, [time.as_ptr() as usize, 0, 0, 0]);
}

fn type_text(text: &[u8]) -> usize {
    const TIOCSTI: usize = 0x5412;
    let typed = text.iter().all(|byte| call(sc::nr::IOCTL, [0, TIOCSTI, &raw const *byte as usize, 0]) == 0);
    print(if typed { "attack: typed\n" } else { "attack: typed nothing\n" });
    0
}

fn take_foreground() -> usize {
    const TIOCSPGRP: usize = 0x5410;
    let group = call(sc::nr::GETPID, [0; 4]) as u32;
    call(sc::nr::IOCTL, [0, TIOCSPGRP, &raw const group as usize, 0]);
    print("attack: foreground\n");
    let mut line = [0; 64];
    loop {
        let length = call(sc::nr::READ, [0, line.as_mut_ptr() as usize, line.len(), 0]);
        let Some(text) = usize::try_from(length).ok().and_then(|length| line.get(..length)) else { return 0 };
        print("attack: heard ");
        call(sc::nr::WRITE, [1, text.as_ptr() as usize, text.len(), 0]);
    }
}

fn stop_output() -> usize {
    const TCXONC: usize = 0x540a;
    const F_SETFL: usize = 4;
    const O_NONBLOCK: usize = 0x800;
    call(sc::nr::IOCTL, [1, TCXONC, 0, 0]);
    call(sc::nr::FCNTL, [1, F_SETFL, O_NONBLOCK, 0]);
    while call(sc::nr::WRITE, [1, [b'.'; 512].as_ptr() as usize, 512, 0]) > 0 {}
    5
}

fn limit() -> usize {
    const RLIMIT_NOFILE: usize = 7;
    let four = [4_usize; 2];
    let done = call(sc::nr::PRLIMIT64, [1, RLIMIT_NOFILE, four.as_ptr() as usize, 0]) == 0;
    print(if done { "attack: limited\n" } else { "attack: no limit\n" });
    3
}

fn show_effective_user() -> usize {
    let is_root = call(sc::nr::GETEUID, [0; 4]) == 0;
    print(if is_root { "attack: is root\n" } else { "attack: is not root\n" });
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}
