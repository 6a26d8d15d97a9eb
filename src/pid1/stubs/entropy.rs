//! Without the feature: no seed is credited.

pub(crate) fn credit() {}
