//! Kernel modules: resolves the dependencies of named modules, and their load order.
//!
//! The rules are those of modprobe (libkmod). `-` and `_` are equal in names. Dependencies are loaded before a module; soft
//! dependencies before or after it, and a missing one is ignored. Modules built into the kernel need no loading.

mod bare_metal;
mod hardware;
mod index;
mod modinfo;
mod package;
mod settings;
mod untraced;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use bare_metal::bare_metal_places;
pub use hardware::{Drivers, For, OnDemand, Selected};
use index::Index;
pub(crate) use modinfo::decompressed;

use super::elf;
use crate::machine::Machine;
pub use package::Package;
pub use settings::Settings;

/// A kernel's modules directory.
pub struct Modules {
    directory: PathBuf,
    version: String,
    index: Index,
    settings: Settings,
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its file below the modules directory, as `kernel/fs/ext4/ext4.ko`.
    pub below: PathBuf,
}

/// The result of [`Modules::closure`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// The modules to load, in this order.
    pub load: Vec<Module>,
    /// The named modules that are built into the kernel.
    pub builtin: Vec<String>,
    /// The number of modules that are loaded by device or on demand, and of their patterns.
    pub by_device: (usize, usize),
    /// The names of the modules that are loaded by device.
    pub drivers: Vec<String>,
    /// Whether one of the modules has parameters.
    pub has_parameters: bool,
    /// The kernel requests some of them.
    pub is_answering: bool,
    /// The releases of the kernels that the modules were built for, each with one of its modules.
    pub releases: BTreeMap<String, String>,
    /// Files below /lib/firmware that the modules may request.
    pub firmware: BTreeSet<String>,
    /// Firmware of the modules that was not found.
    pub missing_firmware: Vec<String>,
}

/// The dependencies of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Needs {
    /// `depends=`: required, loaded before it.
    modules: Vec<String>,
    /// `softdep=pre:`: optional, loaded before it.
    before: Vec<String>,
    /// `softdep=post:`: optional, loaded after it.
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

/// Why modules cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory without modules.
    #[error("{}: contains no kernel modules; give a directory as /lib/modules/VERSION", .0.display())]
    NotModules(PathBuf),
    /// A directory with modules of several kernels.
    #[error("{}: contains modules of several kernels; give one of {}", .directory.display(), .versions.join(", "))]
    Several {
        /// The given directory.
        directory: PathBuf,
        /// The kernels found there.
        versions: Vec<String>,
    },
    /// One of depmod's files is missing or empty, although others are there.
    #[error("{}: {problem}; run depmod for this kernel, or remove modules.dep", .path.display())]
    Depmod {
        /// The file.
        path: PathBuf,
        /// Whether it is missing or empty.
        problem: &'static str,
    },
    /// A named module is neither a file nor built in.
    #[error("{}: no module \"{name}\", and the kernel has none built in by that name or alias", .directory.display())]
    Missing {
        /// The modules directory.
        directory: PathBuf,
        /// The module.
        name: String,
    },
    /// A kernel without a module of a set.
    #[error("{}: has no modules of the set \"{name}\"", .directory.display())]
    NoSet {
        /// The modules directory.
        directory: PathBuf,
        /// The set.
        name: &'static str,
    },
    /// A module needs one that is neither a file nor built in.
    #[error("{}: module \"{by}\" needs \"{name}\", which is missing; is the kernel's package complete?", .directory.display())]
    MissingDependency {
        /// The modules directory.
        directory: PathBuf,
        /// The missing module.
        name: String,
        /// The module that needs it.
        by: String,
    },
    /// A dependency cycle.
    #[error("{}: dependency cycle of modules: {}", .directory.display(), .names.join(" -> "))]
    Cycle {
        /// The modules directory.
        directory: PathBuf,
        /// The cycle, from a module to itself.
        names: Vec<String>,
    },
    /// A file is invalid or cannot be read.
    #[error("{}: {what}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The problem.
        what: String,
    },
}

