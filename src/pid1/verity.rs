//! A verified root: dm-verity over the device of `root=`, whose blocks the kernel compares with `roothash=` as they are read.
//!
//! The init computes no hash. A block that differs is an error of reading (EIO), in the root as in the tree.

use linux_raw_sys::general::S_IFBLK;
use rustix::fs::OFlags;
use whit::error::Errno;
use whit::options::{Options, Value};
use whit::text::Text;
use whit::verity::{self, BLOCK_BYTES};

use super::{Device, read_place};
use crate::console;
use crate::message::{error, part, push_hexadecimal};
use crate::sys::call::mknod;
use crate::sys::fd;
use crate::sys::mapper::make_device;

/// The name of the target.
const VERITY: [u8; 16] = *b"verity\0\0\0\0\0\0\0\0\0\0";

/// Replaces the device that was found by a verified one, if the root is to be verified.
///
/// # Errors
/// [`Errno::KEYREJECTED`]; the reason is logged.
pub(crate) fn protect(device: &mut Device, options: &Options<'_>) -> Result<(), Errno> {
    if !options.is_verified {
        return Ok(());
    }
    device.protect(options.value(Value::RootHash)).map_err(|reason| {
        error!("root={}: {}", Text(options.value(Value::Root)), reason);
        Errno::KEYREJECTED
    })
}

impl Device {
    /// Returns the reason why there is no verified device.
    fn protect(&mut self, hash: &[u8]) -> Result<(), &'static str> {
        if !verity::is_hash(hash) {
            return Err("roothash= is not 64 hexadecimal digits");
        }
        let name = self.path.text();
        let disk = fd::open(name, OFlags::RDONLY).map_err(|_| "cannot be opened")?;
        // The search has read another device meanwhile.
        read_place(&mut self.place, &disk, 0);
        let blocks = self.format.and_then(|format| verity::file_system_blocks(format, &self.place));
        let blocks = blocks.ok_or("no ext4, squashfs or erofs")?;
        read_place(&mut self.place, &disk, blocks.wrapping_mul(BLOCK_BYTES));
        let salt = verity::salt(&self.place, blocks).ok_or("no hash tree after the file system")?;
        // Documentation/admin-guide/device-mapper/verity.rst
        let name = Text(name.to_bytes());
        part!("1 {} {} 4096 4096 {} ", name, name, blocks);
        part!("{} sha256 {} ", blocks.wrapping_add(1), Text(hash));
        if salt.is_empty() {
            console::push(b'-');
        }
        salt.iter().for_each(|byte| push_hexadecimal(*byte));
        let number = console::finish(|parameters| make_device(VERITY, blocks.wrapping_mul(8), parameters))
            .map_err(|_| "no dm-verity (mkcpio --for verity), or it refuses the disk")?;
        let _ = mknod(c"/dev/mapper/root", S_IFBLK | 0o600, number);
        self.path.set(b"/dev/mapper/root");
        // The file system is that of the verified device, whatever was read before.
        let _ = self.probe();
        if self.format.is_none() { Err("differs from roothash=") } else { Ok(()) }
    }
}
