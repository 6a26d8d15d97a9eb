//! The names of an image while its archive is read, and what has them. Paths lead where they would with the image as the root,
//! whatever they say: what the kernel is given later has no link among its parents, and no `..`.
//!
//! Parents that are missing are made. Symbolic links among the parents are followed, absolute ones from the image's root; `..`
//! stays at the root. The last component is never followed. What comes later replaces what was there; a directory is changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use whit::contract::ROOTFS;

use super::Problem;
use crate::archive::budget::{Budget, Spent};
use crate::archive::newc::{Kind, Meta, NAME_MAX_BYTES};
use crate::archive::tar::{Attribute, Content};

/// As many symbolic links as the kernel follows in one path (`MAXSYMLINKS`).
const MAX_SYMLINKS: u32 = 40;
/// The longest path, with `rootfs/` before it, and the longest target: do_header() of the kernel skips what is longer.
pub(super) const MAX_PATH: usize = NAME_MAX_BYTES - 1;
/// A step along a path of so many bytes counts as one more: it is copied and compared.
const STEP_BYTES: usize = 512;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) meta: Meta,
    pub(super) data: Data,
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Anything but a regular file.
    Special(Kind),
    /// A regular file of the tar.
    Stored(Content),
    /// A regular file made here.
    Bytes(Vec<u8>),
}

/// All names, by their paths from the root; the root's own is empty.
pub(super) struct Names {
    names: BTreeMap<Vec<u8>, usize>,
    inodes: Vec<Inode>,
    /// Hard links to what has not come yet.
    pending: Vec<HardLink>,
    /// The directory that was wanted last, by a path of the archive: entries come directory by directory.
    last: Option<(Vec<u8>, Vec<u8>)>,
    budget: Budget,
}

/// A path that is to be another name of what the target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HardLink {
    pub(super) path: Vec<u8>,
    pub(super) target: Vec<u8>,
}

