//! Moments: milliseconds of the one clock that never stands still (CLOCK_BOOTTIME).

/// A deadline that does not come.
pub const NEVER: u64 = u64::MAX;

/// The time that many milliseconds after another. The clock would overflow in 584 million years.
pub fn after_ms(since_ms: u64, milliseconds: u64) -> u64 {
    since_ms.wrapping_add(milliseconds)
}

/// The time that many seconds after another.
pub fn after_s(since_ms: u64, seconds: u32) -> u64 {
    after_ms(since_ms, u64::from(seconds).wrapping_mul(1000))
}
