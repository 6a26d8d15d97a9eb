//! Archives: tar as container engines write it, what one contains, newc cpio as the kernel unpacks it, and the segments of an initramfs.

pub(crate) mod budget;
pub mod contents;
pub mod newc;
pub(crate) mod paths;
pub mod seekable;
pub mod segment;
pub mod tar;
