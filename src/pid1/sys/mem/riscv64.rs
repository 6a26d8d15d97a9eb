//! Each function is a loop of bytes. The init copies little.

use core::arch::asm;

/// Copies `count` bytes between ranges that do not overlap.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller owns both ranges of `count` bytes.
    unsafe {
        asm!("beqz {n}, 3f", "2:", "lbu {b}, 0({f})", "sb {b}, 0({t})", "addi {f}, {f}, 1", "addi {t}, {t}, 1", "addi {n}, {n}, -1",
             "bnez {n}, 2b", "3:",
             n = inout(reg) count => _, t = inout(reg) to => _, f = inout(reg) from => _, b = out(reg) _, options(nostack));
    }
    to
}

/// Copies `count` bytes between ranges that may overlap.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: `to` is below `from`, or past its end: ascending order reads each byte before it is overwritten.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller owns both ranges; `to` lies inside `from`'s, so `count` is at least 1.
    unsafe {
        let (to, from) = (to.add(count), from.add(count));
        asm!("2:", "addi {f}, {f}, -1", "addi {t}, {t}, -1", "addi {n}, {n}, -1", "lbu {b}, 0({f})", "sb {b}, 0({t})",
             "bnez {n}, 2b", n = inout(reg) count => _, t = inout(reg) to => _, f = inout(reg) from => _, b = out(reg) _,
             options(nostack));
    }
    to
}

/// Fills `count` bytes with the low byte of `value`.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller owns `count` bytes at `to`.
    unsafe {
        asm!("beqz {n}, 3f", "2:", "sb {b}, 0({t})", "addi {t}, {t}, 1", "addi {n}, {n}, -1", "bnez {n}, 2b", "3:",
             n = inout(reg) count => _, t = inout(reg) to => _, b = in(reg) value, options(nostack));
    }
    to
}

/// Compares `count` bytes; negative, zero or positive by the first difference.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    let difference: i32;
    // SAFETY: the caller owns both ranges of `count` bytes.
    unsafe {
        asm!("li {d}, 0", "beqz {n}, 3f",
             "2:", "lbu {d}, 0({l})", "lbu {b}, 0({r})", "sub {d}, {d}, {b}", "bnez {d}, 3f",
             "addi {l}, {l}, 1", "addi {r}, {r}, 1", "addi {n}, {n}, -1", "bnez {n}, 2b", "3:",
             n = inout(reg) count => _, l = inout(reg) left => _, r = inout(reg) right => _,
             b = out(reg) _, d = out(reg) difference, options(nostack, readonly));
    }
    difference
}

/// Compares `count` bytes; zero when they are equal.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(left, right, count) }
}

/// Counts the bytes before the first NUL.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let end: usize;
    // SAFETY: the caller's text ends in NUL.
    unsafe {
        asm!("2:", "lbu {b}, 0({t})", "addi {t}, {t}, 1", "bnez {b}, 2b", t = inout(reg) text => end, b = out(reg) _,
             options(nostack, readonly));
    }
    end - text.addr() - 1
}
