//! Temporary files and directories that are removed after errors and signals too.
//!
//! Each is registered before it is created. SIGHUP, SIGINT, SIGQUIT and SIGTERM remove all registered ones; then the process
//! ends by the signal, as it does without a handler. A signal that was ignored at the start (nohup) stays ignored.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, fchmod, flock, openat, renameat, unlinkat};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

/// The signals that end a tool.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// The most times that the removal of a directory restarts while another thread still writes into it.
const MAX_ROUNDS: u32 = 1000;

/// All temporary paths of this process.
static REGISTER: Mutex<Register> = Mutex::new(Register { paths: Vec::new(), watch: Watch::None });

struct Register {
    paths: Vec<PathBuf>,
    watch: Watch,
}

/// The handler of the signals.
enum Watch {
    /// The system's default: there is nothing to remove.
    None,
    /// The thread of this module.
    Own(Handle),
    /// Another part of the program, which ends normally and so removes everything.
    Other,
}

/// A temporary file or directory. Dropping it removes it with its contents.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    /// Locked while this process lives, for [`sweep`].
    _lock: Option<File>,
}

impl Temporary {
    /// Creates an empty file in `directory`, open for reading and writing; `mode` is subject to the umask.
    ///
    /// # Errors
    /// Errors of open(2), and of installing a signal handler.
    pub fn file(directory: &Path, prefix: &str, mode: u32) -> io::Result<(File, Self)> {
        make(directory, prefix, |path| OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path))
    }

    /// Creates a directory in `parent`, which only its owner may enter.
    ///
    /// # Errors
    /// Errors of mkdir(2), and of installing a signal handler.
    pub fn directory(parent: &Path, prefix: &str) -> io::Result<Self> {
        make(parent, prefix, |path| DirBuilder::new().mode(0o700).create(path)).map(|((), made)| made)
    }

    /// Creates a directory for sockets: in the directory of TMPDIR, or in /tmp if the names would be too long for the kernel there
    /// (`sun_path`, unix(7)).
    ///
    /// # Errors
    /// Those of [`Temporary::directory`].
    pub fn for_sockets() -> io::Result<Self> {
        /// With the directory's own name and a socket's, the path is shorter than 108 bytes.
        const MAX_PARENT: usize = 80;
        let fits = |path: &Path| path.as_os_str().len() <= MAX_PARENT;
        let parent = std::path::absolute(std::env::temp_dir())?;
        // Of a directory below the working directory, `socket` returns the rest.
        let working = std::env::current_dir().unwrap_or_default();
        let is_near = parent.strip_prefix(working).is_ok_and(fits);
        Self::directory(if fits(&parent) || is_near { &parent } else { Path::new("/tmp") }, RUN)
    }

    /// Creates the directory `path`, which is temporary until [`Temporary::keep`].
    ///
    /// # Errors
    /// Errors of mkdir(2), and of installing a signal handler.
    pub fn named(path: &Path) -> io::Result<Self> {
        register(path)?;
        fs::create_dir(path).inspect_err(|_| forget(&mut lock(), path))?;
        Ok(Self { path: path.to_owned(), _lock: None })
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a socket in the directory: relative to the working directory if it is too long for the kernel otherwise.
    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        /// `sun_path` of unix(7), with its NUL.
        const MAX_SOCKET: usize = 108;
        let path = self.path.join(name);
        let working = std::env::current_dir().unwrap_or_default();
        match path.strip_prefix(working) {
            Ok(short) if path.as_os_str().len() >= MAX_SOCKET => Path::new(".").join(short),
            _ => path,
        }
    }

    /// Makes the file or directory permanent.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        let path = self.into_path();
        forget(&mut lock(), &path);
        path
    }

    /// Calls `change`, which renames or unlinks the file. Signals wait for it. After success the file is not temporary any more.
    ///
    /// # Errors
    /// Errors of `change`.
    pub fn settle(self, change: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut register = lock();
        change(&self.path)?;
        let path = self.into_path();
        forget(&mut register, &path);
        Ok(())
    }

    /// Returns the path; the file or directory stays, and the lock ends.
    fn into_path(self) -> PathBuf {
        let mut this = ManuallyDrop::new(self);
        this._lock = None;
        std::mem::take(&mut this.path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut register = lock();
        // The error that led here was reported; an error of the removal is ignored.
        let _ = remove(&self.path);
        forget(&mut register, &self.path);
    }
}

