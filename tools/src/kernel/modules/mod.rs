//! Which kernel modules to load, and in which order, so that the ones that were named work.
//!
//! The rules are modprobe's (libkmod): `-` and `_` are alike in names; what a module needs comes before it; soft
//! dependencies come before or behind it, and are left out in silence when this kernel has them not; what is built into
//! the kernel is there already.

mod hardware;
mod index;
mod modinfo;
mod package;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use hardware::{Drivers, For};
use index::Index;
pub use package::Package;

/// A kernel's modules directory.
pub struct Modules {
    directory: PathBuf,
    version: String,
    index: Index,
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its file below the modules directory, as `kernel/fs/ext4/ext4.ko`.
    pub below: PathBuf,
}

/// The answer to [`Modules::closure`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// What to load, first to last.
    pub load: Vec<Module>,
    /// Those of the named modules that the kernel has built in.
    pub builtin: Vec<String>,
    /// How many are loaded only when a device asks for one, and by how many patterns.
    pub by_device: (usize, usize),
    /// The releases of the kernels that the modules were built for, each with one of its modules.
    pub releases: BTreeMap<String, String>,
    /// Firmware that modules name and that was not found.
    pub missing_firmware: Vec<String>,
}

/// What must be loaded with a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Needs {
    /// `depends=`: before it, or it cannot be loaded.
    modules: Vec<String>,
    /// `softdep=pre:`: before it, if there.
    before: Vec<String>,
    /// `softdep=post:`: behind it, if there.
    after: Vec<String>,
}

impl Needs {
    /// Adds the value of a softdep line: `pre: NAME… post: NAME…`.
    fn add_softdep(&mut self, value: &str) {
        let mut list = None;
        for word in value.split_whitespace() {
            match word {
                "pre:" => list = Some(&mut self.before),
                "post:" => list = Some(&mut self.after),
                name => list.iter_mut().for_each(|list| list.push(normal_name(name))),
            }
        }
    }
}

/// Why modules cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No modules below a directory.
    #[error("{}: no kernel's modules there; name a directory as /lib/modules/VERSION", .0.display())]
    NotModules(PathBuf),
    /// Modules of several kernels below a directory.
    #[error("{}: modules of several kernels there; name one of them: {}", .directory.display(), .versions.join(", "))]
    Several {
        /// The directory that was named.
        directory: PathBuf,
        /// The kernels found there.
        versions: Vec<String>,
    },
    /// A named module is neither a file nor built in.
    #[error("{}: no module \"{name}\", and the kernel has none built in by that name", .directory.display())]
    Missing {
        /// The modules directory.
        directory: PathBuf,
        /// The module.
        name: String,
    },
    /// A module needs one that is neither a file nor built in.
    #[error("{}: module \"{by}\" needs \"{name}\", which is not there; is the kernel's package complete?", .directory.display())]
    MissingDependency {
        /// The modules directory.
        directory: PathBuf,
        /// The module that is not there.
        name: String,
        /// The module that needs it.
        by: String,
    },
    /// Modules need each other.
    #[error("{}: modules need each other in a circle: {}", .directory.display(), .names.join(" -> "))]
    Circle {
        /// The modules directory.
        directory: PathBuf,
        /// The circle, from a module to itself.
        names: Vec<String>,
    },
    /// A file is not what it should be.
    #[error("{}: {what}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl Module {
    /// The name of its file in an initramfs, where it is not compressed: `kernel/fs/ext4/ext4.ko`.
    #[must_use]
    pub fn plain(&self) -> &[u8] {
        let name = self.below.as_os_str().as_bytes();
        [&b".xz"[..], b".zst", b".gz"].iter().find_map(|suffix| name.strip_suffix(*suffix)).unwrap_or(name)
    }
}

