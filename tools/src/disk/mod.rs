//! The library of mkraw: writes disks from container images, and inspects disks.

pub mod ext4;
pub mod gpt;
pub mod image;
pub mod inspect;
