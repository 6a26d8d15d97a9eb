//! The names and files of an image while its archive is read. Paths are resolved with the image as the root: the names that the
//! kernel unpacks have no symbolic link among their parents, and no `..`.
//!
//! Missing parents are created. Symbolic links among the parents are followed, absolute ones from the image's root; `..` stays
//! at the root. The last component is never followed. A later entry replaces an earlier one; a directory only gets new metadata.

use whit::contract::ROOTFS;

use super::Problem;
use super::nodes::{Data, Inode, NodeId, Nodes};
use crate::archive::budget::{Budget, Spent};
use crate::archive::newc::{Kind, Meta, NAME_MAX_BYTES};
use crate::archive::tar::Attribute;

/// The most symbolic links in one path, as in the kernel (`MAXSYMLINKS`).
const MAX_SYMLINKS: u32 = 40;
/// The longest path, with `rootfs/` before it, and the longest target: the kernel's do_header() skips longer ones.
pub(super) const MAX_PATH: usize = NAME_MAX_BYTES - 1;
/// A step counts once more for each so many bytes of its path.
const STEP_BYTES: usize = 512;

/// All names and files.
pub(super) struct Names {
    nodes: Nodes,
    /// Hard links to targets that have not been added yet.
    pending: Vec<HardLink>,
    /// The directory that was used last, with its path in the archive: archives are sorted by directory.
    last: Option<(Vec<u8>, NodeId)>,
    budget: Budget,
}

/// A hard link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HardLink {
    pub(super) path: Vec<u8>,
    pub(super) target: Vec<u8>,
}

/// The place of an entry.
enum Place<'a> {
    /// A name in a directory.
    Name(NodeId, &'a [u8]),
    /// An existing directory: the path ends in `.` or `..`, or is the root.
    Directory(NodeId),
}

impl Names {
    pub(super) fn new() -> Self {
        Self { nodes: Nodes::new(), pending: Vec::new(), last: None, budget: Budget::default() }
    }

    /// Returns the files.
    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Returns the files, and the budget.
    pub(super) fn parts(&mut self) -> (&Nodes, &mut Budget) {
        (&self.nodes, &mut self.budget)
    }

    /// Spends bytes that stay in memory for the image.
    fn keep(&mut self, bytes: usize) -> Result<(), Problem> {
        self.budget.keep(bytes).map_err(|Spent| Problem::TooLarge)
    }

    /// Adds `inode` at `path`.
    pub(super) fn enter(&mut self, path: &[u8], inode: Inode) -> Result<(), Problem> {
        if matches!(&inode.data, Data::Special(Kind::Symlink(target)) if target.len() > MAX_PATH) {
            return Err(Problem::TargetTooLong);
        }
        let place = self.place(path)?;
        self.keep(kept_bytes(&inode))?;
        let (parent, name) = match place {
            Place::Directory(directory) if inode.is_directory() => {
                self.nodes.describe(directory, inode.meta, inode.attributes);
                return Ok(());
            }
            Place::Directory(_) => return Err(Problem::NamesADirectory),
            Place::Name(parent, name) => (parent, name),
        };
        let found = self.nodes.find(parent, name);
        let is_directory = inode.is_directory();
        match found.filter(|found| self.nodes.is_directory(*found)) {
            Some(found) if is_directory => {
                self.nodes.describe(found, inode.meta, inode.attributes);
                return Ok(());
            }
            Some(_) => self.last = None,
            None => {}
        }
        if found.is_none() {
            self.keep(name.len())?;
        } else {
            // The replaced file may have been a link in the path of the last directory.
            self.last = None;
        }
        let node = self.nodes.put(parent, name, inode)?;
        if is_directory {
            self.last = Some((trimmed(path).to_vec(), node));
        }
        Ok(())
    }