impl Modules {
    /// Opens `/lib/modules/VERSION`, or the only such directory below an unpacked kernel package.
    ///
    /// # Errors
    /// A directory without modules, with those of several kernels, or that cannot be read.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let directory = find(directory)?;
        let absolute = fs::canonicalize(&directory)
            .map_err(|error| Error::Unreadable { path: directory.clone(), what: error.to_string() })?;
        let version = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let index = Index::read(&directory)?;
        Ok(Self { directory, version, index })
    }

    /// The directory itself, `…/VERSION`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The kernel's version, as `uname -r` says it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The content of a module's file, decompressed: the kernel loads it faster, an older one (before 5.17) at all, and a compressed
    /// initramfs is the smaller for it.
    ///
    /// # Errors
    /// A file that cannot be read or decompressed.
    pub fn content(&self, module: &Module) -> Result<Vec<u8>, Error> {
        let path = self.directory.join(&module.below);
        modinfo::decompressed(&path).map_err(|error| Error::Unreadable { path, what: error.to_string() })
    }

    /// The release of the kernel that a module was built for, when it says so.
    #[must_use]
    pub fn release(&self, module: &Module) -> Option<String> {
        let release = self.index.modinfo(&module.name).ok()?.release.clone();
        Some(release).filter(|release| !release.is_empty())
    }

    /// Whether there is a module of this name, built in or to be loaded.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let name = normal_name(name);
        self.index.builtin.contains(&name) || self.index.paths.contains_key(&name)
    }

    /// What to load so that the modules `names` work, each once, what is needed first.
    ///
    /// # Errors
    /// A module that is not there, a circle, a file that is no module.
    pub fn closure<N: AsRef<str>>(&self, names: &[N]) -> Result<Closure, Error> {
        let mut walk = Walk { modules: self, load: Vec::new(), path: Vec::new() };
        let mut builtin = Vec::new();
        for name in names {
            let name = normal_name(name.as_ref());
            if self.index.builtin.contains(&name) {
                if !builtin.contains(&name) {
                    builtin.push(name);
                }
            } else if self.index.paths.contains_key(&name) {
                walk.visit(&name, Edge::Soft)?;
            } else {
                return Err(Error::Missing { directory: self.directory.clone(), name });
            }
        }
        let module = |name: String| Some(Module { below: self.index.paths.get(&name)?.clone(), name });
        Ok(Closure { load: walk.load.into_iter().filter_map(module).collect(), builtin, ..Closure::default() })
    }
}

/// How one module came to want another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Hard,
    Soft,
}

/// A walk in depth over what modules need.
struct Walk<'a> {
    modules: &'a Modules,
    /// What is complete, in load order.
    load: Vec<String>,
    /// From a named module down to the one being visited, each with the edge that led to it.
    path: Vec<(String, Edge)>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str, edge: Edge) -> Result<(), Error> {
        if self.load.iter().any(|loaded| loaded == name) {
            return Ok(());
        }
        if let Some(position) = self.path.iter().position(|(visited, _)| visited == name) {
            let circle = &self.path[position..];
            // A soft dependency is only an order that is good to have: it gives way.
            if edge == Edge::Soft || circle.iter().skip(1).any(|(_, edge)| *edge == Edge::Soft) {
                return Ok(());
            }
            let names = circle.iter().map(|(name, _)| name.as_str()).chain([name]).map(str::to_owned).collect();
            return Err(Error::Circle { directory: self.modules.directory.clone(), names });
        }
        let needs = self.modules.index.needs(name)?;
        self.path.push((name.to_owned(), edge));
        for before in &needs.before {
            self.visit_soft(before)?;
        }
        for needed in &needs.modules {
            if self.modules.index.paths.contains_key(needed) {
                self.visit(needed, Edge::Hard)?;
            } else if !self.modules.index.builtin.contains(needed) {
                let directory = self.modules.directory.clone();
                return Err(Error::MissingDependency { directory, name: needed.clone(), by: name.to_owned() });
            }
        }
        self.load.push(name.to_owned());
        for after in &needs.after {
            self.visit_soft(after)?;
        }
        self.path.pop();
        Ok(())
    }

    /// Visits a soft dependency: a module, or every module that has it as an alias, or nothing.
    ///
    /// Whether a module of that name is built in does not matter, as for modprobe: f2fs wants the algorithm `crc32`, of
    /// modules, while the library `crc32` is built in.
    fn visit_soft(&mut self, name: &str) -> Result<(), Error> {
        let index = &self.modules.index;
        if index.paths.contains_key(name) {
            return self.visit(name, Edge::Soft);
        }
        for name in index.with_alias(name)? {
            if index.paths.contains_key(name) {
                self.visit(name, Edge::Soft)?;
            }
        }
        Ok(())
    }
}

/// Names of modules are equal when they differ in `-` and `_` alone.
fn normal_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The modules directory that `directory` is, or holds as an unpacked package does.
fn find(directory: &Path) -> Result<PathBuf, Error> {
    if is_modules(directory) {
        return Ok(directory.to_owned());
    }
    for below in ["lib/modules", "usr/lib/modules", ""] {
        // What cannot be listed holds no modules.
        let entries = fs::read_dir(directory.join(below)).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_modules(path)).collect();
        found.sort();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.clone()),
            several => {
                let versions = several.iter().map(|path| path.display().to_string()).collect();
                return Err(Error::Several { directory: directory.to_owned(), versions });
            }
        }
    }
    Err(Error::NotModules(directory.to_owned()))
}

fn is_modules(path: &Path) -> bool {
    ["modules.builtin", "modules.dep", "modules.order"].iter().any(|name| path.join(name).is_file())
}

#[cfg(test)]
mod tests;
