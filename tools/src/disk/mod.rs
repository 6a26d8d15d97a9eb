//! mkraw's wing: disks made of container images, and what is in a disk.

pub mod ext4;
pub mod gpt;
pub mod image;
pub mod inspect;
