//! The files that the init writes into the root. It replaces only files that are empty or begin with [`MARK`], never the image's own;
//! except resolv.conf, which is that of the host where the image was built, as soon as there are DNS servers.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::OFlags;
use whit::contract::{MARK, ROOT, RUN};
use whit::error::Errno;
use whit::features::Feature;
use whit::text::strip_prefix;

use crate::console::{self, log_failure};
use crate::files::{self, Path};
use crate::inside::{self, Walk};
use crate::sys::call::{mount_bind, rename, truncate, unlink};
use crate::sys::fd::{self, Fd};
use crate::sys::memory::MAX_LINE;

/// Returns whether the root has a /run/whit. The init does not create it: to create it, and a file in it, takes ext4 a tenth of a
/// boot.
pub(crate) fn has_run_whit() -> bool {
    inside::find(ROOT, RUN, OFlags::DIRECTORY).is_ok()
}

/// The workload runs, and must not read half of a file.
static HAS_READERS: AtomicBool = AtomicBool::new(false);

/// Notes that the workload runs from here on.
pub(crate) fn set_readers() {
    HAS_READERS.store(true, Ordering::Relaxed);
}

/// Writes the text buffer ([`Line`](console::Line)) to a file of the root. A failure is logged once per file. With `any`, the file may be
/// the image's own.
pub(crate) fn write(path: &CStr, any: bool) {
    /// A bit for each length of a path: no two of these files have paths of the same length.
    static FAILED: AtomicU32 = AtomicU32::new(0);
    if let Err(errno) = console::finish(|text| write_inside(path, text, any)) {
        let bit = 1u32.wrapping_shl(path.count_bytes() as u32);
        if FAILED.load(Ordering::Relaxed) & bit == 0 {
            FAILED.store(FAILED.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
            log_failure(c"/", path.to_bytes(), errno);
        }
    }
}

/// Writes a file in the root if the image has none, an empty one (as docker export leaves it), or an older one of the init's; or `any`.
fn write_inside(path: &CStr, text: &[u8], any: bool) -> Result<(), Errno> {
    let file = match inside::open(path, OFlags::RDWR) {
        Err(Errno::NOENT) => None,
        file => Some(file?),
    };
    if let Some(file) = &file {
        let mut room = files::buffer::<MAX_LINE>();
        let old = &*fd::read(file, &mut room)?;
        if old == text
            || !(old.is_empty() || Feature::Details.is_enabled() && any) && strip_prefix(old, MARK.as_bytes()).is_none()
        {
            return Ok(());
        }
        if !HAS_READERS.load(Ordering::Relaxed) && overwrite(file, text, old.len()).is_ok() {
            return Ok(());
        }
    }
    let mut walk = Walk::new(ROOT, true);
    let mut done = walk.to(path.to_bytes());
    if done.is_ok() {
        // ext4 takes long for a rename: a file that nobody reads yet is made without one.
        let is_new = file.is_none() && !HAS_READERS.load(Ordering::Relaxed);
        done = if is_new { create(walk.name(), text) } else { replace(walk.name(), text) };
        if let (Err(_), Some(file)) = (done, &file) {
            // Something is mounted on it, or its directory is read-only.
            done = overwrite(file, text, usize::MAX);
            if done.is_err() {
                done = bind_over(path.to_bytes(), walk.name(), text);
            }
        }
    }
    inside::leave();
    // A file that is missing in a read-only root is skipped.
    if done == Err(Errno::ROFS) { Ok(()) } else { done }
}

/// Creates a file in the working directory, or replaces it by rename(2): no reader gets half of it.
fn replace(name: &CStr, text: &[u8]) -> Result<(), Errno> {
    const NEW: &CStr = c".whit.new";
    unlink(NEW); // A power cut may have left it.
    let done = create(NEW, text).and_then(|()| rename(NEW, name));
    if done.is_err() {
        unlink(NEW);
    }
    done
}

/// Creates a file; none is left when it cannot be written. What has its name is an error: the workload may have made a link.
#[inline(never)]
fn create(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = fd::open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    let done = fd::write(&file, text);
    if done.is_err() {
        unlink(path);
    }
    done
}

/// Replaces the content of a file of at most `old` bytes, never through length 0: ext4 would allocate blocks for the file when it is
/// closed, and read bitmaps from the disk for that (fs/ext4/inode.c, ext4_truncate, EXT4_STATE_DA_ALLOC_CLOSE): 12 ms of a
/// boot of 30. A rename over the old file has the same cost (fs/ext4/namei.c, ext4_rename): [`replace`] is for files that have
/// readers.
#[inline(never)]
fn overwrite(file: &Fd, text: &[u8], old: usize) -> Result<(), Errno> {
    fd::write_at(file, text, 0)?;
    if old > text.len() { truncate(file, text.len()) } else { Ok(()) }
}

/// Writes a file outside the root, which is read-only, and binds it over the one in the working directory.
fn bind_over(path: &[u8], target: &CStr, text: &[u8]) -> Result<(), Errno> {
    files::make_directory(RUN)?;
    let mut room = Path::new();
    let source = room.join(RUN.to_bytes(), strip_prefix(path, b"etc/").unwrap_or(path));
    unlink(source); // An earlier try may have left it.
    create(source, text)?;
    mount_bind(source, target)
}