/// Where an entry goes.
enum Place {
    /// A path whose parent is a directory.
    Name(Vec<u8>),
    /// A directory that is there: the path ends in `.`, `..` or is the root.
    Directory(Vec<u8>),
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            names: BTreeMap::from([(Vec::new(), 0)]),
            inodes: vec![directory()],
            pending: Vec::new(),
            last: None,
            budget: Budget::default(),
        }
    }

    /// All names in the order of their bytes, so directories before what is in them; with the number of the inode.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], usize)> {
        self.names.iter().map(|(name, inode)| (name.as_slice(), *inode))
    }

    pub(super) fn inode(&self, number: usize) -> &Inode {
        &self.inodes[number]
    }

    /// Puts `inode` at `path`.
    pub(super) fn enter(&mut self, path: &[u8], inode: Inode) -> Result<(), Problem> {
        if matches!(&inode.data, Data::Special(Kind::Symlink(target)) if target.len() > MAX_PATH) {
            return Err(Problem::TargetTooLong);
        }
        let place = self.place(path)?;
        let (Place::Name(name) | Place::Directory(name)) = &place;
        if let Some(number) = self.names.get(name).copied()
            && self.inodes[number].is_directory()
            && inode.is_directory()
        {
            self.inodes[number] = inode;
            return Ok(());
        }
        let Place::Name(name) = place else { return Err(Problem::NamesADirectory) };
        let directory = inode.is_directory().then(|| (trimmed(path).to_vec(), name.clone()));
        self.inodes.push(inode);
        self.link(name, self.inodes.len() - 1);
        self.last = directory.or(self.last.take());
        Ok(())
    }

    /// Makes `path` another name of what `target` is, at once or when that has come.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Problem> {
        match self.find(target)? {
            Some(number) => self.link_to(path, number),
            None => {
                // Whatever has this name now is replaced, even though the link itself is still to come.
                if let Place::Name(name) = self.place(path)? {
                    self.remove(&name);
                }
                self.pending.push(HardLink { path: path.to_vec(), target: target.to_vec() });
                Ok(())
            }
        }
    }

    /// Gives pending hard links their targets, in as many rounds as links to links need; returns one that has none.
    pub(super) fn link_pending(&mut self) -> Result<Option<HardLink>, (Vec<u8>, Problem)> {
        let mut pending = std::mem::take(&mut self.pending);
        while !pending.is_empty() {
            let before = pending.len();
            let mut left = Vec::new();
            for link in pending {
                let at = |problem| (link.path.clone(), problem);
                match self.find(&link.target).map_err(at)? {
                    // What has the name by now came after the link, and the last one counts.
                    Some(_) if self.exists(&link.path) => {}
                    Some(number) => self.link_to(&link.path, number).map_err(at)?,
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

    /// Whether something is at this path.
    pub(super) fn exists(&mut self, path: &[u8]) -> bool {
        matches!(self.find(path), Ok(Some(_)))
    }

    fn link_to(&mut self, path: &[u8], number: usize) -> Result<(), Problem> {
        if self.inodes[number].is_directory() {
            return Err(Problem::LinkToDirectory);
        }
        let Place::Name(name) = self.place(path)? else { return Err(Problem::NamesADirectory) };
        self.link(name, number);
        Ok(())
    }

    fn link(&mut self, name: Vec<u8>, number: usize) {
        self.remove(&name);
        self.names.insert(name, number);
    }

    /// Takes a name away, and all that is below it.
    fn remove(&mut self, name: &[u8]) {
        let Some(number) = self.names.remove(name) else { return };
        self.last = None;
        if self.inodes[number].is_directory() {
            let below = [name, b"/"].concat();
            let inside = self.names.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
            let inside: Vec<Vec<u8>> = inside.map(|(name, _)| name.clone()).collect();
            for name in inside {
                self.names.remove(&name);
            }
        }
    }

    fn place(&mut self, path: &[u8]) -> Result<Place, Problem> {
        let (parents, last) = split(path);
        self.budget.path();
        let parent = match &self.last {
            Some((path, name)) if path == parents => name.clone(),
            _ => {
                let parent = self.walk(Vec::new(), parents, true, &mut 0)?.ok_or(Problem::NotADirectory)?;
                self.last = Some((parents.to_vec(), parent.clone()));
                parent
            }
        };
        Ok(match last {
            b"" | b"." => Place::Directory(parent),
            b".." => Place::Directory(above(parent)),
            name => Place::Name(checked(join(&parent, name))?),
        })
    }

    /// The inode at this path, if any.
    fn find(&mut self, path: &[u8]) -> Result<Option<usize>, Problem> {
        let (parents, last) = split(path);
        self.budget.path();
        let Some(parent) = self.walk(Vec::new(), parents, false, &mut 0)? else { return Ok(None) };
        let name = match last {
            b"" | b"." => parent,
            b".." => above(parent),
            name => join(&parent, name),
        };
        Ok(self.names.get(&name).copied())
    }

    /// Goes from a directory along a path whose last component is followed too; `None` when it leads nowhere.
    fn walk(
        &mut self,
        start: Vec<u8>,
        path: &[u8],
        make: bool,
        followed: &mut u32,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let mut at = if path.starts_with(b"/") { Vec::new() } else { start };
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => {
                    at = above(at);
                    continue;
                }
                _ => {}
            }
            self.budget.step(1 + at.len() / STEP_BYTES)?;
            let next = checked(join(&at, component))?;
            let number = match self.names.entry(next.clone()) {
                Entry::Occupied(found) => *found.get(),
                Entry::Vacant(_) if !make => return Ok(None),
                Entry::Vacant(free) => {
                    self.budget.make()?;
                    self.inodes.push(directory());
                    *free.insert(self.inodes.len() - 1)
                }
            };
            at = match &self.inodes[number].data {
                Data::Special(Kind::Directory) => next,
                Data::Special(Kind::Symlink(target)) => {
                    *followed += 1;
                    if *followed > MAX_SYMLINKS {
                        return Err(Problem::SymlinkLoop);
                    }
                    let target = target.clone();
                    let Some(reached) = self.walk(at, &target, make, followed)? else { return Ok(None) };
                    reached
                }
                _ => return Err(Problem::NotADirectory),
            };
        }
        Ok(Some(at))
    }
}

impl Inode {
    pub(super) fn is_directory(&self) -> bool {
        self.data == Data::Special(Kind::Directory)
    }
}

/// A directory that the archive does not describe: root's, 0755.
pub(super) fn directory() -> Inode {
    Inode { meta: Meta::root(0o755), data: Data::Special(Kind::Directory), attributes: Vec::new() }
}

impl From<Spent> for Problem {
    fn from(_: Spent) -> Self {
        Self::TooDeep
    }
}

fn checked(name: Vec<u8>) -> Result<Vec<u8>, Problem> {
    if ROOTFS.count_bytes() + name.len() > MAX_PATH { Err(Problem::PathTooLong) } else { Ok(name) }
}

fn above(mut path: Vec<u8>) -> Vec<u8> {
    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
    path
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// Without slashes and `/.` at the end.
fn trimmed(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/").or_else(|| path.strip_suffix(b"/.")) {
        path = shorter;
    }
    path
}

/// The directory part and the last component. Slashes and `.` behind that are no components of their own.
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

    /// Names as they are; a directory's with a slash, a file's with its text, a link's with its target.
    fn listing(names: &Names) -> Vec<String> {
        let show = |(name, number): (&[u8], usize)| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            match &names.inode(number).data {
                Data::Special(Kind::Directory) => name + "/",
                Data::Special(Kind::Symlink(target)) => format!("{name} -> {}", String::from_utf8_lossy(target)),
                Data::Bytes(text) => format!("{name} {}", String::from_utf8_lossy(text)),
                data => format!("{name} {data:?}"),
            }
        };
        names.iter().skip(1).map(show).collect()
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
    fn the_last_of_several_counts_and_directories_stay() {
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
        assert_eq!(listing(&names), ["x/", "x-other near", "x/inner kept", "y -> x", "z/"]);
        names.enter(b"x", file("now")).unwrap();
        assert_eq!(listing(&names), ["x now", "x-other near", "y -> x", "z/"]);
    }

    #[test]
    fn hard_links_come_in_any_order() {
        let mut names = Names::new();
        for (path, target) in [("first", "second"), ("second", "third"), ("dir/made", "/third"), ("late", "last")] {
            names.hard_link(path.as_bytes(), target.as_bytes()).unwrap();
        }
        for (path, text) in [("third", "content"), ("late", "its own"), ("last", "last"), ("d/target", "inside")] {
            names.enter(path.as_bytes(), file(text)).unwrap();
        }
        names.hard_link(b"third", b"third").unwrap();
        // What the link replaces is the directory with its target in it.
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
        let number = |path: &[u8]| names.names[path];
        assert_eq!((number(b"first"), number(b"dir/made")), (number(b"third"), number(b"third")));
    }

    #[test]
    fn a_hard_link_to_nothing_is_found() {
        let mut names = entered(&[("a", file(""))]);
        names.hard_link(b"b", b"missing/c").unwrap();
        assert_eq!(names.link_pending(), Ok(Some(HardLink { path: b"b".to_vec(), target: b"missing/c".to_vec() })));
        names.hard_link(b"b", b"c").unwrap();
        names.hard_link(b"c", b"b").unwrap();
        assert!(matches!(names.link_pending(), Ok(Some(_))));
    }

    #[test]
    fn what_cannot_be_is_refused() {
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
