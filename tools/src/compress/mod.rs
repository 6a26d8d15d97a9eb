//! Compressions: every decoder and encoder that the tools use.
//!
//! [`Decoder`] undoes one compressed piece and gives its input back, for the segments of an initramfs; [`decoder`] undoes all
//! pieces of an archive or file; [`Compression`] says how an initramfs is compressed.

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
