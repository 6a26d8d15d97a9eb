//! Times, in milliseconds of CLOCK_BOOTTIME, which also counts while the machine is suspended.

/// The deadline that never passes.
pub const NEVER: u64 = u64::MAX;

/// Returns the time `milliseconds` after `since_ms`. The clock would overflow after 584 million years.
pub fn after_ms(since_ms: u64, milliseconds: u64) -> u64 {
    since_ms.wrapping_add(milliseconds)
}

/// Returns the time `seconds` after `since_ms`, in milliseconds.
pub fn after_s(since_ms: u64, seconds: u32) -> u64 {
    after_ms(since_ms, u64::from(seconds).wrapping_mul(1000))
}
