//! Resolves the paths of entries with the disk as the root directory: no path leads out of it.
//!
//! Missing parents are created. Symbolic links among the parents are followed, absolute ones from the disk's root; `..`
//! goes up one directory and stays at the root. The last component is never followed.

use super::tree::{Content, NO_NAME, Node, NodeId, Tree, mode};
use super::{Problem, spec};
use crate::archive::budget::{Budget, Spent};

/// The most symbolic links in one path, as in the kernel (`MAXSYMLINKS`).
const MAX_SYMLINKS: u32 = 40;

/// The place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A name in a directory.
    Name(NodeId, &'a [u8]),
    /// An existing directory: the path ends in `.` or `..`, or is the root.
    Directory(NodeId),
}

/// Resolves paths, and caches the last directory: archives are sorted by directory.
#[derive(Default)]
pub(super) struct Resolver {
    last_path: Vec<u8>,
    last: Option<NodeId>,
    /// Long targets of symbolic links, which were written to blocks of the disk.
    pub(super) long_targets: std::collections::HashMap<u32, Vec<u8>>,
    time: (u32, u32),
    pub(super) budget: Budget,
}

impl Resolver {
    /// Creates a resolver; `time` is the time of implied directories.
    pub(super) fn new(time: (u32, u32)) -> Self {
        Self { time, ..Self::default() }
    }

    /// Clears the cached directory, because a name was removed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Returns the time of implied directories.
    pub(super) fn time(&self) -> (u32, u32) {
        self.time
    }

    /// Returns the directory at this path, if it exists; the last component is followed too.
    pub(super) fn directory(&mut self, tree: &mut Tree, path: &[u8]) -> Result<Option<NodeId>, Problem> {
        self.walk(tree, NodeId::ROOT, path, false, &mut 0)
    }

    /// Resolves the path of an entry, and creates missing parents.
    pub(super) fn place<'a>(&mut self, tree: &mut Tree, path: &'a [u8]) -> Result<Place<'a>, Problem> {
        let (parents, last) = split(path);
        self.budget.path();
        let parent = if self.last.is_some() && self.last_path == parents {
            self.last
        } else {
            let parent = self.walk(tree, NodeId::ROOT, parents, true, &mut 0)?;
            self.last_path.clear();
            self.last_path.extend_from_slice(parents);
            self.last = parent;
            parent
        };
        let parent = parent.ok_or(Problem::NotADirectory)?;
        match last {
            b"" | b"." => Ok(Place::Directory(parent)),
            b".." => Ok(Place::Directory(above(tree, parent))),
            name => Ok(Place::Name(parent, name)),
        }
    }

    /// Returns the node at this path, if it exists.
    pub(super) fn find(&mut self, tree: &mut Tree, path: &[u8]) -> Result<Option<NodeId>, Problem> {
        let (parents, last) = split(path);
        let Some(parent) = self.walk(tree, NodeId::ROOT, parents, false, &mut 0)? else { return Ok(None) };
        match last {
            b"" | b"." => Ok(Some(parent)),
            b".." => Ok(Some(above(tree, parent))),
            name => Ok(tree.find(parent, name)),
        }
    }

    /// Follows a path from a directory, the last component included. `make` creates missing directories.
    fn walk(
        &mut self,
        tree: &mut Tree,
        start: NodeId,
        path: &[u8],
        make: bool,
        followed: &mut u32,
    ) -> Result<Option<NodeId>, Problem> {
        let mut at = if path.starts_with(b"/") { NodeId::ROOT } else { start };
        for name in path.split(|byte| *byte == b'/') {
            self.budget.step(1).map_err(|Spent| Problem::TooDeep)?;
            at = match name {
                b"" | b"." => at,
                b".." => above(tree, at),
                _ => match tree.find(at, name) {
                    None if make => self.make(tree, at, name)?,
                    None => return Ok(None),
                    Some(found) => match tree.node(found).kind() {
                        mode::DIRECTORY => found,
                        mode::SYMLINK => {
                            *followed += 1;
                            if *followed > MAX_SYMLINKS {
                                return Err(Problem::SymlinkLoop);
                            }
                            let target = self.target(tree, found);
                            let Some(reached) = self.walk(tree, at, &target, make, followed)? else { return Ok(None) };
                            reached
                        }
                        _ => return Err(Problem::NotADirectory),
                    },
                },
            };
        }
        Ok(Some(at))
    }

    fn make(&mut self, tree: &mut Tree, parent: NodeId, name: &[u8]) -> Result<NodeId, Problem> {
        self.budget.make().map_err(|Spent| Problem::TooDeep)?;
        let id = tree.create(directory(parent, self.time))?;
        tree.link(parent, name, id)?;
        Ok(id)
    }

    /// Spends bytes that stay in memory.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), Problem> {
        self.budget.keep(bytes).map_err(|Spent| Problem::TextTooLarge)
    }

    /// Returns the target of a symbolic link.
    pub(super) fn target(&self, tree: &Tree, link: NodeId) -> Vec<u8> {
        match tree.node(link).content {
            Content::Target { start, length } => tree.slice(start, length).to_vec(),
            _ => self.long_targets.get(&link.0).cloned().unwrap_or_default(),
        }
    }
}

