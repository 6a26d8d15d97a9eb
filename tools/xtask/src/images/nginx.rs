//! nginx's packages as a tar like that of `docker export`.
//!
//! It has the properties of such a tar: sorted names without `./`; root as the owner of everything; the merged `/usr` and its
//! links; and the empty files that the engine mounts over (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`, `/dev/console`,
//! `.dockerenv`). The work of Debian's maintainer scripts is done here: the users, the site, its page.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::Endianness;
use object::elf::DT_NEEDED;
use object::read::elf::{Dyn, ElfFile64};

use super::system::{lay_out, unpack};
use whit_tools::kernel::debian::{Error, Store, at, run};

/// Libraries may need further libraries; a chain of packages longer than this is a mistake.
const MAX_ROUNDS: usize = 4;

/// Returns the directory in which Debian's dynamic loader searches without a cache.
fn libraries(store: &Store) -> String {
    format!("usr/lib/{}-linux-gnu", store.machine().name())
}

/// The time of every entry, 2025-01-01: the same packages make the same tar.
const MTIME: &str = "--mtime=@1735689600";

/// A folder of a site, which is not in the packages.
const SITE: &str = "var/www/html";

/// Small files of an image, those of the engine first.
const FILES: [(&str, &str); 9] = [
    (".dockerenv", ""),
    ("dev/console", ""),
    ("etc/hostname", ""),
    ("etc/hosts", ""),
    ("etc/resolv.conf", ""),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nadm:x:4:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n"),
    (
        "etc/nginx/sites-enabled/default",
        "server {\n\tlisten 80 default_server;\n\troot /var/www/html;\n\tindex index.html;\n}\n",
    ),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// Returns the tar of the nginx that apt offers; makes it if it does not exist yet.
pub fn tar(store: &mut Store) -> Result<PathBuf, Error> {
    store.fresh(make)
}

fn make(store: &mut Store) -> Result<PathBuf, Error> {
    let version = store.candidate("nginx")?;
    let path = store.folder().join(format!("nginx_{version}.tar"));
    if path.is_file() {
        return Ok(path);
    }
    let temporary = store.temporary()?;
    let root = temporary.path().join("root");
    lay_out(&root, &[SITE])?;
    let mtab = root.join("etc/mtab");
    symlink("/proc/mounts", &mtab).map_err(at(&mtab))?; // docker creates it for mount(8)
    fill(store, &root)?;
    configure(&root)?;

    let unfinished = temporary.path().join("tar");
    pack(&root, &unfinished)?;
    std::fs::rename(&unfinished, &path).map_err(at(&path))?;
    Ok(path)
}

/// Unpacks nginx, then one round of dependencies after the other until its program has all libraries.
fn fill(store: &Store, root: &Path) -> Result<(), Error> {
    let mut unpacked = BTreeSet::new();
    let mut round = BTreeSet::from(["nginx".to_owned()]);
    for _ in 0..MAX_ROUNDS {
        let names: Vec<&str> = round.iter().map(String::as_str).collect();
        unpack(store, &names, root)?;
        let next = store.depends(&names)?;
        unpacked.append(&mut round);
        // The first round is nginx alone. Its configuration is in a package of its own and comes with the second.
        if unpacked.len() > 1 && missing_libraries(store, root)?.is_empty() {
            return Ok(());
        }
        // iproute2 and debconf are for the maintainer scripts; a program needs libraries and its own files.
        let wanted = |name: &String| name.starts_with("lib") || name == "zlib1g" || name.starts_with("nginx-");
        round = next.into_iter().filter(wanted).filter(|name| !unpacked.contains(name)).collect();
        if round.is_empty() {
            break;
        }
    }
    let detail = format!("no package has {}", missing_libraries(store, root)?.join(", "));
    Err(Error::Package { what: "nginx".into(), detail })
}

/// Returns the missing libraries of nginx and of its libraries.
fn missing_libraries(store: &Store, root: &Path) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    let mut seen = BTreeSet::new();
    let mut queue = vec![root.join("usr/sbin/nginx")];
    while let Some(path) = queue.pop() {
        for library in needed(&path)? {
            if seen.insert(library.clone()) {
                let path = root.join(libraries(store)).join(&library);
                if path.exists() { queue.push(path) } else { missing.push(library) }
            }
        }
    }
    missing.sort();
    Ok(missing)
}

/// Returns the `DT_NEEDED` names of an ELF file.
fn needed(path: &Path) -> Result<Vec<String>, Error> {
    let bytes = std::fs::read(path).map_err(at(path))?;
    let names = || -> object::Result<Vec<String>> {
        let elf = ElfFile64::<Endianness>::parse(&*bytes)?;
        let (endian, sections) = (elf.endian(), elf.elf_section_table());
        let Some((entries, link)) = sections.dynamic(endian, &*bytes)? else { return Ok(Vec::new()) };
        let strings = sections.strings(endian, &*bytes, link)?;
        let needed = entries.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED));
        needed.map(|entry| Ok(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned())).collect()
    };
    names().map_err(|error| Error::Package { what: path.display().to_string(), detail: error.to_string() })
}

/// Does the work of the maintainer scripts and of the engine.
fn configure(root: &Path) -> Result<(), Error> {
    for (name, content) in FILES {
        let path = root.join(name);
        std::fs::write(&path, content).map_err(at(&path))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(at(&path))?;
    }
    let page = root.join(SITE).join("index.html");
    std::fs::copy(root.join("usr/share/nginx/html/index.html"), &page).map_err(at(&page))?; // with its mode
    Ok(())
}

fn pack(root: &Path, archive: &Path) -> Result<(), Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(at(root))? {
        names.push(entry.map_err(at(root))?.file_name());
    }
    names.sort();
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=root:0", "--group=root:0", MTIME]);
    // As Go's archive/tar, and so docker: pax records only where ustar is too small, and none for other times than mtime.
    tar.args(["--format=posix", "--pax-option=delete=atime,delete=ctime"]);
    run("tar", tar.arg("--directory").arg(root).arg("--file").arg(archive).args(names), "nginx")?;
    Ok(())
}
