//! The library of mkraw: writes disks from container images, and inspects disks.

pub mod ext4;
pub mod image;
pub mod inspect;
pub mod verity;

pub use whit_gpt as gpt;