/// Returns an implied directory: owned by root, mode 0755.
pub(super) fn directory(parent: NodeId, time: (u32, u32)) -> Node {
    let content = Content::Directory { parent, newest: NO_NAME };
    Node {
        mode: mode::DIRECTORY | 0o755,
        uid: 0,
        gid: 0,
        time,
        links: 0,
        size: spec::BLOCK_SIZE as u64,
        content,
        attributes: 0,
    }
}

fn above(tree: &Tree, id: NodeId) -> NodeId {
    match tree.node(id).content {
        Content::Directory { parent, .. } => parent,
        _ => NodeId::ROOT,
    }
}

/// Splits a path into the directory part and the last component. Trailing slashes and `.` do not count as components.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let mut path = path;
    while let Some(shorter) = path.strip_suffix(b"/").or_else(|| path.strip_suffix(b"/.")) {
        path = shorter;
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a root with `dir/sub` and the links `rel` -> `dir`, `abs` -> `/dir/sub`, `up` -> `../../dir`, `loop` -> `loop`.
    fn tree() -> (Tree, NodeId, NodeId) {
        let mut tree = Tree::default();
        let root = tree.create(directory(NodeId::ROOT, (0, 0))).unwrap();
        let mut add = |parent, name: &[u8], target: Option<&[u8]>| {
            let mut node = directory(parent, (0, 0));
            if let Some(target) = target {
                let (start, length) = tree.store(target).unwrap();
                node.mode = mode::SYMLINK | 0o777;
                node.content = Content::Target { start, length };
            }
            let id = tree.create(node).unwrap();
            tree.link(parent, name, id).unwrap();
            id
        };
        let dir = add(root, b"dir", None);
        let sub = add(dir, b"sub", None);
        for (name, target) in
            [("rel", "dir"), ("abs", "/dir/sub"), ("up", "../../dir"), ("loop", "loop"), ("new", "made")]
        {
            add(root, name.as_bytes(), Some(target.as_bytes()));
        }
        (tree, dir, sub)
    }

    #[test]
    fn paths_resolve_as_in_a_chroot() {
        let (mut tree, dir, sub) = tree();
        let mut resolver = Resolver::default();
        for (path, place) in [
            ("x", Place::Name(NodeId::ROOT, b"x")),
            ("/x", Place::Name(NodeId::ROOT, b"x")),
            ("./dir//x/", Place::Name(dir, b"x")),
            ("dir/x/././", Place::Name(dir, b"x")),
            ("../../x", Place::Name(NodeId::ROOT, b"x")),
            ("dir/../x", Place::Name(NodeId::ROOT, b"x")),
            ("rel/x", Place::Name(dir, b"x")),
            ("rel", Place::Name(NodeId::ROOT, b"rel")),
            ("abs/x", Place::Name(sub, b"x")),
            ("abs/../x", Place::Name(dir, b"x")),
            ("up/sub/x", Place::Name(sub, b"x")),
            ("./", Place::Directory(NodeId::ROOT)),
            (".", Place::Directory(NodeId::ROOT)),
            ("/", Place::Directory(NodeId::ROOT)),
            ("dir/sub/..", Place::Directory(dir)),
        ] {
            assert_eq!(resolver.place(&mut tree, path.as_bytes()), Ok(place), "{path}");
        }
        assert_eq!(resolver.place(&mut tree, b"loop/x"), Err(Problem::SymlinkLoop));
    }

    #[test]
    fn missing_parents_are_created_through_links_too() {
        let (mut tree, dir, _) = tree();
        let mut resolver = Resolver::default();
        let Ok(Place::Name(parent, b"x")) = resolver.place(&mut tree, b"rel/a/b/x") else { panic!("no place") };
        assert_eq!(tree.find(tree.find(dir, b"a").unwrap(), b"b"), Some(parent));
        assert!(matches!(resolver.place(&mut tree, b"new/x"), Ok(Place::Name(..))));
        assert!(tree.find(NodeId::ROOT, b"made").is_some_and(|made| tree.node(made).is_directory()));
    }

    #[test]
    fn a_file_cannot_be_a_parent_and_find_creates_nothing() {
        let (mut tree, dir, _) = tree();
        let mut file = directory(dir, (0, 0));
        file.mode = mode::FILE;
        let file = tree.create(file).unwrap();
        tree.link(dir, b"file", file).unwrap();
        let mut resolver = Resolver::default();
        assert_eq!(resolver.place(&mut tree, b"dir/file/x"), Err(Problem::NotADirectory));
        let before = tree.nodes().len();
        assert_eq!(resolver.find(&mut tree, b"dir/none/x"), Ok(None));
        assert_eq!(resolver.find(&mut tree, b"rel/file"), Ok(Some(file)));
        assert_eq!(tree.nodes().len(), before);
    }
}