    /// Adds `path` as a hard link to `target`, which may be added later.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Problem> {
        self.budget.path();
        match self.find(target)? {
            Some(node) => self.link_to(path, node),
            None => {
                // An entry with this name is replaced now, although the link is created later.
                if let Place::Name(parent, name) = self.place(path)? {
                    self.nodes.remove(parent, name);
                    self.last = None;
                }
                self.keep(size_of::<HardLink>() + path.len() + target.len())?;
                self.pending.push(HardLink { path: path.to_vec(), target: target.to_vec() });
                Ok(())
            }
        }
    }

    /// Creates pending hard links, in as many rounds as links to links need. Returns one without a target.
    pub(super) fn link_pending(&mut self) -> Result<Option<HardLink>, (Vec<u8>, Problem)> {
        let mut pending = std::mem::take(&mut self.pending);
        while !pending.is_empty() {
            let before = pending.len();
            let mut left = Vec::new();
            for link in pending {
                let at = |problem| (link.path.clone(), problem);
                match self.find(&link.target).map_err(at)? {
                    // An entry of this name was added after the link, and replaces it.
                    Some(_) if self.exists(&link.path) => {}
                    Some(node) => self.link_to(&link.path, node).map_err(at)?,
                    None => left.push(link),
                }
            }
            if left.len() == before {
                return Ok(left.pop());
            }
            pending = left;
        }
        Ok(None)
    }

    /// Returns whether an entry exists at this path.
    pub(super) fn exists(&mut self, path: &[u8]) -> bool {
        matches!(self.find(path), Ok(Some(_)))
    }

    /// Returns the file at this path, without its attributes.
    pub(super) fn file(&mut self, path: &[u8]) -> Option<(Meta, Data)> {
        self.find(path).ok()?.map(|node| self.nodes.file(node))
    }

    fn link_to(&mut self, path: &[u8], node: NodeId) -> Result<(), Problem> {
        if self.nodes.is_directory(node) {
            return Err(Problem::LinkToDirectory);
        }
        let Place::Name(parent, name) = self.place(path)? else { return Err(Problem::NamesADirectory) };
        self.keep(name.len())?;
        self.nodes.link(parent, name, node)?;
        self.last = None;
        Ok(())
    }

    fn place<'a>(&mut self, path: &'a [u8]) -> Result<Place<'a>, Problem> {
        let (parents, last) = split(path);
        self.budget.path();
        let parent = match &self.last {
            Some((path, parent)) if path == parents => *parent,
            _ => {
                let parent = self.walk(NodeId::ROOT, parents, true, &mut 0)?.ok_or(Problem::NotADirectory)?;
                self.last = Some((parents.to_vec(), parent));
                parent
            }
        };
        Ok(match last {
            b"" | b"." => Place::Directory(parent),
            b".." => Place::Directory(self.nodes.above(parent)),
            name => {
                self.check(parent, name)?;
                Place::Name(parent, name)
            }
        })
    }

    /// Returns the file at this path, if it exists.
    fn find(&mut self, path: &[u8]) -> Result<Option<NodeId>, Problem> {
        let (parents, last) = split(path);
        // Links to links are looked up many times.
        self.budget.step(1)?;
        let Some(parent) = self.walk(NodeId::ROOT, parents, false, &mut 0)? else { return Ok(None) };
        Ok(match last {
            b"" | b"." => Some(parent),
            b".." => Some(self.nodes.above(parent)),
            name => self.nodes.find(parent, name),
        })
    }

    /// Follows a path from a directory, the last component included; `None` if it does not exist. `make` creates missing
    /// directories.
    fn walk(&mut self, start: NodeId, path: &[u8], make: bool, followed: &mut u32) -> Result<Option<NodeId>, Problem> {
        let mut at = if path.starts_with(b"/") { NodeId::ROOT } else { start };
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => {
                    at = self.nodes.above(at);
                    continue;
                }
                _ => {}
            }
            self.budget.step(1 + self.check(at, component)? / STEP_BYTES)?;
            let next = match self.nodes.find(at, component) {
                Some(found) => found,
                None if !make => return Ok(None),
                None => {
                    self.budget.make()?;
                    self.keep(component.len())?;
                    self.nodes.put(at, component, directory())?
                }
            };
            at = match self.nodes.target(next) {
                Some(target) => {
                    *followed += 1;
                    if *followed > MAX_SYMLINKS {
                        return Err(Problem::SymlinkLoop);
                    }
                    let target = target.to_vec();
                    let Some(reached) = self.walk(at, &target, make, followed)? else { return Ok(None) };
                    reached
                }
                None if self.nodes.is_directory(next) => next,
                None => return Err(Problem::NotADirectory),
            };
        }
        Ok(Some(at))
    }

    /// Checks the length of a path against the kernel's limit, and returns it.
    fn check(&self, directory: NodeId, name: &[u8]) -> Result<usize, Problem> {
        let length = self.nodes.path_length(directory, name);
        if ROOTFS.count_bytes() + length > MAX_PATH { Err(Problem::PathTooLong) } else { Ok(length) }
    }
}

