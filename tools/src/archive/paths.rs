//! Resolves the paths of an archive's entries with its root as the root directory: no path leads out of it. Creates hard links
//! to targets that are added later.
//!
//! Missing parents are created. Symbolic links among the parents are followed, absolute ones from the root; `..` goes up one
//! directory and stays at the root. The last component is never followed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use super::budget::{Budget, Spent};

/// The most symbolic links in one path, as in the kernel (`MAXSYMLINKS`).
const MAX_SYMLINKS: u32 = 40;
/// A step counts once more for each so many bytes of its path.
const STEP_BYTES: usize = 512;

/// Why a path cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A parent is not a directory.
    #[error("one of its parents is not a directory")]
    NotADirectory,
    /// Too many symbolic links.
    #[error("its parents form a loop of symbolic links")]
    SymlinkLoop,
    /// Too many implied directories or path steps: a bomb.
    #[error("the paths of the archive lead through far more directories than it has entries")]
    TooDeep,
    /// Too many bytes of names, link targets and attributes: a bomb.
    #[error("names, link targets and attributes of the archive take far more memory than its entries")]
    TooLarge,
}

impl From<Spent> for Problem {
    fn from(_: Spent) -> Self {
        Self::TooDeep
    }
}

/// The names that paths are resolved in.
pub(crate) trait Namespace {
    /// A file.
    type Id: Copy + Eq + Hash;
    type Problem: From<Problem>;
    const ROOT: Self::Id;

    /// Returns the file of a name in a directory.
    fn find(&self, directory: Self::Id, name: &[u8]) -> Option<Self::Id>;
    /// Returns the parent of a directory; the root is its own parent.
    fn above(&self, directory: Self::Id) -> Self::Id;
    fn is_directory(&self, id: Self::Id) -> bool;
    /// Returns the target of a symbolic link.
    fn target(&self, id: Self::Id) -> Option<Vec<u8>>;
    /// Creates an implied directory.
    fn make(&mut self, directory: Self::Id, name: &[u8]) -> Result<Self::Id, Self::Problem>;
    /// Checks the length of the path of a name, and returns it where it is known.
    fn check(&self, _directory: Self::Id, _name: &[u8]) -> Result<usize, Self::Problem> {
        Ok(0)
    }
}

/// The place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a, I> {
    /// A name in a directory.
    Name(I, &'a [u8]),
    /// An existing directory: the path ends in `.` or `..`, or is the root.
    Directory(I),
}

/// Resolves paths, and caches the last directory: archives are sorted by directory.
pub(crate) struct Resolver<I> {
    last_path: Vec<u8>,
    last: Option<I>,
    budget: Budget,
    /// The symbolic links that paths of entries led through, if they are recorded.
    passed: Option<HashSet<I>>,
    /// The symbolic links that the last look-up of a directory led through.
    looked_through: Vec<I>,
}

impl<I> Default for Resolver<I> {
    fn default() -> Self {
        Self { last_path: Vec::new(), last: None, budget: Budget::default(), passed: None, looked_through: Vec::new() }
    }
}