impl Module {
    /// Returns the name of its uncompressed file in an initramfs: `kernel/fs/ext4/ext4.ko`.
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
        Ok(Self { directory, version, index, settings: Settings::default() })
    }

    /// Sets the settings of modules.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Checks that each module whose parameters were given one by one is among `loaded`, and has these parameters.
    ///
    /// # Errors
    /// A module that is not, or is built in; an unknown parameter.
    pub fn check_parameters(&self, loaded: &BTreeSet<&str>) -> Result<(), Error> {
        for name in self.settings.named() {
            let wrong = |what: String| Error::Unreadable { path: self.directory.clone(), what };
            if !loaded.contains(name.as_str()) {
                let is_builtin = self.index.builtin.contains(name);
                return Err(wrong(if is_builtin {
                    format!(
                        "{name} is built into the kernel: give its parameters as {name}.PARAMETER= on the kernel command line"
                    )
                } else {
                    format!(
                        "parameters of {name}, which is not among the modules of this initramfs; add it by --module {name}"
                    )
                }));
            }
            let known = &self.index.modinfo(name)?.parameters;
            for given in settings::names(self.settings.parameters(name).unwrap_or_default()) {
                if !known.contains(&given) && given != "async_probe" && given != "dyndbg" {
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    return Err(wrong(format!("{name} has no parameter \"{given}\"; it has {known}")));
                }
            }
        }
        Ok(())
    }

    /// Returns a module as a line of the init's lists has it: its file, and its parameters.
    pub(crate) fn line(&self, module: &Module, more: &str) -> Vec<u8> {
        let parameters = [more, self.settings.parameters(&module.name).unwrap_or_default()];
        let mut line = module.plain().to_vec();
        for text in parameters.iter().filter(|text| !text.is_empty()) {
            line.extend([b" ", text.as_bytes()].concat());
        }
        line
    }

    /// Returns the directory itself, `…/VERSION`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the kernel's version, as `uname -r` prints it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the decompressed content of a module's file. The kernel loads it faster, kernels before 5.17 cannot load
    /// compressed modules, and a compressed initramfs becomes smaller.
    ///
    /// # Errors
    /// A file that cannot be read or decompressed.
    pub fn content(&self, module: &Module) -> Result<Vec<u8>, Error> {
        let path = self.directory.join(&module.below);
        modinfo::decompressed(&path).map_err(|error| Error::Unreadable { path, what: error.to_string() })
    }

    /// Returns the content of a module's file without its signature, and without the function tracer's tables. The kernel then does not verify
    /// it, which takes most of the time that it loads a small module, and is tainted by it (kernel/module/main.c,
    /// `module_sig_check()`). The tables take most of the time of a large one.
    ///
    /// # Errors
    /// See [`Modules::content`].
    pub fn unsigned(&self, module: &Module) -> Result<Vec<u8>, Error> {
        let mut content = self.content(module)?;
        content.truncate(unsigned_length(&content));
        untraced::untrace(&mut content);
        Ok(content)
    }

    /// Returns the files below /lib/firmware that a module may request, if it says so.
    #[must_use]
    pub fn firmware(&self, module: &Module) -> Vec<String> {
        self.index.modinfo(&module.name).map(|modinfo| modinfo.firmware.clone()).unwrap_or_default()
    }

    /// Returns the release of the kernel that a module was built for, if known.
    #[must_use]
    pub fn release(&self, module: &Module) -> Option<String> {
        let release = self.index.modinfo(&module.name).ok()?.release.clone();
        Some(release).filter(|release| !release.is_empty())
    }

    /// Returns a module's file and the machine that it was built for; `None` without modules, or for another machine than those that there
    /// is an init for. A file that cannot be read is reported when it is added.
    #[must_use]
    pub fn machine(&self) -> Option<(PathBuf, Machine)> {
        let (name, below) = self.index.paths.first_key_value()?;
        let content = self.content(&Module { name: name.clone(), below: below.clone() }).ok()?;
        Some((self.directory.join(below), elf::machine(&content).and_then(Machine::of_elf)?))
    }

    /// Returns whether the kernel has a module of this name, built in or as a file.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let name = normal_name(name);
        self.index.builtin.contains(&name) || self.index.paths.contains_key(&name)
    }

    /// Returns the module of this name, or those with an alias that matches `alias`, built in or as files.
    fn named(&self, name: &str, alias: &str) -> Result<Vec<String>, Error> {
        if self.has(name) {
            return Ok(vec![name.to_owned()]);
        }
        let found = self.index.matching(alias)?;
        if found.is_empty() {
            return Err(Error::Missing { directory: self.directory.clone(), name: name.to_owned() });
        }
        Ok(found)
    }

    /// Resolves the modules `names` and their dependencies, in load order without duplicates.
    ///
    /// # Errors
    /// A missing module; a dependency cycle; a file that is not a module.
    pub fn closure<N: AsRef<str>>(&self, names: &[N]) -> Result<Closure, Error> {
        let mut walk = Walk { modules: self, load: Vec::new(), path: Vec::new() };
        let mut builtin = Vec::new();
        for given in names {
            let given = given.as_ref();
            let name = normal_name(given);
            if self.index.builtin.contains(&name) {
                if !builtin.contains(&name) {
                    builtin.push(name);
                }
            } else if self.index.paths.contains_key(&name) {
                walk.visit(&name, Edge::Soft)?;
            } else {
                for name in self.named(&name, given)? {
                    match self.index.paths.contains_key(&name) {
                        true => walk.visit(&name, Edge::Soft)?,
                        false if builtin.contains(&name) => {}
                        false => builtin.push(name),
                    }
                }
            }
        }
        let module = |name: String| Some(Module { below: self.index.paths.get(&name)?.clone(), name });
        Ok(Closure { load: walk.load.into_iter().filter_map(module).collect(), builtin, ..Closure::default() })
    }
}