/// The prefix of the temporary files and directories of one run of a machine, which [`sweep`] removes.
pub const RUN: &str = "whit-run-";
/// The length of the random end of their names (tempfile).
const RANDOM: usize = 6;
/// The least age of what [`sweep`] removes: a younger one may not be locked yet.
const MIN_AGE: Duration = Duration::from_secs(2);

/// Removes this user's temporary files and directories of [`RUN`] in `parent`, whose processes were killed.
pub fn sweep(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    let Ok(device) = parent.metadata().map(|metadata| metadata.dev()) else { return };
    let is_left = |name: &[u8], metadata: &Metadata| {
        let random = name.strip_prefix(RUN.as_bytes());
        let mode = if metadata.is_dir() { 0o700 } else { 0o600 };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        random.is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric))
            && (metadata.is_dir() || metadata.is_file())
            && metadata.mode() & 0o7777 == mode
            && metadata.uid() == user
            && metadata.dev() == device // no mount point
            && age.is_some_and(|age| age >= MIN_AGE)
    };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.metadata().is_ok_and(|metadata| is_left(entry.file_name().as_encoded_bytes(), &metadata)) {
            continue;
        }
        let path = entry.path();
        // Errors are ignored: what cannot be removed does no harm.
        if let Ok(file) = File::open(&path)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = remove(&path);
        }
    }
}

/// Waits while the signal thread removes files, after which the process ends. This prevents an error message about a file that
/// the thread has removed.
pub(super) fn wait_for_removal() {
    drop(lock());
}

/// Returns the signals that end a tool and were not ignored when it started.
#[must_use]
pub fn ending_signals() -> Vec<i32> {
    not_ignored(&ENDING)
}

/// Removes all temporary files, and ends the process by this signal. Returns if another thread ends it.
pub fn end_by(signal: i32) {
    // Held until the process ends: no other thread creates, renames or reports anything from here on.
    let register = lock();
    for path in register.paths.iter().rev() {
        let _ = remove(path); // the process ends; errors cannot be reported
    }
    let _ = emulate_default_handler(signal); // does not return for a signal that ends a process
}

/// Returns those of the signals that were not ignored when the process started.
#[must_use]
pub fn not_ignored(signals: &[i32]) -> Vec<i32> {
    let ignored = ignored_signals();
    signals.iter().copied().filter(|signal| ignored >> (signal - 1) & 1 == 0).collect()
}

/// Stops handling signals: another part of the program has installed its handlers, and ends normally.
pub fn leave_signals() {
    if let Watch::Own(handle) = std::mem::replace(&mut lock().watch, Watch::Other) {
        handle.close();
    }
}

/// Returns the mask of ignored signals (proc_pid_status(5), `SigIgn`); none where there is no /proc.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn make<T>(parent: &Path, prefix: &str, mut create: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(T, Temporary)> {
    let made = tempfile::Builder::new().prefix(prefix).make_in(parent, |path| {
        register(path)?;
        create(path).inspect_err(|_| forget(&mut lock(), path))
    })?;
    let (value, path) = made.into_parts();
    let path = path.keep().map_err(|error| error.error)?;
    let lock = File::open(&path).and_then(|file| Ok(flock(&file, FlockOperation::LockShared).map(|()| file)?));
    Ok((value, Temporary { path, _lock: lock.ok() }))
}

/// Registers a path before its creation; the first one starts the signal thread.
fn register(path: &Path) -> io::Result<()> {
    let mut register = lock();
    if matches!(register.watch, Watch::None) {
        register.watch = Watch::Own(watch()?);
    }
    register.paths.push(path.to_owned());
    Ok(())
}

fn forget(register: &mut Register, path: &Path) {
    register.paths.retain(|other| other != path);
}

fn lock() -> MutexGuard<'static, Register> {
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch() -> io::Result<Handle> {
    let mut signals = Signals::new(ending_signals())?;
    let handle = signals.handle();
    thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        let register = lock();
        if matches!(register.watch, Watch::Other) {
            return;
        }
        drop(register);
        end_by(signal);
    });
    Ok(handle)
}

/// Removes a file, or a directory with its contents.
///
/// # Errors
/// Errors of unlink(2), and of listing directories.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
        result => return result,
    }
    let mut rounds = 0;
    loop {
        match remove_tree(path) {
            Err(Errno::NOTEMPTY) if rounds < MAX_ROUNDS => rounds += 1,
            result => return Ok(result?),
        }
    }
}

