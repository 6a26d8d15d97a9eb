//! What tells programs of the network: the machine's name, resolv.conf, hosts and hostname in the root's /etc, and the facts of
//! the lease in /run/whit/net.env for scripts, where there is a /run/whit.
//!
//! Ours are written where the image has none, an empty one (as docker export leaves it), or one of ours.

use core::ffi::CStr;

use rustix::fs::{Access, OFlags, access, ftruncate};
use rustix::io;
use rustix::mount::mount_bind;
use rustix::system::{Uname, sethostname, uname};
use ufmt::{uWrite, uwrite};
use whit::dhcp::lease::{Lease, MAX_SERVERS, Servers};
use whit::error::Errno;
use whit::ipv4::{self, Address};
use whit::options::{Options, Source, Sources, Value};
use whit::text::{Text, strip_prefix};

use crate::console::{self, Line, failed, number_line};
use crate::files::{self, Path};
use crate::filesystems::ROOT;
use crate::network::Network;
use crate::sys::fd::{self, Fd};

/// The first line of a file of ours.
pub(crate) const MARK: &str = "# written by whit\n";
/// Where our files are when the root cannot be written to.
const OUTSIDE: &CStr = c"/run/whit";

/// Names the machine and writes the files.
pub(crate) fn write(sources: &Sources<'_>, options: &Options<'_>, network: Option<&Network<'_>>) {
    let lease = network.and_then(Network::lease);
    name_machine(options.value(Value::Hostname), lease.map_or(b"", |lease| &lease.hostname));
    // An image of one program has none, and its resolver reads these files all the same.
    let _ = files::make_directory(c"/mnt/etc");
    let uname = uname();
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
    let mut servers = Servers::new();
    for source in Source::STRONGEST_FIRST {
        for given in sources.each(*source).filter(|given| given.name == b"nameserver") {
            let _ = ipv4::parse(given.text).map(|server| servers.push(server));
        }
    }
    for server in lease.map_or(&[][..], |lease| &lease.name_servers) {
        let _ = servers.push(*server);
    }
    for server in servers {
        fact("nameserver ", server);
    }
    if let Some(network) = network {
        for server in network.name_servers() {
            let _ = uwrite!(Line, "nameserver {}", server.address);
            if server.address.is_link_local() {
                let _ = uwrite!(Line, "%{}", Text(network.name_of(server.interface)));
            }
            let _ = Line.write_str("\n");
        }
    }
    if let Some(Lease { search, .. }) = lease.filter(|lease| !lease.search.is_empty()) {
        let _ = uwrite!(Line, "search{}\n", Text(search));
    }
    put(c"etc/resolv.conf");
    write_facts(lease);
}

/// Names the machine as it was asked, or else as the kernel was told, or the server says; or `whit`.
fn name_machine(asked: &[u8], leased: &[u8]) {
    const OURS: &[u8] = b"whit";
    let uname = uname();
    let known = known_name(&uname);
    let name = match asked {
        b"" if !known.is_empty() && known != OURS => return,
        b"" if leased.is_empty() => OURS,
        b"" => leased,
        asked => asked,
    };
    if let Err(errno) = sethostname(name) {
        failed("hostname ", name, errno.into());
    }
}

/// The name that the machine was given; until then it is "(none)" (init/version.c).
#[inline(never)]
pub(crate) fn known_name(uname: &Uname) -> &[u8] {
    let name = uname.nodename().to_bytes();
    if name == b"(none)" { b"" } else { name }
}

/// Whether there is a /run/whit. To make it, and a file in it, takes ext4 a tenth of a boot.
pub(crate) fn has_facts() -> bool {
    access(c"/mnt/run/whit", Access::EXISTS).is_ok()
}

/// What a script can read with `.`: digits and dots, and nothing that a server has written; of a lease that is lost, nothing.
fn write_facts(lease: Option<&Lease>) {
    const NUMBERED: [[&str; MAX_SERVERS]; 2] = [["DNS1=", "DNS2=", "DNS3="], ["NTP1=", "NTP2=", "NTP3="]];
    if !has_facts() {
        return;
    }
    let _ = Line.write_str(MARK);
    if let Some(lease) = lease {
        fact("ADDRESS=", lease.address);
        number_line("PREFIX=", lease.prefix_length.into());
        if lease.server != Address::UNSPECIFIED {
            fact("SERVER=", lease.server);
        }
        if let Some(router) = lease.router() {
            fact("ROUTER=", router);
        }
        for (keys, servers) in NUMBERED.iter().zip([&lease.name_servers, &lease.time_servers]) {
            for (key, server) in keys.iter().zip(servers) {
                fact(key, *server);
            }
        }
        if let Some(times) = lease.times {
            number_line("RENEWAL=", times.renewal_s);
            number_line("REBINDING=", times.rebinding_s);
            number_line("EXPIRY=", times.expiry_s);
        }
    }
    put(c"run/whit/net.env");
}

#[inline(never)]
fn fact(key: &str, address: Address) {
    let _ = uwrite!(Line, "{}{}\n", key, address);
}

/// Writes the text that was made.
pub(crate) fn put(path: &CStr) {
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
