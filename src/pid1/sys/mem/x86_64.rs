//! Each function is one string instruction, which is short. `rep movsb` is as fast as anything from Ivy Bridge on ("ERMS"); the init
//! copies little.

use core::arch::asm;

/// Copies `count` bytes between ranges that do not overlap.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller owns both ranges of `count` bytes; the ABI keeps the direction flag clear.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
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
    // SAFETY: the caller owns both ranges; `to` lies inside `from`'s, so `count` is at least 1. The flag is restored.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _, inout("rdi") to.add(count).sub(1) => _,
             inout("rsi") from.add(count).sub(1) => _, options(nostack));
    }
    to
}

/// Fills `count` bytes with the low byte of `value`.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller owns `count` bytes at `to`; the ABI keeps the direction flag clear.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("eax") value,
             options(nostack, preserves_flags));
    }
    to
}

/// Compares `count` bytes; negative, zero or positive by the first difference.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    let difference: i32;
    // SAFETY: the caller owns both ranges of `count` bytes. `cmp eax, eax` sets ZF, so that a count of 0 is equal; the
    // string instruction leaves both pointers one past the first difference.
    unsafe {
        asm!("xor eax, eax", "cmp eax, eax", "repe cmpsb", "je 2f",
             "movzx eax, byte ptr [rdi - 1]", "movzx ecx, byte ptr [rsi - 1]", "sub eax, ecx", "2:",
             inout("rcx") count => _, inout("rdi") left => _, inout("rsi") right => _, out("eax") difference,
             options(nostack, readonly));
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
    let left: usize;
    // SAFETY: the caller's text ends in NUL: the search for the zero in `al` ends there.
    unsafe {
        asm!("repne scasb", inout("rcx") usize::MAX => left, inout("rdi") text => _, in("al") 0u8,
             options(nostack, readonly));
    }
    // The counter went down once for each byte, the NUL among them.
    !left - 1
}
