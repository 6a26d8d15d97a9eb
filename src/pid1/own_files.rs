//! The files that the init writes into the root: each begins with [`MARK`], and none takes the place of the image's own.

use core::ffi::CStr;

use rustix::fs::{Access, OFlags, access, ftruncate};
use rustix::io;
use rustix::mount::mount_bind;
use whit::contract::{MARK, RUN, RUN_IN_ROOT};
use whit::error::Errno;
use whit::text::strip_prefix;

use crate::console::{self, log_failure};
use crate::files::{self, Path};
use crate::filesystems::ROOT;
use crate::sys::fd::{self, Fd};

/// Whether the root has a /run/whit. It is not created: to make it, and a file in it, takes ext4 a tenth of a boot.
pub(crate) fn has_run_whit() -> bool {
    access(RUN_IN_ROOT, Access::EXISTS).is_ok()
}

/// Writes the text that was put together ([`Line`](console::Line)) to a file of the root.
pub(crate) fn write(path: &CStr) {
    let done = console::finish(|text| match write_inside(path, text) {
        Err(Errno::ROFS) => bind_over(path, text),
        done => done,
    });
    if let Err(errno) = done {
        log_failure("/", path.to_bytes(), errno);
    }
}

/// Writes a file in the root where the image has none, an empty one (as docker export leaves it), or one of ours.
fn write_inside(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = match fd::open_inside(ROOT, path, OFlags::RDWR | OFlags::CREATE) {
        // No /etc, on a root that is read-only.
        Err(Errno::NOENT) => return Ok(()),
        file => file?,
    };
    let mut buffer = files::buffer::<{ MARK.len() }>();
    let head = fd::read(&file, &mut buffer)?;
    if head.is_empty() || head == MARK.as_bytes() { replace_content(&file, text) } else { Ok(()) }
}

/// Replaces the content of a file, never through length 0: ext4 would allocate blocks for the file when it is
/// closed, and read bitmaps from the disk for that (fs/ext4/inode.c, ext4_truncate, EXT4_STATE_DA_ALLOC_CLOSE): 12 ms of a
/// boot of 30.
#[inline(never)]
fn replace_content(file: &Fd, text: &[u8]) -> Result<(), Errno> {
    io::pwrite(file, text, 0)?;
    Ok(ftruncate(file, u64::try_from(text.len()).unwrap_or_default())?)
}

/// Writes a file outside the root, which is read-only, and binds it over the image's.
fn bind_over(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    files::make_directory(RUN)?;
    let path = path.to_bytes();
    let (mut ours, mut theirs) = (Path::new(), Path::new());
    let ours = ours.join(RUN.to_bytes(), strip_prefix(path, b"etc/").unwrap_or(path));
    replace_content(&fd::open(ours, OFlags::WRONLY | OFlags::CREATE)?, text)?;
    let theirs = theirs.join(ROOT.to_bytes(), path);
    // It is not empty any more once ours is bound over it.
    match fd::status(theirs) {
        Some(file) if file.is_empty => Ok(mount_bind(ours, theirs)?),
        _ => Ok(()),
    }
}
