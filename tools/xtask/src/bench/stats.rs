//! Statistics of several runs.

/// Durations in nanoseconds, in ascending order; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample(Vec<u64>);

impl Sample {
    /// Sorts the values; `None` without any.
    #[must_use]
    pub fn new(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        (!values.is_empty()).then_some(Self(values))
    }

    /// Returns the number of values.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the smallest value.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// Returns the largest value.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.last().copied().unwrap_or_default()
    }

    /// Returns the median; of two values in the middle the smaller one, so that it is a measured value.
    #[must_use]
    pub fn median(&self) -> u64 {
        self.percentile(50)
    }

    /// Returns the smallest value that 95 % of the runs do not exceed (nearest rank). Below 20 runs this is the largest.
    #[must_use]
    pub fn p95(&self) -> u64 {
        self.percentile(95)
    }

    /// Returns the smallest value that this percentage of the runs does not exceed (nearest rank).
    #[must_use]
    pub fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Returns the difference of the largest and the smallest value.
    #[must_use]
    pub fn range(&self) -> u64 {
        self.max() - self.min()
    }

    /// Returns the range in percent of the median.
    #[must_use]
    pub fn spread_percent(&self) -> f64 {
        if self.range() == 0 { 0.0 } else { self.range() as f64 * 100.0 / self.median().max(1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_measured_values() {
        let sample = Sample::new((1..=20).rev().collect()).unwrap();
        assert_eq!((sample.min(), sample.median(), sample.p95(), sample.max()), (1, 10, 19, 20));
        assert_eq!((sample.percentile(90), sample.percentile(91), sample.percentile(100)), (18, 19, 20));
        let sample = Sample::new(vec![30, 10]).unwrap();
        assert_eq!((sample.min(), sample.median(), sample.p95(), sample.range()), (10, 10, 30, 20));
        assert_eq!(sample.spread_percent(), 200.0);
        assert_eq!(Sample::new(vec![]), None);
    }

    #[test]
    fn equal_runs_have_no_spread() {
        let sample = Sample::new(vec![0, 0, 0]).unwrap();
        assert_eq!((sample.median(), sample.spread_percent(), sample.count()), (0, 0.0, 3));
    }
}
