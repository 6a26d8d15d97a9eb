//! SMBIOS OEM strings, in which a host passes systemd's credentials to its virtual machine (systemd.system-credentials(7)).

use crate::files;

/// Bytes that are searched for strings.
pub(crate) const MAX_STRINGS: usize = 4096;
/// Offset of the strings: after the header of a structure without formatted area (DSP0134 §6.1).
const STRINGS: usize = 5;

/// Returns the rest of the string that begins with `key`; empty when there is none.
pub(crate) fn string<'a>(room: &'a mut [u8; MAX_STRINGS], key: &[u8]) -> &'a [u8] {
    files::value_of(room, c"/sys/firmware/dmi/entries/11-0/raw", STRINGS, 0, key)
}
