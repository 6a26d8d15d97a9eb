//! The memory functions that the compiler calls and a target without libc lacks.
//!
//! They are assembly, with nothing in it that the compiler could turn into a call to the function itself.

// With the paths, a program of the tests can include this file.
#[cfg_attr(target_arch = "x86_64", path = "mem/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "mem/aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "mem/riscv64.rs")]
mod machine;

#[cfg(test)]
mod tests {
    use super::machine::*;

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
