//! A random seed from mkcpio or the host, for a kernel without RDRAND and virtio-rng: an early getrandom(2) blocks for seconds
//! there.

use whit::contract::{SEED, SEED_CREDENTIAL};

use crate::machine::is_machine;
use crate::sys::fd;
use crate::{files, smbios};

/// Credits the seed to the kernel. (Not in a namespace, where the kernel is the host's.)
#[inline(never)]
pub(crate) fn credit() {
    let mut strings = [0; _];
    let mut room = files::buffer::<{ fd::MAX_SEED }>();
    let seed = match files::read(SEED, &mut room) {
        Ok(seed) => seed,
        Err(_) => smbios::string(&mut strings, SEED_CREDENTIAL),
    };
    if !seed.is_empty() && is_machine() {
        fd::add_entropy(seed);
    }
}
