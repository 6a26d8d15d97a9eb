//! The features of an init: the package's Cargo features, each of which a smaller init is built without.
//!
//! `src/pid1/NAME.rs` implements the feature NAME. `src/pid1/stubs/NAME.rs` takes its place in an init without the feature: the same
//! functions, which do nothing. The feature's options are refused then, and so is an image that needs them.

use crate::cmdline::same_name;
use crate::text::split;

/// Whether an option belongs to a feature that this init was built without.
pub fn lacks(name: &[u8]) -> bool {
    let is_of = |names| split(names, b' ').any(|known| same_name(known, name));
    !cfg!(feature = "clock") && is_of(b"ntp")
        || !cfg!(feature = "handover") && is_of(b"init pid1")
        || !cfg!(feature = "network") && is_of(b"BOOTIF ip net net.dev net.timeout dhcp dhcp.arp dhcp.release")
        || !cfg!(feature = "notify") && is_of(b"notify")
        || !cfg!(feature = "overlay") && is_of(b"overlay")
        || !cfg!(feature = "settings") && is_of(b"rlimit sysctl")
        || !cfg!(feature = "terminal") && is_of(b"shell")
        || !cfg!(feature = "timeline") && is_of(b"timing")
        || !cfg!(feature = "volumes") && is_of(b"mount tmpfs")
}
