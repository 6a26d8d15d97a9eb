//! The tree as a namespace for `archive::paths`.

use std::collections::HashMap;

use super::tree::{Content, NO_NAME, Node, NodeId, Tree, mode};
use super::{Problem, spec};
use crate::archive::paths;

/// The tree, and what is needed to follow links in it and to create directories.
pub(super) struct Scope<'t> {
    pub(super) tree: &'t mut Tree,
    /// Long targets of symbolic links, which were written to blocks of the disk.
    pub(super) long_targets: &'t HashMap<NodeId, Vec<u8>>,
    /// The time of implied directories.
    pub(super) time: (u32, u32),
}

impl paths::Namespace for Scope<'_> {
    type Id = NodeId;
    type Problem = Problem;
    const ROOT: NodeId = NodeId::ROOT;

    fn find(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.tree.find(directory, name)
    }

    fn above(&self, directory: NodeId) -> NodeId {
        match self.tree.node(directory).content {
            Content::Directory { parent, .. } => parent,
            _ => NodeId::ROOT,
        }
    }

    fn is_directory(&self, id: NodeId) -> bool {
        self.tree.node(id).is_directory()
    }

    fn target(&self, id: NodeId) -> Option<Vec<u8>> {
        (self.tree.node(id).kind() == mode::SYMLINK).then(|| target(self.tree, self.long_targets, id))
    }

    fn make(&mut self, parent: NodeId, name: &[u8]) -> Result<NodeId, Problem> {
        let id = self.tree.create(directory(parent, self.time))?;
        self.tree.link(parent, name, id)?;
        Ok(id)
    }
}

/// Returns the target of a symbolic link.
pub(super) fn target(tree: &Tree, long_targets: &HashMap<NodeId, Vec<u8>>, link: NodeId) -> Vec<u8> {
    match tree.node(link).content {
        Content::Target { start, length } => tree.slice(start, length).to_vec(),
        _ => long_targets.get(&link).cloned().unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::paths::{Place, Resolver};

    fn scope(tree: &mut Tree) -> Scope<'_> {
        static NONE: std::sync::LazyLock<HashMap<NodeId, Vec<u8>>> = std::sync::LazyLock::new(HashMap::new);
        Scope { tree, long_targets: &NONE, time: (0, 0) }
    }

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
            assert_eq!(resolver.place(&mut scope(&mut tree), path.as_bytes()), Ok(place), "{path}");
        }
        assert_eq!(resolver.place(&mut scope(&mut tree), b"loop/x"), Err(paths::Problem::SymlinkLoop.into()));
    }

    #[test]
    fn missing_parents_are_created_through_links_too() {
        let (mut tree, dir, _) = tree();
        let mut resolver = Resolver::default();
        let Ok(Place::Name(parent, b"x")) = resolver.place(&mut scope(&mut tree), b"rel/a/b/x") else {
            panic!("no place")
        };
        assert_eq!(tree.find(tree.find(dir, b"a").unwrap(), b"b"), Some(parent));
        assert!(matches!(resolver.place(&mut scope(&mut tree), b"new/x"), Ok(Place::Name(..))));
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
        assert_eq!(resolver.place(&mut scope(&mut tree), b"dir/file/x"), Err(paths::Problem::NotADirectory.into()));
        let before = tree.nodes().len();
        assert_eq!(resolver.find(&mut scope(&mut tree), b"dir/none/x"), Ok(None));
        assert_eq!(resolver.find(&mut scope(&mut tree), b"rel/file"), Ok(Some(file)));
        assert_eq!(tree.nodes().len(), before);
    }
}
