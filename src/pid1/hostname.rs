//! The host name of the machine.

use rustix::system::{Uname, uname};

use crate::console::log_failure;
use crate::sys::call::set_hostname;

/// Sets the host name: that of the option, else the kernel's own, else that of the lease, else `whit`.
pub(crate) fn set(wanted: &[u8], leased: &[u8]) {
    const OURS: &[u8] = b"whit";
    let uname = uname();
    let known = known(&uname);
    let name = match wanted {
        b"" if !known.is_empty() && known != OURS => return,
        b"" if leased.is_empty() => OURS,
        b"" => leased,
        wanted => wanted,
    };
    if let Err(errno) = set_hostname(name) {
        log_failure(c"hostname ", name, errno);
    }
}

/// Returns the host name; empty while it is the kernel's "(none)" (init/version.c). No host name has a bracket (RFC 1123 §2.1).
#[inline(never)]
pub(crate) fn known(uname: &Uname) -> &[u8] {
    match uname.nodename().to_bytes() {
        [b'(', ..] => b"",
        name => name,
    }
}