/// The type of a dependency.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Hard,
    Soft,
}

/// A depth-first walk over dependencies.
struct Walk<'a> {
    modules: &'a Modules,
    /// The completed modules, in load order.
    load: Vec<String>,
    /// The path from a named module to the current one, each with the edge to it.
    path: Vec<(String, Edge)>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str, edge: Edge) -> Result<(), Error> {
        if self.load.iter().any(|loaded| loaded == name) {
            return Ok(());
        }
        if let Some(position) = self.path.iter().position(|(visited, _)| visited == name) {
            let cycle = &self.path[position..];
            // A soft dependency is optional: it is dropped to break the cycle.
            if edge == Edge::Soft || cycle.iter().skip(1).any(|(_, edge)| *edge == Edge::Soft) {
                return Ok(());
            }
            let names = cycle.iter().map(|(name, _)| name.as_str()).chain([name]).map(str::to_owned).collect();
            return Err(Error::Cycle { directory: self.modules.directory.clone(), names });
        }
        let mut needs = self.modules.index.needs(name)?;
        if let Some(more) = self.modules.settings.softdeps(name) {
            needs.before.extend(more.before.iter().cloned());
            needs.after.extend(more.after.iter().cloned());
        }
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

    /// Visits a soft dependency: a module, or all modules with this alias, or none.
    ///
    /// As in modprobe, a built-in module of that name makes no difference: f2fs needs the algorithm `crc32`, which modules
    /// provide, while the library `crc32` is built in.
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

/// Returns the length of a module without its signature: include/linux/module_signature.h, which ends in a length of 32 bits and
/// a mark.
fn unsigned_length(content: &[u8]) -> usize {
    const MARK: &[u8] = b"~Module signature appended~\n";
    const TRAILER: usize = 12;
    let unmarked = content.strip_suffix(MARK);
    let parts = unmarked.and_then(|rest| rest.split_last_chunk::<4>());
    let length = parts.and_then(|(rest, length)| {
        let signature = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        (rest.len() + 4).checked_sub(TRAILER)?.checked_sub(signature)
    });
    length.unwrap_or(content.len())
}

/// Normalizes the name of a module: `-` and `_` are equal.
fn normal_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Finds the modules directory: `directory` itself, or the only one in an unpacked package.
fn find(directory: &Path) -> Result<PathBuf, Error> {
    if is_modules(directory) {
        return Ok(directory.to_owned());
    }
    for below in ["lib/modules", "usr/lib/modules", ""] {
        // A directory that cannot be listed counts as empty.
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
