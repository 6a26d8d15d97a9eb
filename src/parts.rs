//! The parts that an init can be built without: the package's features.
//!
//! What the part NAME does stands in `src/pid1/NAME.rs`. In an init that is built without it `src/pid1/absent/NAME.rs` stands in
//! its place, with the same functions, which do nothing; its words are refused, and so is an image that needs them.

use crate::cmdline::same_name;
use crate::text::parts;

/// Whether a word is one that only a part hears which this init was built without.
pub fn lacks(word: &[u8]) -> bool {
    let is_of = |words| parts(words, b' ').any(|known| same_name(known, word));
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
