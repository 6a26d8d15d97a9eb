//! Random numbers of the randomized tests.
//!
//! The same seed gives the same run. `WHIT_SEED=number` selects another; a failure prints its seed.

extern crate std;
use std::{env, eprintln};

/// Marsaglia's xorshift64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let seed = env::var("WHIT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
        eprintln!("WHIT_SEED={seed}"); // shown when the test fails
        Self(seed | 1 << 63)
    }

    /// Returns a number below `limit`, or 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    /// Returns a byte.
    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// Returns true once in `times` calls, on average.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Returns one of the choices.
    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