/// Removes a directory with its contents. Subdirectories move to the top before they are emptied, so that a tree of any depth
/// needs two descriptors and no recursion.
fn remove_tree(path: &Path) -> Result<(), Errno> {
    const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let top = openat(CWD, path, FLAGS, Mode::empty())?;
    fchmod(&top, Mode::RWXU)?;
    let mut moved = 0_u64;
    loop {
        let names = names(&top)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            match unlinkat(&top, &name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {}
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            }
            // It may already have its final mode, which can deny its owner access.
            rustix::fs::chmodat(&top, &name, Mode::RWXU, AtFlags::empty())?;
            let inner = openat(&top, &name, FLAGS, Mode::empty())?;
            for name in self::names(&inner)? {
                match unlinkat(&inner, &name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => move_up(&inner, &name, &top, &mut moved)?,
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                }
            }
            unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    unlinkat(CWD, path, AtFlags::REMOVEDIR)
}

fn names(directory: &impl std::os::fd::AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Moves a directory to `top`, under an unused name.
fn move_up(
    parent: &impl std::os::fd::AsFd,
    name: &OsString,
    top: &impl std::os::fd::AsFd,
    moved: &mut u64,
) -> Result<(), Errno> {
    // Moving a directory to another parent needs write permission for it: its entry `..` changes.
    rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
    loop {
        *moved += 1;
        match renameat(parent, name, top, moved.to_string()) {
            // rename(2) replaces an empty directory of this name; for any other file, the next name is tried.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn count(path: &Path) -> usize {
        fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn dropped_files_are_removed_and_kept_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, dropped) = Temporary::file(folder.path(), ".x-", 0o600).unwrap();
        let directory = Temporary::directory(folder.path(), ".y-").unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let named = Temporary::named(&folder.path().join("named")).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(directory.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(count(folder.path()), 3);
        drop((dropped, directory));
        assert_eq!(named.keep(), folder.path().join("named"));
        assert_eq!(count(folder.path()), 1);
        assert!(Temporary::named(&folder.path().join("named")).is_err());
    }

    #[test]
    fn what_a_killed_process_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let old = |path: &Path| {
            let time = std::time::SystemTime::now() - 2 * MIN_AGE;
            File::open(path).unwrap().set_modified(time).unwrap();
        };
        let used = Temporary::directory(folder.path(), RUN).unwrap();
        let (_file, used_file) = Temporary::file(folder.path(), RUN, 0o600).unwrap();
        let at = |name: &str| folder.path().join(name);
        let others = ["whit-run-young1", "whit-run-src", "whit-src", "whit-run-access"];
        for name in ["whit-run-abcDEF"].iter().chain(&others) {
            DirBuilder::new().mode(if *name == "whit-run-access" { 0o755 } else { 0o700 }).create(at(name)).unwrap();
            fs::write(at(name).join("file"), "").unwrap();
        }
        fs::rename(at("whit-run-access"), at("whit-run-other1")).unwrap();
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(at("whit-run-123456")).unwrap();
        fs::write(at("whit-run-654321"), "a disk").unwrap();
        std::os::unix::fs::symlink("whit-src", at("whit-run-linked")).unwrap();
        for name in
            ["whit-run-abcDEF", "whit-run-src", "whit-src", "whit-run-other1", "whit-run-123456", "whit-run-654321"]
        {
            old(&at(name));
        }
        old(used.path());
        old(used_file.path());
        sweep(folder.path());
        assert!(!at("whit-run-abcDEF").exists() && !at("whit-run-123456").exists());
        assert!(used.path().exists() && used_file.path().exists());
        assert!(at("whit-src/file").exists() && at("whit-run-other1/file").exists() && at("whit-run-654321").exists());
        assert_eq!(count(folder.path()), 8);
        sweep(Path::new("/nowhere"));
    }

    #[test]
    fn a_tree_of_any_depth_and_mode_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let made = Temporary::directory(folder.path(), ".x-").unwrap();
        let mut at = openat(CWD, made.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        // Names that the removal uses itself; a tree deeper than PATH_MAX and the limit of descriptors.
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "1", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/etc/passwd", &at, "2").unwrap();
            let next = openat(&at, "1", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            fchmod(&at, Mode::RUSR | Mode::XUSR).unwrap();
            at = next;
        }
        drop(made);
        assert_eq!(count(folder.path()), 0);
    }

    #[test]
    fn the_signals_of_a_test_are_not_ignored() {
        assert!(ending_signals().contains(&SIGTERM));
    }
}
