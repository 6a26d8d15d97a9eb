//! Layers, whiteouts and opaque directories (OCI image specification, "Image Layer Filesystem Changeset").
//!
//! A whiteout or an opaque directory hides only entries of lower layers, at any position in its own layer. So each node and
//! name belongs to the layer that created it, which its number shows.

use std::collections::HashSet;

use super::tree::NodeId;
use super::{Builder, Error, PathProblem, Problem, path, tree};

/// The layer that is being applied.
#[derive(Default)]
pub(super) struct Layer {
    /// Nodes and names with lower numbers belong to lower layers.
    first_node: u32,
    pub(super) first_name: u32,
    /// Directories of lower layers for which this layer has an entry.
    described: HashSet<NodeId>,
    /// A whiteout came after an entry whose path led through a symbolic link.
    is_late: bool,
}

impl Layer {
    /// Records that the layer has an entry for a directory of a lower layer.
    pub(super) fn describe(&mut self, directory: NodeId) {
        if directory.0 < self.first_node {
            self.described.insert(directory);
        }
    }
}

impl Builder<'_> {
    /// Starts a layer on top of the current tree.
    pub fn begin_layer(&mut self) {
        self.resolver.record_links();
        self.layer =
            Layer { first_node: self.tree.node_count(), first_name: self.tree.name_count(), ..Layer::default() };
    }

    /// Ends a layer. The targets of its hard links must be in it or below.
    ///
    /// # Errors
    /// [`Error::LinkTarget`]; [`Problem::HiddenLate`].
    pub fn end_layer(&mut self) -> Result<(), Error> {
        let is_gone = |link: &NodeId| link.0 < self.layer.first_node && self.tree.node(*link).links == 0;
        if self.layer.is_late && self.resolver.passed().any(is_gone) {
            return Err(super::entry(b"/", Problem::HiddenLate));
        }
        self.link_pending()
    }

    /// Hides `name` in the directory `parent`, as far as lower layers created it. A missing name is no error.
    ///
    /// # Errors
    /// [`Error::Entry`] for a path with a loop of symbolic links, and [`Problem::HiddenLate`].
    pub fn hide(&mut self, parent: &[u8], name: &[u8]) -> Result<(), Error> {
        let Some(directory) = self.layered_directory(parent)? else { return Ok(()) };
        let Some((number, node)) = self.tree.find_name(directory, name) else { return Ok(()) };
        if number >= self.layer.first_name {
            return Ok(());
        }
        let is_described = self.layer.described.contains(&node);
        if self.tree.node(node).is_directory() && (self.prune(node) || is_described) {
            if !is_described {
                self.undescribe(node);
            }
            return Ok(());
        }
        self.remove(directory, name);
        Ok(())
    }

    /// Hides all entries of lower layers in the directory `path`.
    ///
    /// # Errors
    /// See [`Builder::hide`].
    pub fn hide_all(&mut self, path: &[u8]) -> Result<(), Error> {
        if let Some(directory) = self.layered_directory(path)? {
            self.prune(directory);
        }
        Ok(())
    }

    /// Removes a name and its subtree, of all layers.
    ///
    /// # Errors
    /// See [`Builder::hide`].
    pub fn discard(&mut self, parent: &[u8], name: &[u8]) -> Result<(), Error> {
        if let Some(directory) = self.layered_directory(parent)? {
            self.remove(directory, name);
        }
        Ok(())
    }

    /// Returns the directory of a whiteout, in lower layers alone.
    fn layered_directory(&mut self, path: &[u8]) -> Result<Option<NodeId>, Error> {
        let first_node = self.layer.first_node;
        self.layer.is_late |= self.resolver.passed().next().is_some();
        let (resolver, mut scope) = self.scope();
        match resolver.directory(&mut scope, path) {
            _ if resolver.looked_through().iter().any(|link| link.0 >= first_node) => {
                Err(super::entry(path, Problem::HiddenLate))
            }
            Ok(found) => Ok(found),
            Err(Problem::Path(PathProblem::NotADirectory)) => Ok(None),
            Err(problem) => Err(super::entry(path, problem)),
        }
    }

    /// Removes the entries of lower layers below a directory. Returns whether entries of this layer are left. Older
    /// directories that contain them stay, as if this layer had created them.
    fn prune(&mut self, directory: NodeId) -> bool {
        self.resolver.forget();
        let (extents, free, layer) = (&self.extents, &mut self.free, &self.layer);
        let is_described = |node| layer.described.contains(&node);
        let removed = |node: &tree::Node| free.extend(tree::runs(node, extents));
        let pruned = self.tree.prune(directory, layer.first_name, is_described, removed);
        for kept in pruned.undescribed {
            self.undescribe(kept);
        }
        pruned.left
    }

    /// Resets the metadata of a directory to those of an implied one.
    fn undescribe(&mut self, directory: NodeId) {
        let implied = path::directory(NodeId::ROOT, self.time);
        let node = self.tree.node_mut(directory);
        *node = tree::Node { content: node.content, links: node.links, size: node.size, ..implied };
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finish, Metadata};
    use super::*;

    /// A step of a layer.
    enum Step {
        Directory(&'static str),
        File(&'static str),
        Link(&'static str, &'static str),
        Hide(&'static str, &'static str),
        HideAll(&'static str),
    }
    use Step::{Directory, File, Hide, HideAll, Link};

    /// Applies the layers. Returns the remaining paths, with the mode of directories, which is the number of their layer.
    fn apply(layers: &[&[Step]]) -> Vec<String> {
        let file = tempfile::tempfile().unwrap();
        let mut builder = Builder::new(&file, 0).unwrap();
        for (steps, mode) in layers.iter().zip(1..) {
            builder.begin_layer();
            let metadata = Metadata { mode, ..Metadata::default() };
            for step in *steps {
                match step {
                    Directory(path) => builder.directory(path.as_bytes(), metadata).unwrap(),
                    File(path) => builder.file(path.as_bytes(), metadata, 0).unwrap().close().unwrap(),
                    Link(path, target) => builder.hard_link(path.as_bytes(), target.as_bytes()).unwrap(),
                    Hide(parent, name) => builder.hide(parent.as_bytes(), name.as_bytes()).unwrap(),
                    HideAll(path) => builder.hide_all(path.as_bytes()).unwrap(),
                }
            }
            builder.end_layer().unwrap();
        }
        let mut paths: Vec<String> = Vec::new();
        for name in builder.tree.names() {
            let mut path = builder.tree.text(name).to_vec();
            let node = builder.tree.node(name.node);
            let mut parent = name.parent;
            while parent != NodeId::ROOT {
                let above = builder.tree.names().find(|name| name.node == parent).expect("a parent has a name");
                path = [builder.tree.text(above), b"/", &path].concat();
                parent = above.parent;
            }
            let path = String::from_utf8(path).unwrap();
            paths.push(if node.is_directory() { format!("{path}/{:o}", node.mode & 0o7777) } else { path });
        }
        let lost_found = paths.iter().position(|path| path == "lost+found/700");
        paths.remove(lost_found.expect("lost+found stays"));
        paths.sort();
        builder.finish(&Finish::default()).unwrap();
        paths
    }

    #[test]
    fn a_whiteout_hides_lower_layers_at_any_position() {
        let lower = [Directory("d"), File("d/a"), File("d/b"), File("x")];
        assert_eq!(apply(&[&lower, &[Hide("d", "a"), Hide("", "x")]]), ["d/1", "d/b"]);
        assert_eq!(apply(&[&lower, &[Hide("", "d")]]), ["x"]);
        assert_eq!(apply(&[&lower, &[File("x"), Hide("", "x")]]), ["d/1", "d/a", "d/b", "x"]);
        assert_eq!(apply(&[&lower, &[Hide("", "x"), File("x")]]), ["d/1", "d/a", "d/b", "x"]);
        // A directory that is hidden and filled again, in either order, keeps nothing of the old one.
        assert_eq!(apply(&[&lower, &[Hide("", "d"), File("d/new")]]), ["d/755", "d/new", "x"]);
        assert_eq!(apply(&[&lower, &[File("d/new"), Hide("", "d")]]), ["d/755", "d/new", "x"]);
        assert_eq!(apply(&[&lower, &[Directory("d"), File("d/new"), Hide("", "d")]]), ["d/2", "d/new", "x"]);
        assert_eq!(apply(&[&lower, &[Directory("d"), Hide("", "d")]]), ["d/2", "x"]);
        // The third layer hides a file of the second.
        assert_eq!(apply(&[&lower, &[File("d/c")], &[Hide("d", "c"), Hide("d", "a")]]), ["d/1", "d/b", "x"]);
    }

    #[test]
    fn an_opaque_directory_hides_entries_of_lower_layers() {
        let lower = [Directory("d"), Directory("d/s"), File("d/s/a"), Directory("d/t"), File("d/t/b"), File("d/c")];
        assert_eq!(apply(&[&lower, &[HideAll("d")]]), ["d/1"]);
        assert_eq!(apply(&[&lower, &[HideAll("d"), File("d/new")]]), ["d/1", "d/new"]);
        assert_eq!(
            apply(&[&lower, &[File("d/new"), File("d/s/new"), HideAll("d")]]),
            ["d/1", "d/new", "d/s/755", "d/s/new"]
        );
        assert_eq!(apply(&[&lower, &[Directory("d/s"), HideAll("d")]]), ["d/1", "d/s/2"]);
        assert_eq!(apply(&[&lower, &[HideAll("")]]), [""; 0]);
    }

    #[test]
    fn hiding_a_name_keeps_the_other_hard_links() {
        let lower = [File("a"), Link("b", "a"), Directory("d"), Link("d/c", "a")];
        assert_eq!(apply(&[&lower, &[Hide("", "a")]]), ["b", "d/1", "d/c"]);
        assert_eq!(apply(&[&lower, &[Link("new", "a"), Hide("", "a"), Hide("", "d")]]), ["b", "new"]);
    }

    #[test]
    fn hiding_a_missing_name_has_no_effect() {
        let lower = [File("a")];
        let upper = [Hide("", "b"), Hide("a", "b"), Hide("none", "b"), HideAll("none"), HideAll("a"), Hide("", "..")];
        assert_eq!(apply(&[&lower, &upper]), ["a"]);
    }
}
