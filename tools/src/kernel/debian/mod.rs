//! Fetches kernels and programs from Debian's archive, for the demo and for the tests.
//!
//! Nothing is installed, and root is not needed. `apt-get download` fetches packages, and so verifies origin and content;
//! dpkg-deb unpacks each into its own folder below `target/`. An unpacked package is not fetched again. Package lists that
//! are missing or too old are fetched into a private copy; those of the system do not change.

mod apt;
mod kernel;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::temporary::Temporary;
use crate::machine::Machine;
use apt::Apt;

/// A kernel in its unpacked package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The release, as `uname -r` prints it: `6.12.117+deb12-cloud-amd64`.
    pub release: String,
    /// The compressed kernel, for QEMU's `-kernel`.
    pub vmlinuz: PathBuf,
    /// The folder with `kernel/`, `modules.builtin` and `modules.order`, without depmod's files.
    pub modules: PathBuf,
}

/// A flavour of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// For virtual machines: virtio and little else. Up to 6.1 its modules are plain, later ones are compressed.
    Cloud,
    /// For any machine: ATA disks, e1000 and the like.
    Generic,
}

/// Why a package cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of Debian is not installed.
    #[error("{0} is not installed; it is needed to fetch Debian's packages")]
    NoProgram(&'static str),
    /// The archive does not have the package.
    #[error("apt offers no {0}")]
    NotOffered(String),
    /// Fetching failed.
    #[error("fetching {what}: {detail}")]
    Fetch {
        /// The package, or the lists.
        what: String,
        /// The message of apt.
        detail: String,
    },
    /// A fetched package is invalid.
    #[error("{what}: {detail}")]
    Package {
        /// The package, or a file of it.
        what: String,
        /// The problem.
        detail: String,
    },
    /// The store's folder cannot be used.
    #[error("{path}: {error}", path = path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Returns the newest kernel of a flavour in the folder of a [`Store`], without asking apt.
#[must_use]
pub fn kept_kernel(folder: &Path, machine: Machine, flavour: Flavour) -> Option<Kernel> {
    let folder = &of_machine(folder, machine);
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    kernel::newest_kept(folder, &names, machine, flavour)
}

/// Returns the folder of a machine's packages: those of another machine than the host are in a folder of their own.
fn of_machine(folder: &Path, machine: Machine) -> PathBuf {
    if machine == Machine::HOST { folder.to_owned() } else { folder.join(machine.image()) }
}

/// The folder with all fetched packages. One process at a time uses it; others wait for its lock.
pub struct Store {
    folder: PathBuf,
    apt: Apt,
    say: fn(&str),
    _lock: File,
}

impl Store {
    /// Opens `folder`, and creates it if necessary. Calls `say` before long steps.
    ///
    /// # Errors
    /// A folder that cannot be created or locked.
    pub fn open(folder: &Path, say: fn(&str)) -> Result<Self, Error> {
        Self::open_for(folder, Machine::HOST, say)
    }

    /// Opens the packages of a machine. No foreign architecture has to be added to dpkg for them.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn open_for(folder: &Path, machine: Machine, say: fn(&str)) -> Result<Self, Error> {
        let folder = &of_machine(folder, machine);
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let folder = folder.canonicalize().map_err(at(folder))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        Ok(Self { apt: Apt::new(&folder, machine), folder, say, _lock: lock })
    }

    /// Returns the newest kernel of a flavour that apt offers; with `series` ("6.1"), of that series only.
    ///
    /// # Errors
    /// [`Error::NotOffered`] if apt has none; errors of fetching.
    pub fn kernel(&mut self, flavour: Flavour, series: Option<&str>) -> Result<Kernel, Error> {
        self.fresh(|store| {
            let (name, version) = kernel::newest(&store.apt, flavour, series)?;
            kernel::in_package(&store.unpacked(&name, &version)?, &name)
        })
    }

    /// Returns the oldest series of kernels that apt offers, for [`Store::kernel`].
    ///
    /// # Errors
    /// [`Error::NotOffered`] if apt has none; errors of fetching.
    pub fn oldest_series(&mut self, flavour: Flavour) -> Result<String, Error> {
        self.fresh(|store| kernel::oldest_series(&store.apt, flavour))
    }

    /// Returns the path of a statically linked busybox.
    ///
    /// # Errors
    /// [`Error::NotOffered`] if apt has none; errors of fetching.
    pub fn busybox(&mut self) -> Result<PathBuf, Error> {
        self.fresh(|store| {
            let version = store.apt.candidate("busybox-static")?;
            let package = store.unpacked("busybox-static", &version)?;
            first_of(&package, &["usr/bin/busybox", "bin/busybox"]) // since Debian 13, before
        })
    }

    /// Returns the folder of an unpacked package.
    ///
    /// # Errors
    /// [`Error::NotOffered`] if apt does not have it; errors of fetching.
    pub fn package(&mut self, name: &str) -> Result<PathBuf, Error> {
        self.fresh(|store| {
            let version = store.apt.candidate(name)?;
            store.unpacked(name, &version)
        })
    }

    /// Returns the version of a package that apt offers.
    ///
    /// # Errors
    /// [`Error::NotOffered`] if apt does not have it; errors of fetching.
    pub fn version(&mut self, name: &str) -> Result<String, Error> {
        self.fresh(|store| store.apt.candidate(name))
    }

    /// Returns the machine of the packages.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.apt.machine()
    }

    /// Returns the folder with the fetched packages and files derived from them.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns names and versions of those of `names` that apt offers.
    ///
    /// # Errors
    /// Errors of running apt.
    pub fn candidates(&self, names: &[&str]) -> Result<Vec<(String, String)>, Error> {
        self.apt.candidates(names)
    }

    /// Returns the version of a package that apt offers, without fetching lists.
    ///
    /// # Errors
    /// [`Error::NotOffered`] if apt does not have it.
    pub fn candidate(&self, name: &str) -> Result<String, Error> {
        self.apt.candidate(name)
    }

    /// Returns the packages that `names` depend on.
    ///
    /// # Errors
    /// Errors of running apt.
    pub fn depends(&self, names: &[&str]) -> Result<Vec<String>, Error> {
        self.apt.depends(names)
    }

    /// Calls `attempt`, which needs package lists; on failure, fetches new lists and repeats it.
    ///
    /// # Errors
    /// Errors of the last attempt, and of fetching the lists.
    pub fn fresh<T>(&mut self, attempt: impl Fn(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        match attempt(self) {
            Err(Error::NotOffered(_) | Error::Fetch { .. }) if !self.apt.is_renewed() => {
                (self.say)("fetching package lists");
                let renewed = self.apt.renew();
                attempt(self).map_err(|error| {
                    self.apt.discard();
                    renewed.err().unwrap_or(error) // a network error explains a missing package better
                })
            }
            other => other,
        }
    }

    /// Returns the folder of an unpacked package, and fetches it if necessary.
    fn unpacked(&self, name: &str, version: &str) -> Result<PathBuf, Error> {
        let folder = self.folder.join(format!("{name}_{version}"));
        if folder.is_dir() {
            return Ok(folder);
        }
        // The folder gets its name only when it is complete.
        let temporary = self.temporary()?;
        let root = temporary.path().join("root");
        for archive in self.archives(&[name], temporary.path())? {
            run("dpkg-deb", Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&root), name)?;
        }
        std::fs::rename(&root, &folder).map_err(at(&folder))?;
        Ok(folder)
    }

    /// Downloads the archives of packages into the empty folder `into`.
    ///
    /// # Errors
    /// Errors of fetching.
    pub fn archives(&self, names: &[&str], into: &Path) -> Result<Vec<PathBuf>, Error> {
        (self.say)(&format!("fetching {}", names.join(", ")));
        self.apt.download(names, into)
    }

    /// Makes a temporary folder below that of the store.
    ///
    /// # Errors
    /// A folder that cannot be created.
    pub fn temporary(&self) -> Result<Temporary, Error> {
        Temporary::directory(&self.folder, ".new-").map_err(at(&self.folder))
    }
}

