//! Temporary files and directories, which neither an error nor a signal leaves behind.
//!
//! Each is registered before it is made. SIGHUP, SIGINT and SIGTERM remove all that are registered; then the process ends by
//! the signal, as it does without a handler. A signal that was ignored at the start (nohup) stays ignored.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

/// The signals that end a tool.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// How often the removal of a directory starts again, while another thread still writes into it.
const MAX_ROUNDS: u32 = 1000;

/// All temporary paths of this process.
static REGISTER: Mutex<Register> = Mutex::new(Register { paths: Vec::new(), watch: Watch::None });

struct Register {
    paths: Vec<PathBuf>,
    watch: Watch,
}

/// Who answers the signals.
enum Watch {
    /// The system's default, as there is nothing to remove.
    None,
    /// The thread of this module.
    Own(Handle),
    /// A part of the program that ends in order, and so removes everything.
    Other,
}

/// A temporary file or directory. Dropping it removes it, with all that is in it.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes an empty file, open to read and write, in `directory`; `mode` is subject to the umask.
    ///
    /// # Errors
    /// Those of open(2), and of installing a signal handler.
    pub fn file(directory: &Path, prefix: &str, mode: u32) -> io::Result<(File, Self)> {
        make(directory, prefix, |path| OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path))
    }

    /// Makes a directory, which only its owner may enter, in `parent`.
    ///
    /// # Errors
    /// Those of mkdir(2), and of installing a signal handler.
    pub fn directory(parent: &Path, prefix: &str) -> io::Result<Self> {
        make(parent, prefix, |path| DirBuilder::new().mode(0o700).create(path)).map(|((), made)| made)
    }

    /// Makes the directory `path`, as if it were temporary until it is kept.
    ///
    /// # Errors
    /// Those of mkdir(2), and of installing a signal handler.
    pub fn named(path: &Path) -> io::Result<Self> {
        register(path)?;
        fs::create_dir(path).inspect_err(|_| forget(&mut lock(), path))?;
        Ok(Self(path.to_owned()))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves the file or directory where it is.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        let path = std::mem::take(&mut ManuallyDrop::new(self).0);
        forget(&mut lock(), &path);
        path
    }

    /// Lets `change` rename or unlink the file. A signal waits for it; on success there is nothing left to remove.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn settle(self, change: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut register = lock();
        change(&self.0)?;
        let path = std::mem::take(&mut ManuallyDrop::new(self).0);
        forget(&mut register, &path);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut register = lock();
        // Whatever led here was reported, or is success.
        let _ = remove(&self.0);
        forget(&mut register, &self.0);
    }
}

/// Waits while a signal's thread removes files, after which the process ends: its last message is not an error about a file
/// that is gone.
pub(super) fn wait_for_removal() {
    drop(lock());
}

/// The signals that end a tool and were not ignored when it started.
#[must_use]
pub fn ending_signals() -> Vec<i32> {
    let ignored = ignored_signals();
    ENDING.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0).collect()
}

/// Leaves the signals to another part of the program, which has its handlers installed and ends in order.
pub fn leave_signals() {
    if let Watch::Own(handle) = std::mem::replace(&mut lock().watch, Watch::Other) {
        handle.close();
    }
}

/// The mask of ignored signals (proc_pid_status(5), `SigIgn`); none where there is no /proc.
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
    Ok((value, Temporary(path.keep().map_err(|error| error.error)?)))
}

/// Registers a path that is to be made, and watches for signals from the first one on.
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
        // Held to the end: no other thread makes, renames or reports anything from here on.
        let register = lock();
        if matches!(register.watch, Watch::Other) {
            return;
        }
        for path in register.paths.iter().rev() {
            let _ = remove(path); // there is nobody to report to
        }
        let _ = emulate_default_handler(signal); // does not return
    });
    Ok(handle)
}

/// Removes a file, or a directory with all that is in it.
///
/// # Errors
/// Those of unlink(2), and of listing directories.
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

/// Removes a directory with all that is in it. Directories inside are moved to the top before they are emptied: a tree of any
/// depth takes two descriptors, and no stack.
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
            // It may have its final mode already, by which its owner cannot list it.
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

/// Moves a directory to `top`, under a name that is free there.
fn move_up(
    parent: &impl std::os::fd::AsFd,
    name: &OsString,
    top: &impl std::os::fd::AsFd,
    moved: &mut u64,
) -> Result<(), Errno> {
    // A directory that gets another parent is written to: its entry `..` changes.
    rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
    loop {
        *moved += 1;
        match renameat(parent, name, top, moved.to_string()) {
            // An empty directory of this name is replaced; anything else stays.
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
    fn what_is_dropped_is_gone_and_what_is_kept_stays() {
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
    fn a_tree_goes_however_deep_and_whatever_its_modes() {
        let folder = tempfile::tempdir().unwrap();
        let made = Temporary::directory(folder.path(), ".x-").unwrap();
        let mut at = openat(CWD, made.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        // Names that the removal may choose itself; deeper than a path can tell, and than there are descriptors.
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
