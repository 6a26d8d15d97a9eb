//! The goals of whit.

use xtask::bench::Sample;

/// A goal for whit's median.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// At most this many times the floor's median.
    TimesFloor(f64),
    /// Below every peer's median.
    AheadOfAll,
    /// At most this many milliseconds.
    AtMostMs(f64),
}

/// The medians of a table, in milliseconds.
pub(crate) struct Medians {
    pub(crate) ours: f64,
    pub(crate) floor: Option<f64>,
    /// The fastest peer and its median.
    pub(crate) fastest: Option<(&'static str, f64)>,
}

impl Goal {
    /// Returns a line with the result; `None` without a median to compare with.
    pub(crate) fn judge(self, medians: &Medians) -> Option<String> {
        let (goal, figure, held) = match self {
            Self::TimesFloor(most) => {
                let ratio = medians.ours / medians.floor?;
                (format!("at most {most} x the floor"), format!("{ratio:.2}"), ratio <= most)
            }
            Self::AheadOfAll => {
                let (name, fastest) = medians.fastest?;
                let figure = format!("{:.2} ms, {name} {fastest:.2} ms", medians.ours);
                ("ahead of every peer".to_owned(), figure, medians.ours < fastest)
            }
            Self::AtMostMs(most) => {
                (format!("at most {most} ms"), format!("{:.2} ms", medians.ours), medians.ours <= most)
            }
        };
        Some(format!("goal: {goal}: {} ({figure})", if held { "held" } else { "NOT HELD" }))
    }
}

/// Converts nanoseconds to milliseconds.
pub(crate) fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Returns the median of a sample.
pub(crate) fn median_ms(sample: &Sample) -> f64 {
    ms(sample.median())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_by_its_limit() {
        let medians = Medians { ours: 1.3, floor: Some(1.0), fastest: Some(("slow", 1.4)) };
        let held = |goal: Goal, medians: &Medians| goal.judge(medians).is_some_and(|line| line.contains(": held ("));
        assert!(held(Goal::TimesFloor(1.3), &medians) && !held(Goal::TimesFloor(1.29), &medians));
        assert!(held(Goal::AtMostMs(1.3), &medians) && !held(Goal::AtMostMs(1.2), &medians));
        assert!(held(Goal::AheadOfAll, &medians));
        let equal = Medians { fastest: Some(("equal", 1.3)), ..medians };
        assert!(!held(Goal::AheadOfAll, &equal));
        let alone = Medians { ours: 1.0, floor: None, fastest: None };
        assert!(Goal::TimesFloor(9.0).judge(&alone).is_none() && Goal::AheadOfAll.judge(&alone).is_none());
    }
}
