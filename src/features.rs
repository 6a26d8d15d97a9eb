//! The features of an init: the package's Cargo features, each of which a smaller init is built without.
//!
//! `src/pid1/NAME.rs` implements the feature NAME. `src/pid1/stubs/NAME.rs` takes its place in an init without the feature: the same
//! functions, which do nothing. The feature's options are refused then, and so is an image that needs them.

/// The features that options belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named and described in Cargo.toml")]
pub enum Feature {
    Clock,
    Handover,
    Network,
    Notify,
    Overlay,
    Settings,
    Terminal,
    Timeline,
    Volumes,
}

impl Feature {
    /// Whether this init was built with it.
    pub const fn is_enabled(self) -> bool {
        match self {
            Self::Clock => cfg!(feature = "clock"),
            Self::Handover => cfg!(feature = "handover"),
            Self::Network => cfg!(feature = "network"),
            Self::Notify => cfg!(feature = "notify"),
            Self::Overlay => cfg!(feature = "overlay"),
            Self::Settings => cfg!(feature = "settings"),
            Self::Terminal => cfg!(feature = "terminal"),
            Self::Timeline => cfg!(feature = "timeline"),
            Self::Volumes => cfg!(feature = "volumes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_tested_with_every_feature() {
        let all = [
            Feature::Clock,
            Feature::Handover,
            Feature::Network,
            Feature::Notify,
            Feature::Overlay,
            Feature::Settings,
            Feature::Terminal,
            Feature::Timeline,
            Feature::Volumes,
        ];
        assert!(all.iter().all(|feature| feature.is_enabled()));
    }
}
