//! Reads a kernel's modules directory (`/lib/modules/VERSION`): the modules and their dependencies.
//!
//! depmod's files are used if they exist. A package that was only unpacked has none (its postinst would create them): then
//! the modules themselves are read, but only those that are needed.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::hardware::shortened;
use super::modinfo::{self, Modinfo};
use super::{Error, Needs, normal_name};

/// Modules by name, with their dependencies from depmod, if it ran.
pub(super) struct Index {
    directory: PathBuf,
    /// Name -> path below the directory.
    pub(super) paths: BTreeMap<String, PathBuf>,
    /// Modules that are built into the kernel.
    pub(super) builtin: BTreeSet<String>,
    recorded: Option<Recorded>,
    aliases: OnceCell<BTreeMap<String, Vec<String>>>,
    /// Module -> its aliases, as depmod recorded them.
    patterns: OnceCell<BTreeMap<String, Vec<String>>>,
    /// The descriptions read from modules' files.
    read: RefCell<BTreeMap<String, Rc<Modinfo>>>,
}

/// What depmod recorded of modules, by their names.
struct Recorded {
    /// The files that a module needs, as `modules.dep` has them: few of them are looked at.
    dependencies: BTreeMap<String, String>,
    /// From `modules.softdep`.
    optional: BTreeMap<String, Needs>,
}

impl Index {
    pub(super) fn read(directory: &Path) -> Result<Self, Error> {
        let builtin = text(directory, "modules.builtin")?.unwrap_or_default();
        let builtin = lines(&builtin).filter_map(|line| module_name(Path::new(line))).collect();
        let mut index = Self {
            directory: directory.to_owned(),
            paths: BTreeMap::new(),
            builtin,
            recorded: None,
            aliases: OnceCell::new(),
            patterns: OnceCell::new(),
            read: RefCell::default(),
        };
        match text(directory, "modules.dep")? {
            Some(dependencies) => {
                index.take_depmod(&dependencies)?;
                // An interrupted depmod, or a copy of a part: no module, or none by device, would be found.
                // depmod begins the file with a comment, also if there are no aliases.
                let aliases = fs::metadata(directory.join("modules.alias")).map(|aliases| aliases.len());
                let problem = match (index.paths.is_empty(), aliases) {
                    (true, _) if !walk(directory)?.is_empty() => Some(("modules.dep", "is empty")),
                    (false, Err(_)) => Some(("modules.alias", "is missing")),
                    (false, Ok(0)) => Some(("modules.alias", "is empty")),
                    _ => None,
                };
                if let Some((name, problem)) = problem {
                    return Err(Error::Depmod { path: directory.join(name), problem });
                }
            }
            None => index.paths = walk(directory)?,
        }
        Ok(index)
    }

    /// Reads `modules.dep` (`PATH: PATH…`) and `modules.softdep` (`softdep NAME pre: NAME… post: NAME…`).
    fn take_depmod(&mut self, dependencies: &str) -> Result<(), Error> {
        let mut recorded = Recorded { dependencies: BTreeMap::new(), optional: BTreeMap::new() };
        for (path, needs) in lines(dependencies).filter_map(|line| line.split_once(':')) {
            let path = Path::new(path);
            let Some(name) = module_name(path) else { continue };
            recorded.dependencies.insert(name.clone(), needs.to_owned());
            // An old depmod writes absolute paths.
            let below = path.strip_prefix(&self.directory).unwrap_or(path);
            self.paths.insert(name, below.to_owned());
        }
        for line in lines(&text(&self.directory, "modules.softdep")?.unwrap_or_default()) {
            if let Some((name, value)) = line.strip_prefix("softdep ").and_then(|rest| rest.split_once(' ')) {
                recorded.optional.entry(normal_name(name)).or_default().add_softdep(value);
            }
        }
        self.recorded = Some(recorded);
        Ok(())
    }

    /// Returns the dependencies of the module `name`, which must be one of `paths`.
    pub(super) fn needs(&self, name: &str) -> Result<Needs, Error> {
        if let Some(recorded) = &self.recorded {
            let Some(files) = recorded.dependencies.get(name) else { return Ok(Needs::default()) };
            let modules = files.split_whitespace().filter_map(|path| module_name(Path::new(path))).collect();
            return Ok(Needs { modules, ..recorded.optional.get(name).cloned().unwrap_or_default() });
        }
        Ok(self.modinfo(name)?.needs.clone())
    }

