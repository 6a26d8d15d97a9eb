//! The names and files of an image while its archive is read. Paths are resolved by `archive::paths` with the image as the root:
//! the names that the kernel unpacks have no symbolic link among their parents, and no `..`. A later entry replaces an earlier
//! one; a directory only gets new metadata.

use whit::contract::ROOTFS;

use super::Problem;
use super::nodes::{Data, Inode, NodeId, Nodes};
use crate::archive::budget::Budget;
use crate::archive::newc::{Kind, Meta, NAME_MAX_BYTES};
use crate::archive::paths::{self, HardLink, Key, Linker, Place, Resolver};
use crate::archive::tar::Attribute;

/// The longest path, with `rootfs/` before it, and the longest target: the kernel's do_header() skips longer ones.
pub(super) const MAX_PATH: usize = NAME_MAX_BYTES - 1;

/// All names and files.
pub(super) struct Names {
    nodes: Nodes,
    /// Hard links to targets that have not been added yet.
    pending: Vec<HardLink>,
    resolver: Resolver<NodeId>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { nodes: Nodes::new(), pending: Vec::new(), resolver: Resolver::default() }
    }

    /// Returns the files.
    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Returns the files, and the budget.
    pub(super) fn parts(&mut self) -> (&Nodes, &mut Budget) {
        (&self.nodes, self.resolver.budget())
    }

    /// Spends bytes that stay in memory for the image.
    fn keep(&mut self, bytes: usize) -> Result<(), Problem> {
        Ok(self.resolver.keep(bytes)?)
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
            Some(_) => self.resolver.forget(),
            None => {}
        }
        if found.is_none() {
            self.keep(name.len())?;
        } else {
            // The replaced file may have been a link in the path of the last directory.
            self.resolver.forget();
        }
        let node = self.nodes.put(parent, name, inode)?;
        if is_directory {
            self.resolver.remember(path, node);
        }
        Ok(())
    }

    /// Adds `path` as a hard link to `target`, which may be added later.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Problem> {
        self.resolver.budget().path();
        match self.find(target)? {
            Some(node) => self.link_to(path, node),
            None => {
                // An entry with this name is replaced now, although the link is created later.
                if let Place::Name(parent, name) = self.place(path)? {
                    self.nodes.remove(parent, name);
                    self.resolver.forget();
                }
                self.keep(size_of::<HardLink>() + path.len() + target.len())?;
                self.pending.push(HardLink { path: path.to_vec(), target: target.to_vec() });
                Ok(())
            }
        }
    }

    /// Creates pending hard links. Returns one without a target.
    pub(super) fn link_pending(&mut self) -> Result<Option<HardLink>, (Vec<u8>, Problem)> {
        let pending = std::mem::take(&mut self.pending);
        paths::link_all(pending, self)
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
        self.resolver.forget();
        Ok(())
    }

    fn place<'a>(&mut self, path: &'a [u8]) -> Result<Place<'a, NodeId>, Problem> {
        self.resolver.place(&mut self.nodes, path)
    }

    /// Returns the file at this path, if it exists.
    fn find(&mut self, path: &[u8]) -> Result<Option<NodeId>, Problem> {
        self.resolver.find(&mut self.nodes, path)
    }
}

impl Linker for Names {
    type Id = NodeId;
    type Error = (Vec<u8>, Problem);

    fn key(&mut self, path: &[u8]) -> Result<Option<Key<NodeId>>, Self::Error> {
        let (parents, name) = paths::split(path);
        match self.resolver.directory(&mut self.nodes, parents) {
            Ok(directory) => Ok(directory.map(|directory| (directory, name.to_vec()))),
            Err(Problem::Path(paths::Problem::NotADirectory | paths::Problem::SymlinkLoop)) => Ok(None),
            Err(problem) => Err((path.to_vec(), problem)),
        }
    }

    fn file(&self, (directory, name): &Key<NodeId>) -> Option<NodeId> {
        self.nodes.find(*directory, name)
    }

    fn link(&mut self, path: &[u8], file: NodeId) -> Result<(), Self::Error> {
        self.link_to(path, file).map_err(|problem| (path.to_vec(), problem))
    }
}

impl paths::Namespace for Nodes {
    type Id = NodeId;
    type Problem = Problem;
    const ROOT: NodeId = NodeId::ROOT;

    fn find(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        Nodes::find(self, directory, name)
    }

    fn above(&self, directory: NodeId) -> NodeId {
        Nodes::above(self, directory)
    }

    fn is_directory(&self, id: NodeId) -> bool {
        Nodes::is_directory(self, id)
    }

    fn target(&self, id: NodeId) -> Option<Vec<u8>> {
        Nodes::target(self, id).map(<[u8]>::to_vec)
    }

    fn make(&mut self, parent: NodeId, name: &[u8]) -> Result<NodeId, Problem> {
        self.put(parent, name, directory())
    }

    /// Checks the length of a path against the kernel's limit, and returns it.
    fn check(&self, directory: NodeId, name: &[u8]) -> Result<usize, Problem> {
        let length = self.path_length(directory, name);
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
            ("f/x", paths::Problem::NotADirectory.into()),
            ("l/x", paths::Problem::SymlinkLoop.into()),
            ("d/..", Problem::NamesADirectory),
            (".", Problem::NamesADirectory),
        ] {
            assert_eq!(names.enter(path.as_bytes(), file("")), Err(problem), "{path}");
        }
        assert_eq!(names.hard_link(b"h", b"d"), Err(Problem::LinkToDirectory));
        assert_eq!(names.hard_link(b"d/..", b"f"), Err(Problem::NamesADirectory));
    }
}