/// Runs a program to its end and returns its output.
///
/// # Errors
/// [`Error::NoProgram`], or [`Error::Package`] with what it printed.
pub fn run(program: &'static str, command: &mut Command, what: &str) -> Result<Vec<u8>, Error> {
    let output = command.env("LC_ALL", "C").output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoProgram(program),
        _ => Error::Package { what: program.into(), detail: error.to_string() },
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Package { what: what.into(), detail: cause(&output.stderr, program) })
}

/// Returns the line with the cause: apt's first error, or the first line of a program without such a mark.
fn cause(stderr: &[u8], program: &str) -> String {
    let text = String::from_utf8_lossy(stderr);
    let marked = text.lines().find_map(|line| line.strip_prefix("E: "));
    let first = || text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("W: "));
    marked.or_else(first).map_or_else(|| format!("{program} failed without a message"), |line| line.trim().to_owned())
}

fn first_of(package: &Path, places: &[&str]) -> Result<PathBuf, Error> {
    let found = places.iter().map(|place| package.join(place)).find(|path| path.exists());
    found.ok_or_else(|| Error::Package {
        what: package.display().to_string(),
        detail: format!("the package has no {}", places.join(", no ")),
    })
}

/// Converts an error at `path` to [`Error::Folder`].
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Folder { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_the_cause() {
        let apt = b"W: unsandboxed\nE: Failed to fetch http://x  404 Not Found\nE: Unable to fetch some archives\n";
        assert_eq!(cause(apt, "apt-get"), "Failed to fetch http://x  404 Not Found");
        let tar = b"\ntar: root: Cannot mkdir\ntar: Exiting with failure status\n";
        assert_eq!(cause(tar, "tar"), "tar: root: Cannot mkdir");
        assert_eq!(cause(b"W: only a warning\n", "apt-get"), "apt-get failed without a message");
    }

    #[test]
    fn the_error_for_an_unusable_folder_has_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Store::open(&file.join("store"), |_| {}).err().unwrap().to_string();
        assert!(error.starts_with(&format!("{}/store: ", file.display())), "{error}");
    }

    #[test]
    fn the_error_for_a_missing_program_has_its_name() {
        let error = run("no-such-dpkg-deb", &mut Command::new("no-such-dpkg-deb"), "nginx").unwrap_err();
        assert_eq!(error.to_string(), "no-such-dpkg-deb is not installed; it is needed to fetch Debian's packages");
    }
}