/// Returns an implied directory: owned by root, mode 0755.
pub(super) fn directory() -> Inode {
    Inode { meta: Meta::root(0o755), data: Data::Special(Kind::Directory), attributes: Vec::new() }
}

/// Returns the bytes that a file keeps in memory in addition to its node.
fn kept_bytes(inode: &Inode) -> usize {
    let data = match &inode.data {
        Data::Special(Kind::Symlink(target)) => target.len(),
        Data::Special(_) => 0,
        Data::Stored(content) => content.kept_bytes(),
        Data::Bytes(bytes) => bytes.len(),
    };
    let attribute = |(name, value): &Attribute| size_of::<Attribute>() + name.len() + value.len();
    data + inode.attributes.iter().map(attribute).sum::<usize>()
}

impl From<Spent> for Problem {
    fn from(_: Spent) -> Self {
        Self::TooDeep
    }
}

/// Removes trailing slashes and `/.`.
fn trimmed(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/").or_else(|| path.strip_suffix(b"/.")) {
        path = shorter;
    }
    path
}

/// Splits a path into the directory part and the last component. Trailing slashes and `.` do not count as components.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let path = trimmed(path);
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(kind: Kind) -> Inode {
        Inode { data: Data::Special(kind), ..directory() }
    }

    fn file(text: &str) -> Inode {
        Inode { data: Data::Bytes(text.into()), ..directory() }
    }

    fn symlink(target: &str) -> Inode {
        special(Kind::Symlink(target.into()))
    }

    /// Lists all names: a directory with a slash, a file with its text, a link with its target.
    fn listing(names: &Names) -> Vec<String> {
        let mut all = Vec::new();
        let shown: Result<(), ()> = names.nodes().visit(|path, name, node| {
            assert_eq!(path, names.nodes().path(name));
            let path = String::from_utf8(path.to_vec()).unwrap();
            all.push(match names.nodes().file(node).1 {
                Data::Special(Kind::Directory) => path + "/",
                Data::Special(Kind::Symlink(target)) => format!("{path} -> {}", String::from_utf8_lossy(&target)),
                Data::Bytes(text) => format!("{path} {}", String::from_utf8_lossy(&text)),
                data => format!("{path} {data:?}"),
            });
            Ok(())
        });
        shown.unwrap();
        assert_eq!(all.remove(0), "/");
        all
    }

    fn entered(entries: &[(&str, Inode)]) -> Names {
        let mut names = Names::new();
        for (path, inode) in entries {
            names.enter(path.as_bytes(), inode.clone()).unwrap();
        }
        names
    }

    #[test]
    fn no_path_leads_out_of_the_image() {
        let names = entered(&[
            ("../../up", file("1")),
            ("/absolute", file("2")),
            ("a/../../b", file("3")),
            ("lib", symlink("/usr/lib")),
            ("lib/inner", file("4")),
            ("out", symlink("../../../etc")),
            ("out/passwd", file("5")),
            ("./x//y/./", special(Kind::Directory)),
        ]);
        let expected = [
            "a/",
            "absolute 2",
            "b 3",
            "etc/",
            "etc/passwd 5",
            "lib -> /usr/lib",
            "out -> ../../../etc",
            "up 1",
            "usr/",
            "usr/lib/",
            "usr/lib/inner 4",
            "x/",
            "x/y/",
        ];
        assert_eq!(listing(&names), expected);
    }

    #[test]
    fn the_last_entry_of_a_name_wins_and_directories_stay() {
        let mut names = entered(&[
            ("x", special(Kind::Directory)),
            ("x/inner", file("kept")),
            ("x-other", file("near")),
            ("x", Inode { meta: Meta::root(0o700), ..directory() }),
            ("y/inner", file("gone")),
            ("y", symlink("x")),
            ("z", symlink("x")),
            ("z", special(Kind::Directory)),
        ]);
        assert_eq!(listing(&names), ["x/", "x/inner kept", "x-other near", "y -> x", "z/"]);
        names.enter(b"x", file("now")).unwrap();
        assert_eq!(listing(&names), ["x now", "x-other near", "y -> x", "z/"]);
    }

    #[test]
    fn hard_links_may_precede_their_targets() {
        let mut names = Names::new();
        for (path, target) in [("first", "second"), ("second", "third"), ("dir/made", "/third"), ("late", "last")] {
            names.hard_link(path.as_bytes(), target.as_bytes()).unwrap();
        }
        for (path, text) in [("third", "content"), ("late", "its own"), ("last", "last"), ("d/target", "inside")] {
            names.enter(path.as_bytes(), file(text)).unwrap();
        }
        names.hard_link(b"third", b"third").unwrap();
        // The link replaces the directory that contains its target.
        names.hard_link(b"d", b"d/target").unwrap();
        assert_eq!(names.link_pending(), Ok(None));
        let expected = [
            "d inside",
            "dir/",
            "dir/made content",
            "first content",
            "last last",
            "late its own",
            "second content",
            "third content",
        ];
        assert_eq!(listing(&names), expected);
        let mut number = |path: &[u8]| names.find(path).unwrap().unwrap();
        assert_eq!((number(b"first"), number(b"dir/made")), (number(b"third"), number(b"third")));
        let (third, inside) = (number(b"third"), number(b"d"));
        assert_eq!((names.nodes().links(third), names.nodes().links(inside)), (4, 1));
    }

    #[test]
    fn a_hard_link_without_a_target_is_returned() {
        let mut names = entered(&[("a", file(""))]);
        names.hard_link(b"b", b"missing/c").unwrap();
        assert_eq!(names.link_pending(), Ok(Some(HardLink { path: b"b".to_vec(), target: b"missing/c".to_vec() })));
        names.hard_link(b"b", b"c").unwrap();
        names.hard_link(b"c", b"b").unwrap();
        assert!(matches!(names.link_pending(), Ok(Some(_))));
    }

    #[test]
    fn invalid_entries_are_refused() {
        let mut names = entered(&[("f", file("")), ("l", symlink("l")), ("d", special(Kind::Directory))]);
        for (path, problem) in [
            ("f/x", Problem::NotADirectory),
            ("l/x", Problem::SymlinkLoop),
            ("d/..", Problem::NamesADirectory),
            (".", Problem::NamesADirectory),
        ] {
            assert_eq!(names.enter(path.as_bytes(), file("")), Err(problem), "{path}");
        }
        assert_eq!(names.hard_link(b"h", b"d"), Err(Problem::LinkToDirectory));
        assert_eq!(names.hard_link(b"d/..", b"f"), Err(Problem::NamesADirectory));
    }
}
