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
use whit::text::{Buffer, Text};

use crate::console::failed;
use crate::files::{self, Path};
use crate::filesystems::ROOT;
use crate::sys::fd;

type Contents = Buffer<512>;

/// The first line of a file of ours.
const MARK: &str = "# written by whit\n";
/// Where our files are when the root cannot be written to.
const OUTSIDE: &CStr = c"/run/whit";

/// Writes all three.
pub(crate) fn write(lease: Option<&Lease>) {
    let uname = rustix::system::uname();
    let hostname = Text(uname.nodename().to_bytes());
    let mut text = Contents::default();
    let _ = uwrite!(text, "{}\n", hostname);
    put(c"hostname", &text);

    let mut text = Contents::default();
    let _ = uwrite!(text, "{}127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n", MARK);
    match lease {
        Some(lease) => drop(uwrite!(text, "{} {}\n", lease.address, hostname)),
        None => drop(uwrite!(text, "127.0.1.1 {}\n", hostname)),
    }
    put(c"hosts", &text);

    // Without a lease there are no name servers to tell of, but some that may no longer hold.
    let mut text = Contents::default();
    let _ = uwrite!(text, "{}", MARK);
    for server in lease.iter().flat_map(|lease| lease.name_servers.iter().flatten()) {
        let _ = uwrite!(text, "nameserver {}\n", *server);
    }
    put(c"resolv.conf", &text);
}

fn put(name: &CStr, text: &Contents) {
    let done = put_inside(name, text).or_else(|errno| match errno {
        Errno::ROFS => put_outside(name, text),
        errno => Err(errno),
    });
    if let Err(errno) = done {
        failed("/etc/", name.to_bytes(), errno);
    }
}

fn put_inside(name: &CStr, text: &Contents) -> Result<(), Errno> {
    let path = Path::new(&[b"etc/", name.to_bytes()])?;
    let file = match fd::open_inside(ROOT, path.as_c_str(), OFlags::RDWR | OFlags::CREATE) {
        // No /etc: an image of one program does not read these files.
        Err(Errno::NOENT) => return Ok(()),
        file => file?,
    };
    let mut buffer = files::buffer::<{ MARK.len() }>();
    let head = fd::read(&file, &mut buffer)?;
    let (empty, ours) = (head.is_empty(), head == MARK.as_bytes());
    if empty || ours {
        io::pwrite(&file, &text.0, 0)?;
    }
    if ours {
        // Never to length 0: ext4 would allocate blocks for the file when it is closed, and read bitmaps from the disk for
        // that (fs/ext4/inode.c, ext4_truncate, EXT4_STATE_DA_ALLOC_CLOSE): 12 ms of a boot of 30.
        ftruncate(&file, u64::try_from(text.0.len()).unwrap_or_default())?;
    }
    Ok(())
}

/// For a root that is read-only: the file is ours, and bound over the image's.
fn put_outside(name: &CStr, text: &Contents) -> Result<(), Errno> {
    files::make_directory(OUTSIDE)?;
    let ours = Path::new(&[OUTSIDE.to_bytes(), b"/", name.to_bytes()])?;
    let existed = rustix::fs::stat(ours.as_c_str()).is_ok();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    io::write(fd::open(ours.as_c_str(), flags)?, &text.0)?;
    if existed {
        return Ok(());
    }
    let theirs = Path::new(&[ROOT.to_bytes(), b"/etc/", name.to_bytes()])?;
    match rustix::fs::stat(theirs.as_c_str()) {
        Ok(file) if file.st_size == 0 => Ok(mount_bind(ours.as_c_str(), theirs.as_c_str())?),
        _ => Ok(()),
    }
}
