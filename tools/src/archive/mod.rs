//! Archives: tar as container engines write it, newc cpio as the kernel unpacks it, and the segments of an initramfs.

pub(crate) mod budget;
pub mod newc;
pub mod segment;
pub mod tar;
