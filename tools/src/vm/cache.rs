//! A cache of generated files, named by a hash of their inputs.

use std::fs::{self, DirBuilder, File, FileTimes};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cli::output::Output;

/// A file that was not used for this long is removed.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The variable for another cache folder.
const VARIABLE: &str = "WHIT_CACHE";

/// A cache folder.
pub struct Cache(PathBuf);

impl Cache {
    /// Opens the user's cache: `$WHIT_CACHE`, `$XDG_CACHE_HOME/whit` or `~/.cache/whit` (XDG Base Directory Specification),
    /// or `/var/cache/whit` for a root without a home, as a service of systemd is.
    /// Removes files and images that were not used for 30 days.
    ///
    /// # Errors
    /// A message of one line: no home, or a folder that cannot be created.
    pub fn open() -> Result<Self, String> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = users(variable, rustix::process::geteuid().is_root())
            .ok_or_else(|| format!("neither {VARIABLE} nor HOME is set: there is no folder for the cache"))?;
        let cache = Self::at(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        cache.remove_older_than(KEPT);
        super::pull::prune(&cache);
        Ok(cache)
    }

    /// Opens a folder, and creates it if necessary.
    ///
    /// # Errors
    /// Errors of mkdir(2).
    pub fn at(folder: &Path) -> io::Result<Self> {
        // Mode 0700, as in the XDG specification: disks contain the secrets of their images.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Returns the path of a subfolder, which has its own structure.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the file of this kind for `key`; calls `make` to write it if it does not exist.
    ///
    /// # Errors
    /// Errors of `make`, and of writing.
    pub fn file(
        &self,
        kind: &str,
        key: &Key,
        make: impl FnOnce(&mut Output) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let path = self.0.join(format!("{kind}-{}", key.name()));
        let say = |error: io::Error| format!("{}: {error}", path.display());
        match File::open(&path) {
            // Records the use; this may fail in a read-only cache.
            Ok(file) => drop(file.set_times(FileTimes::new().set_modified(SystemTime::now()))),
            Err(_) => {
                let mut output = Output::create_private(&path).map_err(say)?;
                make(&mut output)?;
                output.commit().map_err(say)?;
            }
        }
        Ok(path)
    }

    /// Removes files that were not used for `age`.
    fn remove_older_than(&self, age: Duration) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        let is_old = |file: &fs::Metadata| {
            let unused = file.modified().map(|used| used.elapsed().unwrap_or_default());
            file.is_file() && unused.is_ok_and(|unused| unused > age)
        };
        for entry in entries.filter_map(Result::ok) {
            if entry.metadata().is_ok_and(|file| is_old(&file)) {
                // Another process may have removed it already.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A hash of a file's inputs.
pub struct Key(blake3::Hasher);

impl Key {
    /// Creates a key from the running program, because another build may generate a different file.
    ///
    /// # Errors
    /// Errors of reading the metadata of the running program.
    pub fn new() -> io::Result<Self> {
        let program = std::env::current_exe()?.metadata()?;
        let mut key = Self(blake3::Hasher::new());
        key.add(&program.len().to_le_bytes());
        key.add(&program.mtime().to_le_bytes());
        key.add(&program.mtime_nsec().to_le_bytes());
        Ok(key)
    }

    /// Adds a value and its length.
    pub fn add(&mut self, value: &[u8]) -> &mut Self {
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Adds the [`content`] of a file or a folder.
    ///
    /// # Errors
    /// Errors of reading.
    pub fn add_file(&mut self, path: &Path) -> io::Result<&mut Self> {
        self.0.update(content(path)?.as_bytes());
        Ok(self)
    }

    fn name(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

/// Returns a hash of a file's content; that of a folder is of the names and the metadata of its files, whose change time (ctime) no
/// program sets.
///
/// # Errors
/// Errors of reading.
pub fn content(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    if path.is_dir() {
        add_folder(&mut hasher, path)?;
    } else {
        hasher.update_reader(File::open(path)?)?;
    }
    Ok(hasher.finalize())
}

/// Adds the files of a folder, in the order of their names.
fn add_folder(hasher: &mut blake3::Hasher, folder: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata()?;
        hasher.update(entry.file_name().as_encoded_bytes());
        let numbers = [metadata.dev(), metadata.ino(), u64::from(metadata.mode()), metadata.len()];
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        let times = [metadata.ctime(), metadata.ctime_nsec(), metadata.mtime(), metadata.mtime_nsec()];
        for time in times {
            hasher.update(&time.to_le_bytes());
        }
        if metadata.is_dir() {
            add_folder(hasher, &entry.path())?;
        }
        hasher.update(b"/");
    }
    Ok(())
}

/// Returns the folder of the user.
fn users(variable: impl Fn(&str) -> Option<PathBuf>, is_root: bool) -> Option<PathBuf> {
    variable(VARIABLE)
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("whit")))
        .or_else(|| Some(variable("HOME")?.join(".cache/whit")))
        .or_else(|| is_root.then(|| PathBuf::from("/var/cache/whit")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn key(values: &[&[u8]]) -> Key {
        let mut key = Key::new().unwrap();
        for value in values {
            key.add(value);
        }
        key
    }

    #[test]
    fn the_folder_is_the_users() {
        let folder = |set: &[&str], is_root| {
            let variable = |name: &str| set.contains(&name).then(|| Path::new("/of").join(name));
            users(variable, is_root)
        };
        for (set, expected) in [
            (&["HOME", "XDG_CACHE_HOME", "WHIT_CACHE"][..], "/of/WHIT_CACHE"),
            (&["HOME", "XDG_CACHE_HOME"], "/of/XDG_CACHE_HOME/whit"),
            (&["HOME"], "/of/HOME/.cache/whit"),
            (&[], "/var/cache/whit"),
        ] {
            assert_eq!(folder(set, true), Some(expected.into()));
        }
        assert_eq!(folder(&[], false), None);
    }

    #[test]
    fn a_file_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("new/cache")).unwrap();
        let write = |output: &mut Output| output.file().write_all(b"made").map_err(|error| error.to_string());
        let path = cache.file("disk", &key(&[b"a"]), write).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"made");
        assert_eq!(cache.file("disk", &key(&[b"a"]), |_| panic!("made again")), Ok(path.clone()));
        assert_ne!(cache.file("disk", &key(&[b"b"]), write).unwrap(), path);
        assert_ne!(cache.file("initramfs", &key(&[b"a"]), write).unwrap(), path);
    }

    #[test]
    fn cached_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("new/cache")).unwrap();
        let path = cache.file("disk", &key(&[]), |_| Ok(())).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(
            (mode(&path), mode(path.parent().unwrap()), mode(&folder.path().join("new"))),
            (0o600, 0o700, 0o700)
        );
    }

    #[test]
    fn a_failed_file_is_not_cached() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let fail =
            |output: &mut Output| output.file().write_all(b"half").map_err(|_| String::new()).and(Err("no".into()));
        assert_eq!(cache.file("disk", &key(&[]), fail), Err("no".into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_depends_on_the_lengths_of_its_values() {
        let names =
            [key(&[b"ab", b"c"]), key(&[b"a", b"bc"]), key(&[b"abc"]), key(&[b"abc", b""])].map(|key| key.name());
        for (index, name) in names.iter().enumerate() {
            assert_eq!(names.iter().position(|other| other == name), Some(index), "{names:?}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let of_file = || key(&[]).add_file(file.path()).unwrap().name();
        let empty = of_file();
        fs::write(file.path(), "x").unwrap();
        assert_ne!(of_file(), empty);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), "a").unwrap();
        let of_folder = || key(&[]).add_file(folder.path()).unwrap().name();
        let before = of_folder();
        assert_eq!(of_folder(), before);
        fs::write(folder.path().join("inner/file"), "longer").unwrap();
        assert_ne!(of_folder(), before);
    }

    #[test]
    fn unused_files_are_removed_and_used_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let (old, used) = (folder.path().join("old"), cache.file("disk", &key(&[]), |_| Ok(())).unwrap());
        let long_ago = FileTimes::new().set_modified(SystemTime::now() - 2 * KEPT);
        for path in [&old, &used] {
            File::create(path).unwrap().set_times(long_ago).unwrap();
        }
        fs::create_dir(cache.folder("kernels")).unwrap();
        cache.file("disk", &key(&[]), |_| panic!("it is there")).unwrap();
        cache.remove_older_than(KEPT);
        assert!(!old.exists() && used.exists() && cache.folder("kernels").exists());
    }
}
