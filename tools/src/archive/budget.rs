//! Limits on the cost of an archive's paths, in proportion to its entries. A few hundred kilobytes can name hundreds of thousands
//! of directories, walk through them many times by symbolic links, or hold a gigabyte of names.

/// Implied directories (named only as a parent in a path): this many, plus this many for each entry.
const MADE: u64 = 1 << 14;
const MADE_EACH: u64 = 64;
/// Steps of a path lookup, from one directory to the next: this many, plus this many for each path. A path of 2,000 directories,
/// each with its own entry, takes two million.
const STEPS: u64 = 1 << 22;
const STEPS_EACH: u64 = 256;
/// Bytes kept in memory in addition to the entries: names, targets, attributes. This many, plus this many for each entry.
const BYTES: u64 = 128 << 20;
const BYTES_EACH: u64 = 256;
/// Bytes counted for an implied directory, in addition to its name.
const MADE_BYTES: u64 = 128;

/// The remaining budget.
#[derive(Debug)]
pub(crate) struct Budget {
    made: u64,
    steps: u64,
    bytes: u64,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent;

impl Default for Budget {
    fn default() -> Self {
        Self { made: MADE, steps: STEPS, bytes: BYTES }
    }
}

impl Budget {
    /// Adds the allowance of one more path.
    pub(crate) fn path(&mut self) {
        self.made = self.made.saturating_add(MADE_EACH);
        self.steps = self.steps.saturating_add(STEPS_EACH);
        self.bytes = self.bytes.saturating_add(BYTES_EACH);
    }

    /// Spends `count` steps of a path lookup.
    pub(crate) fn step(&mut self, count: usize) -> Result<(), Spent> {
        self.steps = self.steps.checked_sub(count as u64).ok_or(Spent)?;
        Ok(())
    }

    /// Spends one implied directory.
    pub(crate) fn make(&mut self) -> Result<(), Spent> {
        self.made = self.made.checked_sub(1).ok_or(Spent)?;
        self.bytes = self.bytes.checked_sub(MADE_BYTES).ok_or(Spent)?;
        Ok(())
    }

    /// Spends bytes that stay in memory.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<(), Spent> {
        self.bytes = self.bytes.checked_sub(bytes as u64).ok_or(Spent)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_grows_with_the_paths_and_ends() {
        let mut budget = Budget::default();
        let made = |budget: &mut Budget| (0..).take_while(|_| budget.make().is_ok()).count() as u64;
        assert_eq!(made(&mut budget), MADE);
        budget.path();
        assert_eq!(made(&mut budget), MADE_EACH);
        assert_eq!(budget.step(STEPS as usize), Ok(()));
        assert_eq!((budget.step(STEPS_EACH as usize), budget.step(1)), (Ok(()), Err(Spent)));
        let left = BYTES + BYTES_EACH - (MADE + MADE_EACH) * MADE_BYTES;
        assert_eq!((budget.keep(left as usize), budget.keep(1), budget.make()), (Ok(()), Err(Spent), Err(Spent)));
    }
}