impl<I: Copy + Eq + Hash> Resolver<I> {
    pub(crate) fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// Spends bytes that stay in memory.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<(), Problem> {
        self.budget.keep(bytes).map_err(|Spent| Problem::TooLarge)
    }

    /// Clears the cached directory, because a name was removed.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Sets the cached directory.
    pub(crate) fn remember(&mut self, path: &[u8], directory: I) {
        self.last_path.clear();
        self.last_path.extend_from_slice(trimmed(path));
        self.last = Some(directory);
    }

    /// Records the symbolic links that paths lead through, from now on.
    pub(crate) fn record_links(&mut self) {
        self.passed = Some(HashSet::new());
        self.last = None;
    }

    /// Returns the symbolic links that paths of entries led through since [`Resolver::record_links`].
    pub(crate) fn passed(&self) -> impl Iterator<Item = &I> {
        self.passed.iter().flatten()
    }

    /// Returns the symbolic links that the last [`Resolver::directory`] led through.
    pub(crate) fn looked_through(&self) -> &[I] {
        &self.looked_through
    }

    /// Resolves the path of an entry, and creates missing parents.
    pub(crate) fn place<'a, N: Namespace<Id = I>>(
        &mut self,
        names: &mut N,
        path: &'a [u8],
    ) -> Result<Place<'a, I>, N::Problem> {
        let (parents, last) = split(path);
        self.budget.path();
        let parent = match self.last.filter(|_| self.last_path == parents) {
            Some(parent) => parent,
            None => {
                let parent = self.walk(names, N::ROOT, parents, true, &mut 0)?.ok_or(Problem::NotADirectory)?;
                self.remember(parents, parent);
                parent
            }
        };
        Ok(match last {
            b"" | b"." => Place::Directory(parent),
            b".." => Place::Directory(names.above(parent)),
            name => {
                names.check(parent, name)?;
                Place::Name(parent, name)
            }
        })
    }

    /// Returns the file at this path, if it exists.
    pub(crate) fn find<N: Namespace<Id = I>>(&mut self, names: &mut N, path: &[u8]) -> Result<Option<I>, N::Problem> {
        let (parents, last) = split(path);
        // Links to links are looked up many times.
        self.budget.step(1).map_err(Problem::from)?;
        let Some(parent) = self.directory(names, parents)? else { return Ok(None) };
        Ok(match last {
            b"" | b"." => Some(parent),
            b".." => Some(names.above(parent)),
            name => names.find(parent, name),
        })
    }

    /// Returns the directory at this path, if it exists; the last component is followed too.
    pub(crate) fn directory<N: Namespace<Id = I>>(
        &mut self,
        names: &mut N,
        path: &[u8],
    ) -> Result<Option<I>, N::Problem> {
        self.looked_through.clear();
        self.walk(names, N::ROOT, path, false, &mut 0)
    }

    /// Follows a path from a directory, the last component included; `None` if it does not exist. `make` creates missing
    /// directories.
    fn walk<N: Namespace<Id = I>>(
        &mut self,
        names: &mut N,
        start: I,
        path: &[u8],
        make: bool,
        followed: &mut u32,
    ) -> Result<Option<I>, N::Problem> {
        let mut at = if path.starts_with(b"/") { N::ROOT } else { start };
        for name in path.split(|byte| *byte == b'/') {
            self.budget.step(1).map_err(Problem::from)?;
            match name {
                b"" | b"." => continue,
                b".." => {
                    at = names.above(at);
                    continue;
                }
                _ => {}
            }
            self.budget.step(names.check(at, name)? / STEP_BYTES).map_err(Problem::from)?;
            let next = match names.find(at, name) {
                Some(found) => found,
                None if !make => return Ok(None),
                None => {
                    self.budget.make().map_err(Problem::from)?;
                    self.keep(name.len())?;
                    names.make(at, name)?
                }
            };
            at = match names.target(next) {
                None if names.is_directory(next) => next,
                None => return Err(Problem::NotADirectory.into()),
                Some(target) => {
                    *followed += 1;
                    if *followed > MAX_SYMLINKS {
                        return Err(Problem::SymlinkLoop.into());
                    }
                    match &mut self.passed {
                        _ if !make => self.looked_through.push(next),
                        Some(passed) => drop(passed.insert(next)),
                        None => {}
                    }
                    let Some(reached) = self.walk(names, at, &target, make, followed)? else { return Ok(None) };
                    reached
                }
            };
        }
        Ok(Some(at))
    }
}

/// A hard link to a target that has not been added yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HardLink {
    pub(crate) path: Vec<u8>,
    pub(crate) target: Vec<u8>,
}

/// Where hard links are created.
pub(crate) trait Linker {
    type Id: Copy + Eq + Hash;
    type Error;

    /// Returns directory and name of a path; `None` if there is no such directory.
    fn key(&mut self, path: &[u8]) -> Result<Option<Key<Self::Id>>, Self::Error>;
    /// Returns the file of a name.
    fn file(&self, key: &Key<Self::Id>) -> Option<Self::Id>;
    /// Creates a hard link at a path.
    fn link(&mut self, path: &[u8], file: Self::Id) -> Result<(), Self::Error>;
}

/// A directory and a name in it.
pub(crate) type Key<I> = (I, Vec<u8>);

