//! Moments: milliseconds of the one clock that never stands still (CLOCK_BOOTTIME).

/// A deadline that does not come.
pub const NEVER: u64 = u64::MAX;

/// The moment that many seconds behind another.
pub fn after_s(since_ms: u64, seconds: u32) -> u64 {
    since_ms.saturating_add(u64::from(seconds).saturating_mul(1000))
}