    /// Returns the description in a module's file; an empty one if there is no file.
    pub(super) fn modinfo(&self, name: &str) -> Result<Rc<Modinfo>, Error> {
        if let Some(read) = self.read.borrow().get(name) {
            return Ok(Rc::clone(read));
        }
        let modinfo = match self.paths.get(name) {
            Some(path) => Rc::new(modinfo::read(&self.directory.join(path))?),
            None => Rc::default(),
        };
        self.read.borrow_mut().insert(name.to_owned(), Rc::clone(&modinfo));
        Ok(modinfo)
    }

    /// Returns the device patterns of a module, shortened, without duplicates.
    pub(super) fn patterns(&self, name: &str) -> Result<Vec<String>, Error> {
        let patterns = self.all_aliases(name)?;
        let patterns: BTreeSet<String> =
            patterns.iter().filter(|alias| is_device(alias)).map(|alias| shortened(alias)).collect();
        Ok(patterns.into_iter().collect())
    }

    /// Returns what else a module may be requested by: its name, and the aliases that are no device patterns.
    pub(super) fn names(&self, name: &str) -> Result<Vec<String>, Error> {
        let aliases = self.all_aliases(name)?;
        let names: BTreeSet<String> =
            aliases.into_iter().filter(|alias| !is_device(alias)).chain([name.to_owned()]).collect();
        Ok(names.into_iter().collect())
    }

    /// Returns the aliases of a module.
    fn all_aliases(&self, name: &str) -> Result<Vec<String>, Error> {
        if self.recorded.is_none() {
            return Ok(self.modinfo(name)?.aliases.clone());
        }
        let patterns = match self.patterns.get() {
            Some(patterns) => patterns,
            None => {
                let mut patterns: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for (alias, name) in aliases(&self.alias_file()?) {
                    patterns.entry(normal_name(name)).or_default().push(alias.to_owned());
                }
                self.patterns.get_or_init(|| patterns)
            }
        };
        Ok(patterns.get(name).cloned().unwrap_or_default())
    }

    /// Returns the modules with the alias `name` (without wildcards), sorted by name.
    pub(super) fn with_alias(&self, name: &str) -> Result<&[String], Error> {
        let aliases = match self.aliases.get() {
            Some(aliases) => aliases,
            None => {
                let aliases = if self.recorded.is_some() { self.recorded_aliases()? } else { self.crypto_aliases()? };
                self.aliases.get_or_init(|| aliases)
            }
        };
        Ok(aliases.get(name).map(Vec::as_slice).unwrap_or_default())
    }

    /// Returns the modules, built in or as files, with an alias that matches this text, sorted by name.
    pub(super) fn matching(&self, text: &str) -> Result<Vec<String>, Error> {
        let fits = |pattern: &str| whit::modalias::matches(pattern.as_bytes(), text.as_bytes());
        let mut found = BTreeSet::new();
        if self.recorded.is_some() {
            let file = self.alias_file()?;
            found.extend(aliases(&file).filter(|(pattern, _)| fits(pattern)).map(|(_, name)| normal_name(name)));
        } else {
            // Every file may have to be read; a file system's is in one directory.
            let may_have = |path: &Path| !text.starts_with("fs-") || path.starts_with("kernel/fs");
            for (name, _) in self.paths.iter().filter(|(_, path)| may_have(path)) {
                if self.modinfo(name)?.aliases.iter().any(|pattern| fits(pattern)) {
                    found.insert(name.clone());
                }
            }
        }
        // `MODULE.KEY=VALUE`, each with a NUL (Documentation/kbuild/kbuild.rst). Kernels before 5.2 have no such file.
        let builtin = fs::read(self.directory.join("modules.builtin.modinfo")).unwrap_or_default();
        for entry in String::from_utf8_lossy(&builtin).split('\0') {
            let alias = entry.split_once(".alias=");
            found.extend(alias.filter(|(_, pattern)| fits(pattern)).map(|(name, _)| normal_name(name)));
        }
        Ok(found.into_iter().collect())
    }

