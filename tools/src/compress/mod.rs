//! Compressions: every decoder and encoder that the tools use.
//!
//! [`Compression`] is the compression of a new initramfs. Inside the library, `Decoder` decompresses one frame and returns its
//! input, for the segments of an initramfs, and `decoder()` decompresses all frames of an archive or file.

mod ahead;
mod gzip;
pub(crate) mod lz4;
mod method;
mod read;
mod write;

pub use method::Method;
pub use write::Compression;

pub(crate) use ahead::{Ahead, ahead};
pub(crate) use method::{Decoder, MAGIC_BYTES};
pub(crate) use read::{decoder, decompress};
