//! The memory functions that the compiler calls and a target without libc lacks.
//!
//! Each is one string instruction: short, and with nothing in it that the compiler could turn into a call to itself.
//! `rep movsb` is as fast as anything from Ivy Bridge on ("ERMS"); the init copies little.

use core::arch::asm;

/// Copies `count` bytes between ranges that do not overlap.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
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
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
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
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
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
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
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
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(left, right, count) }
}

/// Counts the bytes before the first NUL.
#[inline(never)]
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let left: usize;
    // SAFETY: the caller's text ends in NUL: the search for the zero in `al` ends there.
    unsafe {
        asm!("repne scasb", inout("rcx") usize::MAX => left, inout("rdi") text => _, in("al") 0u8,
             options(nostack, readonly));
    }
    // The counter went down once for each byte, the NUL among them.
    !left - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 8] = [0, 1, 2, 7, 8, 9, 64, 255];

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * 7 + 3) as u8).collect()
    }

    #[test]
    fn copies_of_every_length_touch_nothing_else() {
        for length in LENGTHS {
            let from = pattern(length);
            let mut to = vec![0xaa; length + 2];
            // SAFETY: `to` has room for `length` bytes after its first.
            unsafe { memcpy(to.as_mut_ptr().add(1), from.as_ptr(), length) };
            assert_eq!((to[0], &to[1..=length], to[length + 1]), (0xaa, &from[..], 0xaa));
            // SAFETY: the same range.
            unsafe { memset(to.as_mut_ptr().add(1), 0x1_5c, length) };
            assert!(to[0] == 0xaa && to[length + 1] == 0xaa && to[1..=length].iter().all(|byte| *byte == 0x5c));
        }
    }

    #[test]
    fn moves_agree_with_copy_within_at_every_offset() {
        for length in LENGTHS {
            for (from, to) in [(0, 0), (0, 1), (1, 0), (0, 5), (5, 0), (3, 4)] {
                let mut ours = pattern(300);
                let mut expected = ours.clone();
                expected.copy_within(from..from + length, to);
                // SAFETY: both ranges lie within the 300 bytes.
                unsafe { memmove(ours.as_mut_ptr().add(to), ours.as_ptr().add(from), length) };
                assert_eq!(ours, expected, "{length} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn strlen_counts_the_bytes_before_the_nul() {
        for length in LENGTHS {
            let text = [vec![1; length], vec![0, 1, 0]].concat();
            // SAFETY: it has a NUL.
            assert_eq!(unsafe { strlen(text.as_ptr()) }, length);
        }
    }

    #[test]
    fn comparison_agrees_with_slices() {
        for length in LENGTHS {
            let left = pattern(length);
            for position in 0..length {
                for value in [0, 0x7f, 0x80, 0xff] {
                    let mut right = left.clone();
                    right[position] = value;
                    // SAFETY: both have `length` bytes.
                    let (ours, equal) = unsafe {
                        let (left, right) = (left.as_ptr(), right.as_ptr());
                        (memcmp(left, right, length), bcmp(left, right, length) == 0)
                    };
                    assert_eq!(ours.cmp(&0), left.cmp(&right));
                    assert_eq!(equal, left == right);
                }
            }
        }
        // SAFETY: nothing is read.
        assert_eq!(unsafe { memcmp([1].as_ptr(), [2].as_ptr(), 0) }, 0);
    }
}
