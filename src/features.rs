//! The features of an init: the Cargo features of the package. A smaller init is built without some of them.
//!
//! Most features are a module, `src/pid1/NAME.rs` (`network.rs` for `dhcp`). In an init without the feature,
//! `src/pid1/stubs/NAME.rs` replaces it by functions that do nothing. The other features are branches on [`Feature::is_enabled`].
//! The init refuses the options of a disabled feature, and an image that needs them.

/// A feature that has options, or that is a branch instead of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named and described in Cargo.toml")]
pub enum Feature {
    Arp,
    Caps,
    Choice,
    Clock,
    Coexist,
    Consoles,
    Details,
    DeviceNames,
    Dhcp,
    Dhcpv6,
    E1000,
    Etc,
    Exec,
    Grow,
    Handover,
    Ipv6,
    Kexec,
    LeaseFile,
    Members,
    Modules,
    Mtu,
    Names,
    Notify,
    NvmeTcp,
    OnFail,
    Overlay,
    Release,
    Restart,
    Settings,
    StaticIp,
    Streams,
    Terminal,
    Timeline,
    Verity,
    Vlan,
    Volumes,
}

impl Feature {
    /// Whether this init was built with the feature.
    pub const fn is_enabled(self) -> bool {
        match self {
            Self::Arp => cfg!(feature = "arp"),
            Self::Caps => cfg!(feature = "caps"),
            Self::Choice => cfg!(feature = "choice"),
            Self::Clock => cfg!(feature = "clock"),
            Self::Coexist => cfg!(feature = "coexist"),
            Self::Consoles => cfg!(feature = "consoles"),
            Self::Details => cfg!(feature = "details"),
            Self::DeviceNames => cfg!(feature = "device-names"),
            Self::Dhcp => cfg!(feature = "dhcp"),
            // No option needs it; the tests of the library have all of it.
            Self::Dhcpv6 => cfg!(any(feature = "dhcpv6", test)),
            Self::E1000 => cfg!(feature = "e1000"),
            Self::Etc => cfg!(feature = "etc"),
            Self::Exec => cfg!(feature = "exec"),
            Self::Grow => cfg!(feature = "grow"),
            Self::Handover => cfg!(feature = "handover"),
            Self::Ipv6 => cfg!(feature = "ipv6"),
            Self::Kexec => cfg!(feature = "kexec"),
            Self::LeaseFile => cfg!(feature = "lease-file"),
            Self::Members => cfg!(feature = "members"),
            Self::Modules => cfg!(feature = "modules"),
            Self::Mtu => cfg!(feature = "mtu"),
            Self::Names => cfg!(feature = "names"),
            Self::Notify => cfg!(feature = "notify"),
            // No option needs it; the tests of the library have all of it.
            Self::NvmeTcp => cfg!(any(feature = "nvme-tcp", test)),
            Self::OnFail => cfg!(feature = "on-fail"),
            Self::Overlay => cfg!(feature = "overlay"),
            Self::Release => cfg!(feature = "release"),
            Self::Restart => cfg!(feature = "restart"),
            Self::Settings => cfg!(feature = "settings"),
            Self::StaticIp => cfg!(feature = "static-ip"),
            Self::Streams => cfg!(feature = "streams"),
            Self::Terminal => cfg!(feature = "terminal"),
            Self::Timeline => cfg!(feature = "timeline"),
            Self::Verity => cfg!(feature = "verity"),
            Self::Vlan => cfg!(feature = "vlan"),
            Self::Volumes => cfg!(feature = "volumes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_tested_with_every_feature_of_whole() {
        let all = [
            Feature::Arp,
            Feature::Caps,
            Feature::Choice,
            Feature::Clock,
            Feature::Coexist,
            Feature::Consoles,
            Feature::DeviceNames,
            Feature::Dhcp,
            Feature::E1000,
            Feature::Etc,
            Feature::Exec,
            Feature::Grow,
            Feature::Handover,
            Feature::Ipv6,
            Feature::Kexec,
            Feature::LeaseFile,
            Feature::Members,
            Feature::Modules,
            Feature::Mtu,
            Feature::Names,
            Feature::Notify,
            Feature::OnFail,
            Feature::Overlay,
            Feature::Release,
            Feature::Restart,
            Feature::Settings,
            Feature::StaticIp,
            Feature::Streams,
            Feature::Terminal,
            Feature::Timeline,
            Feature::Volumes,
        ];
        assert!(all.iter().all(|feature| feature.is_enabled()));
    }
}
