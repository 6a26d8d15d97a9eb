//! mkcpio compared with other programs: GNU cpio, GNU tar, 3cpio, rpmbuild, and each compression's own program.

mod inputs;
mod looking;
mod netboot;
mod program;
mod rootfs;
mod rpm;
mod sets;
mod threecpio;