/// Creates hard links whose targets may be among them, in any order, each once. Returns one without a target.
pub(crate) fn link_all<L: Linker>(links: Vec<HardLink>, linker: &mut L) -> Result<Option<HardLink>, L::Error> {
    // Of several links with one name, the last one counts.
    let mut last: HashMap<Key<L::Id>, usize> = HashMap::new();
    for (index, link) in links.iter().enumerate() {
        if let Some(key) = linker.key(&link.path)? {
            last.insert(key, index);
        }
    }
    let mut waiting: HashMap<Key<L::Id>, Vec<usize>> = HashMap::new();
    let mut without_target = None;
    let mut queue: VecDeque<usize> = (0..links.len()).collect();
    while let Some(index) = queue.pop_front() {
        let link = &links[index];
        let own = linker.key(&link.path)?;
        if own.as_ref().is_some_and(|own| last.get(own).is_some_and(|last| *last != index)) {
            continue;
        }
        let Some(target) = linker.key(&link.target)? else {
            without_target.get_or_insert(index);
            continue;
        };
        let Some(file) = linker.file(&target) else {
            waiting.entry(target).or_default().push(index);
            continue;
        };
        // An entry of this name that was added after the link replaces it.
        if own.as_ref().is_none_or(|own| linker.file(own).is_none()) {
            linker.link(&link.path, file)?;
            if let Some(own) = own {
                queue.extend(waiting.remove(&own).unwrap_or_default());
            }
        }
    }
    let first = waiting.into_values().flatten().chain(without_target).min();
    Ok(first.map(|index| links[index].clone()))
}

/// Removes trailing slashes and `/.`.
fn trimmed(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/").or_else(|| path.strip_suffix(b"/.")) {
        path = shorter;
    }
    path
}

/// Splits a path into the directory part and the last component. Trailing slashes and `.` do not count as components.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let path = trimmed(path);
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by directory and name; all are in one directory.
    struct Flat(HashMap<Vec<u8>, u32>, usize);

    impl Linker for Flat {
        type Id = u32;
        type Error = ();

        fn key(&mut self, path: &[u8]) -> Result<Option<Key<u32>>, ()> {
            self.1 += 1;
            Ok(Some((0, path.to_vec())))
        }

        fn file(&self, key: &Key<u32>) -> Option<u32> {
            self.0.get(&key.1).copied()
        }

        fn link(&mut self, path: &[u8], file: u32) -> Result<(), ()> {
            self.0.insert(path.to_vec(), file);
            Ok(())
        }
    }

    fn link(path: &str, target: &str) -> HardLink {
        HardLink { path: path.into(), target: target.into() }
    }

    #[test]
    fn a_chain_of_links_takes_time_in_proportion_to_its_length() {
        const LENGTH: usize = 20_000;
        let name = |number: usize| format!("{number:06}");
        let links: Vec<HardLink> = (0..LENGTH).map(|number| link(&name(number), &name(number + 1))).collect();
        for links in [links.clone(), links.into_iter().rev().collect()] {
            let mut flat = Flat(HashMap::from([(name(LENGTH).into_bytes(), 7)]), 0);
            assert_eq!(link_all(links, &mut flat), Ok(None));
            assert!(flat.0.len() == LENGTH + 1 && flat.0.values().all(|file| *file == 7));
            assert!(flat.1 <= 6 * LENGTH, "{} look-ups", flat.1);
        }
    }

    #[test]
    fn the_last_link_of_a_name_counts_and_one_without_a_target_is_returned() {
        let mut flat = Flat(HashMap::from([(b"x".to_vec(), 1), (b"y".to_vec(), 2)]), 0);
        assert_eq!(link_all(vec![link("a", "x"), link("b", "a"), link("a", "y")], &mut flat), Ok(None));
        assert_eq!((flat.0[&b"a"[..]], flat.0[&b"b"[..]]), (2, 2));
        for links in
            [vec![link("c", "d"), link("d", "c")], vec![link("c", "c")], vec![link("e", "x"), link("c", "none")]]
        {
            assert_eq!(link_all(links, &mut flat).unwrap().unwrap().path, b"c");
        }
    }
}
