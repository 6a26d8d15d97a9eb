//! Kernel modules, in the order that mkcpio computed.

use rustix::fs::OFlags;
use rustix::system::finit_module;
use whit::error::Errno;
use whit::text::parts;

use crate::console::{failed, unread};
use crate::files::{self, Path};
use crate::sys::fd::open;
use crate::sys::memory::Static;

/// One path a line, dependencies first.
const LIST: &core::ffi::CStr = c"/lib/modules/load";
/// Bytes of the list: some 200 modules.
const MAX_LIST: usize = 16 * 1024;
/// include/uapi/linux/module.h: the kernel takes .ko.xz, .ko.zst, .ko.gz apart itself (5.17).
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;

/// Loads each module of the list, and calls `between` behind each. One that fails is said; the boot goes on.
pub(crate) fn load(mut between: impl FnMut()) {
    static BUFFER: Static<MAX_LIST> = Static::new();
    let list = match files::read(LIST, BUFFER.take()) {
        Ok(list) => list,
        Err(Errno::NOENT) => return,
        Err(errno) => return unread(LIST.to_bytes(), MAX_LIST, errno),
    };
    for line in parts(list, b'\n').filter(|line| !line.is_empty()) {
        match load_one(line) {
            // It is there, or in the kernel itself; or this machine has nothing for it, as with crc32c_intel.
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
            Err(errno) => failed("module ", line, errno),
        }
        between();
    }
}

fn load_one(path: &[u8]) -> Result<(), Errno> {
    let file = open(Path::new().set(path), OFlags::RDONLY)?;
    let flags = if path.ends_with(b".ko") { 0 } else { MODULE_INIT_COMPRESSED_FILE };
    finit_module(file, c"", flags)?;
    Ok(())
}
