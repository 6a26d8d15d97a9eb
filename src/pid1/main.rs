//! The init: every effect of whit, in the order of the boot.
#![no_std]
#![no_main]

mod sys;

/// Where the entry point arrives, on the stack that the kernel made.
fn main() -> ! {
    sys::exit(1)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    sys::exit(255)
}
