//! The host name of the machine.

use rustix::system::{Uname, uname};

use crate::console::log_failure;
use crate::sys::call::set_hostname;

/// Sets the host name: the option's, or the one that the kernel has, or the lease's, or `whit`.
pub(crate) fn set(asked: &[u8], leased: &[u8]) {
    const OURS: &[u8] = b"whit";
    let uname = uname();
    let known = known(&uname);
    let name = match asked {
        b"" if !known.is_empty() && known != OURS => return,
        b"" if leased.is_empty() => OURS,
        b"" => leased,
        asked => asked,
    };
    if let Err(errno) = set_hostname(name) {
        log_failure("hostname ", name, errno);
    }
}

/// The host name; empty while it is the kernel's "(none)" (init/version.c).
#[inline(never)]
pub(crate) fn known(uname: &Uname) -> &[u8] {
    let name = uname.nodename().to_bytes();
    if name == b"(none)" { b"" } else { name }
}
