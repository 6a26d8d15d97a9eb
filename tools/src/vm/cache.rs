//! Files that can be made again, kept under names that tell what they were made from.

use std::fs::{self, DirBuilder, File, FileTimes};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cli::output::Output;

/// A file that nobody has asked for in so long goes.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Where the cache is, if that is to be somewhere else.
const VARIABLE: &str = "WHIT_CACHE";

/// A folder of such files.
pub struct Cache(PathBuf);

impl Cache {
    /// Opens the user's: `$WHIT_CACHE`, `$XDG_CACHE_HOME/whit` or `~/.cache/whit` (XDG Base Directory Specification). What
    /// was not asked for in a month is removed.
    ///
    /// # Errors
    /// One line: no home, or no way to make the folder.
    pub fn open() -> Result<Self, String> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = variable(VARIABLE)
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("whit")))
            .or_else(|| Some(variable("HOME")?.join(".cache/whit")))
            .ok_or_else(|| format!("neither {VARIABLE} nor HOME is set: where are images to be kept?"))?;
        let cache = Self::at(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        cache.forget_older_than(KEPT);
        Ok(cache)
    }

    /// Opens a folder, which is made when it is missing.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn at(folder: &Path) -> io::Result<Self> {
        // Of its owner alone, as the XDG specification has it: an image's secrets are in the disks.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// A folder of its own in the cache, for what has an order of its own.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The file of a kind that was made from what `key` stands for; `make` writes it when it is not there.
    ///
    /// # Errors
    /// Those of `make`, and of writing.
    pub fn file(
        &self,
        kind: &str,
        key: &Key,
        make: impl FnOnce(&mut Output) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let path = self.0.join(format!("{kind}-{}", key.name()));
        let say = |error: io::Error| format!("{}: {error}", path.display());
        match File::open(&path) {
            // Used today; a cache that cannot be written to still serves.
            Ok(file) => drop(file.set_times(FileTimes::new().set_modified(SystemTime::now()))),
            Err(_) => {
                let mut output = Output::create_private(&path).map_err(say)?;
                make(&mut output)?;
                output.commit().map_err(say)?;
            }
        }
        Ok(path)
    }

    /// Removes files that were not asked for in so long.
    fn forget_older_than(&self, age: Duration) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        let is_old = |file: &fs::Metadata| {
            let unused = file.modified().map(|used| used.elapsed().unwrap_or_default());
            file.is_file() && unused.is_ok_and(|unused| unused > age)
        };
        for entry in entries.filter_map(Result::ok) {
            if entry.metadata().is_ok_and(|file| is_old(&file)) {
                // Another run may have been quicker.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// What a file is made from.
pub struct Key(blake3::Hasher);

impl Key {
    /// The program that makes the file is part of what it is made from: another build may make another one.
    ///
    /// # Errors
    /// Those of looking at the running program.
    pub fn new() -> io::Result<Self> {
        let program = std::env::current_exe()?.metadata()?;
        let mut key = Self(blake3::Hasher::new());
        key.add(&program.len().to_le_bytes());
        key.add(&program.mtime().to_le_bytes());
        key.add(&program.mtime_nsec().to_le_bytes());
        Ok(key)
    }

    /// Adds a value; where it ends is part of it.
    pub fn add(&mut self, value: &[u8]) -> &mut Self {
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Adds what a file holds.
    ///
    /// # Errors
    /// Those of reading.
    pub fn add_file(&mut self, path: &Path) -> io::Result<&mut Self> {
        let mut content = blake3::Hasher::new();
        content.update_reader(File::open(path)?)?;
        self.0.update(content.finalize().as_bytes());
        Ok(self)
    }

    fn name(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
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
    fn what_is_kept_is_its_owners_alone() {
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
    fn what_could_not_be_made_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let fail =
            |output: &mut Output| output.file().write_all(b"half").map_err(|_| String::new()).and(Err("no".into()));
        assert_eq!(cache.file("disk", &key(&[]), fail), Err("no".into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_tells_where_its_values_end() {
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
    }

    #[test]
    fn the_forgotten_goes_and_the_used_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let (old, used) = (folder.path().join("old"), cache.file("disk", &key(&[]), |_| Ok(())).unwrap());
        let long_ago = FileTimes::new().set_modified(SystemTime::now() - 2 * KEPT);
        for path in [&old, &used] {
            File::create(path).unwrap().set_times(long_ago).unwrap();
        }
        fs::create_dir(cache.folder("kernels")).unwrap();
        cache.file("disk", &key(&[]), |_| panic!("it is there")).unwrap();
        cache.forget_older_than(KEPT);
        assert!(!old.exists() && used.exists() && cache.folder("kernels").exists());
    }
}
