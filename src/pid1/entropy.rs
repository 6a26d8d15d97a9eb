//! A random seed from mkcpio or the host, for a kernel without RDRAND and virtio-rng: an early getrandom(2) blocks for seconds
//! there.

use crate::machine::is_machine;
use crate::sys::fd;
use crate::{files, smbios};

/// The seed that mkcpio writes, for one boot.
const FILE: &core::ffi::CStr = c"/seed";
/// The start of the SMBIOS OEM string that has the seed.
const CREDENTIAL: &[u8] = b"io.systemd.credential:whit.seed=";

/// Credits the seed to the kernel. (Not in a namespace, where the kernel is the host's.)
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