    /// Returns the text of `modules.alias`.
    fn alias_file(&self) -> Result<String, Error> {
        Ok(text(&self.directory, "modules.alias")?.unwrap_or_default())
    }

    /// Returns the recorded aliases without wildcards, and the names of their modules.
    fn recorded_aliases(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (alias, name) in aliases(&self.alias_file()?).filter(|(alias, _)| !alias.contains(['*', '?', '['])) {
            named.entry(normal_name(alias)).or_default().push(normal_name(name));
        }
        named.values_mut().for_each(|names| names.sort());
        Ok(named)
    }

    /// Returns the aliases of the modules in directories named `crypto`.
    ///
    /// A soft dependency that is not the name of a module is an algorithm (ext4: `pre: crc32c`, an alias of crc32c_generic
    /// and crc32c_intel). Reading only these directories avoids reading thousands of modules.
    fn crypto_aliases(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, path) in &self.paths {
            if path.parent().and_then(Path::file_name).is_some_and(|parent| parent == "crypto") {
                let offered = self.modinfo(name)?;
                for alias in offered.aliases.iter().map(|alias| normal_name(alias)).collect::<BTreeSet<_>>() {
                    aliases.entry(alias).or_default().push(name.clone());
                }
            }
        }
        Ok(aliases)
    }
}

/// Returns whether an alias is a device's, BUS:DEVICE. Others are names of algorithms, file systems and device nodes.
fn is_device(alias: &str) -> bool {
    alias.contains(':') && !alias.starts_with("devname:")
}

/// Returns depmod's or the kernel's file `name`; `None` if it does not exist.
fn text(directory: &Path, name: &str) -> Result<Option<String>, Error> {
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Unreadable { path, what: error.to_string() }),
    }
}

/// Returns the lines of such a file, without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Returns the patterns and the modules' names of `modules.alias`: `alias PATTERN NAME`.
fn aliases(text: &str) -> impl Iterator<Item = (&str, &str)> {
    lines(text).filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
}

/// Returns all module files below `directory` by name. Of two with one name, the one in `updates/` wins, as in depmod.
fn walk(directory: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(below) = pending.pop() {
        let path = directory.join(&below);
        let unreadable = |error: io::Error| Error::Unreadable { path: path.clone(), what: error.to_string() };
        for entry in fs::read_dir(&path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let below = below.join(entry.file_name());
            // Symbolic links are not followed: `build` and `source` are links to the kernel's sources.
            if entry.file_type().map_err(unreadable)?.is_dir() {
                pending.push(below);
            } else if let Some(name) = module_name(&below) {
                let rank = |path: &Path| (!path.starts_with("updates"), path.to_owned());
                match paths.get(&name) {
                    Some(other) if rank(other) < rank(&below) => {}
                    _ => drop(paths.insert(name, below)),
                }
            }
        }
    }
    Ok(paths)
}

/// Returns the name of the module in the file `path`, if that is a module file.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|suffix| file.strip_suffix(suffix))?;
    Some(normal_name(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_module_files_have_module_names() {
        for (path, expected) in [
            ("kernel/drivers/char/hw_random/virtio-rng.ko", Some("virtio_rng")),
            ("virtio_net.ko.xz", Some("virtio_net")),
            ("a/b.ko.zst", Some("b")),
            ("a/b.ko.gz", Some("b")),
            ("a/b.ko.bz2", None),
            ("a/b.o", None),
            ("modules.dep", None),
        ] {
            assert_eq!(module_name(Path::new(path)).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn updates_win_over_the_kernel_in_any_order() {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["aaa", "updates/dkms", "zzz"] {
            fs::create_dir_all(directory.path().join(folder)).unwrap();
            fs::write(directory.path().join(folder).join("nic.ko"), "").unwrap();
        }
        std::os::unix::fs::symlink(directory.path(), directory.path().join("build")).unwrap();
        let paths = walk(directory.path()).unwrap();
        assert_eq!(paths, BTreeMap::from([("nic".to_owned(), PathBuf::from("updates/dkms/nic.ko"))]));
    }
}
