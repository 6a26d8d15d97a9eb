//! Kernel modules, in the order that mkcpio computed.

use core::mem::MaybeUninit;

use rustix::fs::OFlags;
use whit::contract::MODULE_LIST;
use whit::error::Errno;
use whit::features::Feature;
use whit::parameters::{is_blacklisting, parameter};
use whit::record::Record;
use whit::text::{cut, split, split_once};

use crate::console::{log_failure, read_or_log};
use crate::files::{self, Path};
use crate::sys::call::{exists, load_module};
use crate::sys::fd::{Fd, STDERR, open_at};

/// include/uapi/linux/module.h: the kernel decompresses .ko.xz, .ko.zst, .ko.gz itself (5.17).
const MODULE_INIT_COMPRESSED_FILE: u32 = 4;

/// Loads each module of the list, which is read into `room`, and calls `between` after each. A failure is logged; the boot goes on.
pub(crate) fn load(room: &mut [MaybeUninit<u8>], words: Record<'_>, mut between: impl FnMut()) {
    let size = room.len(); // some 200 modules
    let list = read_or_log(MODULE_LIST.to_bytes(), size, files::read(MODULE_LIST, room)).unwrap_or_default();
    for line in split(list, b'\n').filter(|line| !line.is_empty()) {
        load_one(words, &STDERR, line, false); // Their paths are absolute.
        between();
    }
}

/// Loads a module, unless it is loaded or built in: its file in a directory, and after a space its parameters, followed by those among the
/// words of the command line. Of two values the kernel takes the last (kernel/params.c, parse_args()). A driver that is loaded for its device
/// may be blacklisted. Returns whether it is loaded; a failure is logged.
#[inline(never)]
pub(crate) fn load_one(words: Record<'_>, directory: &Fd, mut file: &[u8], is_for_device: bool) -> bool {
    let mut parameters = Path::new();
    if Feature::Modules.is_enabled()
        && let Some((before, after)) = split_once(file, b' ')
    {
        file = before;
        parameters.set(after);
    }
    let name = split(file, b'/').last().unwrap_or_default();
    let name = cut(name, b'.').0;
    let mut path = Path::new();
    path.join(b"/sys/module", name);
    path.replace(b'-', b'_');
    if exists(path.text()) {
        return true;
    }
    if Feature::Modules.is_enabled() {
        for word in words.words() {
            if is_for_device && is_blacklisting(word, name) {
                return false;
            }
            if let Some((parameter, value)) = parameter(word, name) {
                // The kernel drops the quotes (lib/cmdline.c, next_arg()); it needs them around a space alone.
                let quote: &[u8] = if split_once(value, b' ').is_some() { b"\"" } else { b"" };
                parameters.append(&[b" ", parameter, if value.is_empty() { b"" } else { b"=" }, quote, value, quote]);
            }
        }
    }
    let flags = if let [.., b'.', b'k', b'o'] = file { 0 } else { MODULE_INIT_COMPRESSED_FILE };
    let done = open_at(directory, path.set(file), OFlags::RDONLY)
        .and_then(|module| load_module(&module, parameters.text(), flags));
    match done {
        // EEXIST: it is loaded or built in. ENODEV: this machine has no hardware for it, as with crc32c_intel.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
        Err(errno) => log_failure(c"module ", file, errno),
    }
    done.is_ok()
}
