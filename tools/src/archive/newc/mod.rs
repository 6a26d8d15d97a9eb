//! The archive that the kernel unpacks into its initial root: cpio "newc".
//!
//! The format is described in Documentation/driver-api/early-userspace/buffer-format.rst. The reader that matters is the
//! kernel's init/initramfs.c. Its limits are checked here, because it skips invalid entries silently.

mod read;
mod refused;
mod write;

pub use read::{Header, Malformed};
pub(crate) use read::{hexadecimal, name_in};
pub use refused::Refused;
pub use write::{Finished, Kind, Meta, Names, Unpacked, Writer};

/// The magic of an entry without checksum.
const MAGIC: &[u8; 6] = b"070701";
/// The magic of an entry whose `check` field is the sum of its data's bytes.
const MAGIC_CHECKSUM: &[u8; 6] = b"070702";
/// Magic and 13 fields of 8 hexadecimal digits.
pub(crate) const HEADER_BYTES: usize = 6 + 13 * 8;
/// The name of the entry that ends an archive.
pub(crate) const TRAILER: &[u8] = b"TRAILER!!!";
/// PATH_MAX of the kernel, with the NUL that ends a name: do_header() skips an entry whose `namesize` is above it.
pub(crate) const NAME_MAX_BYTES: usize = 4096;
/// NAME_MAX of the kernel: the longest single component of a path.
const COMPONENT_MAX_BYTES: usize = 255;

/// The kernel's largest device number: 12 bits of major, 20 of minor (include/linux/kdev_t.h).
pub(crate) const DEVICE_MAX: (u32, u32) = ((1 << 12) - 1, (1 << 20) - 1);

/// The type bits of `mode`, as in stat(2).
pub(crate) mod file_type {
    pub(crate) const MASK: u32 = 0o170_000;
    pub(crate) const SOCKET: u32 = 0o140_000;
    pub(crate) const SYMLINK: u32 = 0o120_000;
    pub(crate) const REGULAR: u32 = 0o100_000;
    pub(crate) const BLOCK: u32 = 0o060_000;
    pub(crate) const DIRECTORY: u32 = 0o040_000;
    pub(crate) const CHARACTER: u32 = 0o020_000;
    pub(crate) const FIFO: u32 = 0o010_000;
}

/// Returns the number of bytes from `length` to the next multiple of `alignment`, a power of two.
pub(crate) const fn padding(length: u64, alignment: u64) -> u64 {
    length.wrapping_neg() & (alignment - 1)
}
