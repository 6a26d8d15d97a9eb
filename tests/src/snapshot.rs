//! Snapshots of a tree as the kernel or ext4-view shows it, in a form to compare.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use ext4_view::Ext4;

/// The files of a tree by their paths from the root; the root is the empty path.
pub type Snapshot = BTreeMap<Vec<u8>, Seen>;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Type and permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Content of a file, target of a link; empty for the other types.
    pub content: Vec<u8>,
    /// The part that ext4-view does not report.
    pub rest: Rest,
}

/// The part of a file that only the kernel shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Number of hard links.
    pub links: u64,
    /// Device number of a node.
    pub device: u64,
    /// Extended attributes.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same inode.
    pub same_as: Vec<u8>,
}

/// Reads a tree as the kernel shows it.
pub fn of_directory(root: &Path) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut inodes = BTreeMap::new();
    walk(root, &[], &mut snapshot, &mut inodes);
    for (path, seen) in &mut snapshot {
        seen.rest.same_as = inodes[path].clone();
    }
    snapshot
}

fn walk(root: &Path, path: &[u8], snapshot: &mut Snapshot, same: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let full = root.join(OsString::from_vec(path.to_vec()));
    let metadata = std::fs::symlink_metadata(&full).unwrap();
    let kind = metadata.file_type();
    let content = match () {
        () if kind.is_file() => std::fs::read(&full).unwrap(),
        () if kind.is_symlink() => std::fs::read_link(&full).unwrap().into_os_string().into_vec(),
        () => Vec::new(),
    };
    let key = format!("{}", metadata.ino()).into_bytes();
    let first = same.entry([&b"\0inode "[..], &key].concat()).or_insert_with(|| path.to_vec()).clone();
    same.insert(path.to_vec(), first);
    let is_device = kind.is_char_device() || kind.is_block_device();
    let rest = Rest {
        links: metadata.nlink(),
        device: if is_device { metadata.rdev() } else { 0 },
        attributes: attributes(&full),
        same_as: Vec::new(),
    };
    let (mode, owner) = (metadata.mode(), (metadata.uid(), metadata.gid()));
    let mtime = (metadata.mtime(), metadata.mtime_nsec());
    snapshot.insert(path.to_vec(), Seen { mode, owner, mtime, content, rest });
    if kind.is_dir() {
        let mut names: Vec<OsString> =
            std::fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            walk(root, &join(path, name.as_bytes()), snapshot, same);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut list).unwrap();
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value.truncate(length);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// Reads a tree as ext4-view shows it in an image, with a default [`Rest`].
pub fn of_image(image: &Path) -> Snapshot {
    let ext4 = Ext4::load_from_path(image).unwrap();
    let mut snapshot = Snapshot::new();
    let mut left = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let full = [b"/", path.as_slice()].concat();
        let full = ext4_view::Path::try_from(full.as_slice()).unwrap();
        let metadata = ext4.symlink_metadata(full).unwrap();
        let content = match metadata.file_type() {
            ext4_view::FileType::Regular => ext4.read(full).unwrap(),
            ext4_view::FileType::Symlink => ext4.read_link(full).unwrap().as_ref().to_vec(),
            _ => Vec::new(),
        };
        if metadata.is_dir() {
            for entry in ext4.read_dir(full).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name();
                if !matches!(name.as_ref(), b"." | b"..") {
                    left.push(join(&path, name.as_ref()));
                }
            }
        }
        let mode = u32::from(metadata.mode()) & 0o7777 | kind_bits(metadata.file_type());
        let modified = metadata.modified();
        let mtime = (modified.seconds(), i64::from(modified.nanoseconds()));
        let owner = (metadata.uid(), metadata.gid());
        snapshot.insert(path, Seen { mode, owner, mtime, content, rest: Rest::default() });
    }
    snapshot
}

fn kind_bits(kind: ext4_view::FileType) -> u32 {
    match kind {
        ext4_view::FileType::Fifo => 0o010_000,
        ext4_view::FileType::CharacterDevice => 0o020_000,
        ext4_view::FileType::Directory => 0o040_000,
        ext4_view::FileType::BlockDevice => 0o060_000,
        ext4_view::FileType::Regular => 0o100_000,
        ext4_view::FileType::Symlink => 0o120_000,
        ext4_view::FileType::Socket => 0o140_000,
    }
}

/// Removes lost+found, which an image has and an extracted archive has not.
pub fn without_lost_found(mut snapshot: Snapshot) -> Snapshot {
    snapshot.remove(&b"lost+found"[..]);
    let root = snapshot.get_mut(&b""[..]).unwrap();
    root.rest.links = root.rest.links.saturating_sub(1);
    snapshot
}

/// Asserts that two trees are the same. Shows only the first difference: whole trees are too long to read.
pub fn assert_same(found: &Snapshot, expected: &Snapshot) {
    for (path, seen) in expected {
        let other = found.get(path);
        let shown = |seen: &Seen| Seen { content: seen.content.iter().take(80).copied().collect(), ..seen.clone() };
        assert!(
            other == Some(seen),
            "{}: found {:?}, expected {:?}",
            path.escape_ascii(),
            other.map(shown),
            shown(seen)
        );
    }
    let extra: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(extra.is_empty(), "unexpected: {extra:?}");
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
