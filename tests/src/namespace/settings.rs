//! The settings of a new network namespace.
//!
//! It inherits the settings of IPv4 interfaces from the host's (net/ipv4/devinet.c, devinet_init_net()), and those of IPv6 as well
//! where net.core.devconf_inherit_init_net is 1. A host that forwards packets or filters them by route would pass that on to every
//! machine; a machine that boots has the kernel's defaults.

use std::fs;
use std::path::Path;

use super::frames::in_network_of;

/// The IPv4 settings of interfaces that are not 0 by default (net/ipv4/devinet.c, ipv4_devconf and ipv4_devconf_dflt).
const IPV4: [(&str, &str); 7] = [
    ("accept_redirects", "1"),
    ("arp_evict_nocarrier", "1"),
    ("igmpv2_unsolicited_report_interval", "10000"),
    ("igmpv3_unsolicited_report_interval", "1000"),
    ("secure_redirects", "1"),
    ("send_redirects", "1"),
    ("shared_media", "1"),
];

/// The IPv6 settings that the tests rely on (net/ipv6/addrconf.c, ipv6_devconf).
const IPV6: [(&str, &str); 4] = [("disable_ipv6", "0"), ("forwarding", "0"), ("accept_ra", "1"), ("autoconf", "1")];

/// Resets the network of a process to the kernel's defaults. It has only lo yet.
pub(super) fn reset(process: u32) {
    in_network_of(process, || {
        // lo is made with the namespace, and has the default settings of that moment.
        for scope in ["all", "default", "lo"] {
            let folder = Path::new("/proc/sys/net/ipv4/conf").join(scope);
            // Writing it resets other settings (net/ipv4/devinet.c, inet_forward_change()).
            write(&folder.join("forwarding"), "0");
            for entry in fs::read_dir(&folder).expect("settings of IPv4") {
                let name = entry.expect("a setting").file_name();
                let name = name.to_str().expect("a name in UTF-8");
                let default = match IPV4.iter().find(|(other, _)| *other == name) {
                    Some((_, value)) => value,
                    None if name == "accept_source_route" && scope != "all" => "1",
                    None => "0",
                };
                // The first is read-only: it shows whether a multicast routing daemon runs. The others are 1 for lo alone.
                if !["mc_forwarding", "disable_policy", "disable_xfrm"].contains(&name) {
                    write(&folder.join(name), default);
                }
            }
            let folder = Path::new("/proc/sys/net/ipv6/conf").join(scope);
            for (name, value) in IPV6.iter().filter(|_| folder.exists()) {
                write(&folder.join(name), value);
            }
        }
    });
}

fn write(path: &Path, value: &str) {
    fs::write(path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
