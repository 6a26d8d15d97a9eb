//! Randomness from outside, for a kernel that has none of its own yet: without RDRAND and virtio-rng, who asks early waits for
//! seconds.

use crate::machine::is_machine;
use crate::sys::fd;
use crate::{files, smbios};

/// What mkcpio leaves for one boot.
const FILE: &core::ffi::CStr = c"/seed";
/// What stands before the seed where it is one of SMBIOS's OEM strings.
const CREDENTIAL: &[u8] = b"io.systemd.credential:whit.seed=";

/// Gives the kernel what was handed over, as entropy. (Of a machine of namespaces it is everybody's.)
#[inline(never)]
pub(crate) fn credit() {
    let mut strings = [0; _];
    let mut room = files::buffer::<{ fd::MAX_SEED }>();
    let seed = match files::read(FILE, &mut room) {
        Ok(seed) => seed,
        Err(_) => smbios::string(&mut strings, CREDENTIAL),
    };
    if !seed.is_empty() && is_machine() {
        fd::add_entropy(seed);
    }
}
