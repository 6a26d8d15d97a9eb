//! The files in the root's /etc that tell programs of the network: resolv.conf, hosts, hostname.
//!
//! Ours are written where the image has none, an empty one (as docker export leaves it), or one of ours.

use core::ffi::CStr;

use rustix::fs::{OFlags, ftruncate};
use rustix::io;
use rustix::mount::mount_bind;
use ufmt::uwrite;
use whit::dhcp::lease::Lease;
use whit::error::Errno;
use whit::text::{Text, strip_prefix};

use crate::console::{self, Line, failed};
use crate::files::{self, Path};
use crate::filesystems::ROOT;
use crate::sys::fd::{self, Fd};

/// The first line of a file of ours.
const MARK: &str = "# written by whit\n";
/// Where our files are when the root cannot be written to.
const OUTSIDE: &CStr = c"/run/whit";

/// Writes all three.
pub(crate) fn write(lease: Option<&Lease>) {
    // An image of one program has none, and its resolver reads these files all the same.
    let _ = files::make_directory(c"/mnt/etc");
    let uname = rustix::system::uname();
    let hostname = Text(uname.nodename().to_bytes());
    let _ = uwrite!(Line, "{}\n", hostname);
    put(c"etc/hostname");

    let _ = uwrite!(Line, "{}127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n", MARK);
    match lease {
        Some(lease) => drop(uwrite!(Line, "{} {}\n", lease.address, hostname)),
        None => drop(uwrite!(Line, "127.0.1.1 {}\n", hostname)),
    }
    put(c"etc/hosts");

    // Without a lease there are no name servers to tell of, but some that may no longer hold.
    let _ = uwrite!(Line, "{}", MARK);
    for server in lease.map_or(&[][..], |lease| &lease.name_servers) {
        let _ = uwrite!(Line, "nameserver {}\n", *server);
    }
    put(c"etc/resolv.conf");
}

/// Writes the text that was made.
fn put(path: &CStr) {
    let done = console::finish(|text| match put_inside(path, text) {
        Err(Errno::ROFS) => put_outside(path, text),
        done => done,
    });
    if let Err(errno) = done {
        failed("/", path.to_bytes(), errno);
    }
}

fn put_inside(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = match fd::open_inside(ROOT, path, OFlags::RDWR | OFlags::CREATE) {
        // No /etc, on a root that is read-only.
        Err(Errno::NOENT) => return Ok(()),
        file => file?,
    };
    let mut buffer = files::buffer::<{ MARK.len() }>();
    let head = fd::read(&file, &mut buffer)?;
    if head.is_empty() || head == MARK.as_bytes() { fill(&file, text) } else { Ok(()) }
}

/// Puts a text in the place of what a file holds. Never by way of length 0: ext4 would allocate blocks for the file when it is
/// closed, and read bitmaps from the disk for that (fs/ext4/inode.c, ext4_truncate, EXT4_STATE_DA_ALLOC_CLOSE): 12 ms of a
/// boot of 30.
#[inline(never)]
fn fill(file: &Fd, text: &[u8]) -> Result<(), Errno> {
    io::pwrite(file, text, 0)?;
    Ok(ftruncate(file, u64::try_from(text.len()).unwrap_or_default())?)
}

/// For a root that is read-only: the file is ours, and bound over the image's.
fn put_outside(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    files::make_directory(OUTSIDE)?;
    let path = path.to_bytes();
    let (mut ours, mut theirs) = (Path::new(), Path::new());
    let ours = ours.join(OUTSIDE.to_bytes(), strip_prefix(path, b"etc/").unwrap_or(path));
    fill(&fd::open(ours, OFlags::WRONLY | OFlags::CREATE)?, text)?;
    let theirs = theirs.join(ROOT.to_bytes(), path);
    // Once ours is bound it is no longer empty.
    match fd::status(theirs) {
        Some(file) if file.is_empty => Ok(mount_bind(ours, theirs)?),
        _ => Ok(()),
    }
}
