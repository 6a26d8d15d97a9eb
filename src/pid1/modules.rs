//! Kernel modules, in the order that mkcpio computed.

use core::mem::MaybeUninit;

use rustix::fs::OFlags;
use whit::contract::MODULE_LIST;
use whit::error::Errno;
use whit::text::split;

use crate::console::{log_failure, read_or_log};
use crate::files::{self, Path};
use crate::sys::call::{exists, load_module};
use crate::sys::fd::open;

/// include/uapi/linux/module.h: the kernel decompresses .ko.xz, .ko.zst, .ko.gz itself (5.17).
const MODULE_INIT_COMPRESSED_FILE: u32 = 4;

/// Loads each module of the list, which is read into `room`, and calls `between` after each. A failure is logged; the boot goes on.
pub(crate) fn load(room: &mut [MaybeUninit<u8>], mut between: impl FnMut()) {
    let size = room.len(); // some 200 modules
    let list = read_or_log(MODULE_LIST.to_bytes(), size, files::read(MODULE_LIST, room)).unwrap_or_default();
    for line in split(list, b'\n').filter(|line| !line.is_empty()) {
        load_one(b"", line);
        between();
    }
}

/// Loads a module's file in a directory; a failure is logged.
#[inline(never)]
pub(crate) fn load_one(directory: &[u8], file: &[u8]) {
    let flags = if let [.., b'.', b'k', b'o'] = file { 0 } else { MODULE_INIT_COMPRESSED_FILE };
    let done = open(Path::new().join(directory, file), OFlags::RDONLY).and_then(|module| load_module(&module, flags));
    match done {
        // EEXIST: it is loaded or built in. ENODEV: this machine has no hardware for it, as with crc32c_intel.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
        Err(errno) => log_failure("module ", file, errno),
    }
}

/// Returns whether the module of a file is loaded or built in.
pub(crate) fn is_loaded(file: &[u8]) -> bool {
    let mut path = Path::new();
    let name = split(file, b'/').last().unwrap_or_default();
    let name = split(name, b'.').next().unwrap_or_default();
    path.join(b"/sys/module", name);
    path.replace(b'-', b'_');
    exists(path.text())
}
