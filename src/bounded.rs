//! Vectors of a bounded capacity.

/// A vector in place. Its length has 32 bits: the instructions are shorter than for 64. (Past elements that are aligned to 8 bytes it
/// would be at the end, while one of 64 bits is at the start, where it is reached by shorter instructions.)
pub type Vec<T, const N: usize> = heapless::Vec<T, N, u32>;
