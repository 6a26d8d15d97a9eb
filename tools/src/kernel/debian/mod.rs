//! Kernels and programs out of Debian's archive, for the demo and for the tests.
//!
//! Nothing is installed and nobody is root: packages are fetched by `apt-get download`, so with apt's own checks of
//! origin and content, and unpacked by dpkg-deb into folders of their own below `target/`. What is there is not fetched
//! again. Lists that are missing or too old are renewed in a private copy, the system's stay as they are.

mod apt;
mod kernel;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::temporary::Temporary;
use apt::Apt;

/// A kernel as its package has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says in it: `6.12.117+deb12-cloud-amd64`.
    pub release: String,
    /// The compressed kernel that QEMU's `-kernel` takes.
    pub vmlinuz: PathBuf,
    /// The folder with `kernel/`, `modules.builtin` and `modules.order`; depmod has not been there.
    pub modules: PathBuf,
}

/// Which of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// For virtual machines: virtio and little else. Up to 6.1 its modules are plain, later ones are compressed.
    Cloud,
    /// For any machine: ATA disks, e1000 and the like.
    Generic,
}

/// Why something of Debian's is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This is not a Debian machine, or a strange one.
    #[error("{0} is not installed: Debian's packages are fetched with it")]
    NoProgram(&'static str),
    /// The archive does not have it.
    #[error("apt offers no {0}")]
    NotOffered(String),
    /// The archive could not be asked, or did not answer.
    #[error("fetching {what}: {detail}")]
    Fetch {
        /// What was asked for.
        what: String,
        /// What apt said.
        detail: String,
    },
    /// A package was there and is not what it should be.
    #[error("{what}: {detail}")]
    Package {
        /// The package, or a file of it.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The folder that keeps what was fetched fails.
    #[error("{path}: {error}", path = path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The newest kernel of a flavour in the folder of a [`Store`], without a look at the archive.
#[must_use]
pub fn kept_kernel(folder: &Path, flavour: Flavour) -> Option<Kernel> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    kernel::newest_kept(folder, &names, flavour)
}

/// The folder with everything that was fetched. One process at a time works in it; others wait for its lock.
pub struct Store {
    folder: PathBuf,
    apt: Apt,
    say: fn(&str),
    _lock: File,
}

impl Store {
    /// Opens `folder`, making it when there is none. `say` is told of what takes a while.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub fn open(folder: &Path, say: fn(&str)) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let folder = folder.canonicalize().map_err(at(folder))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        Ok(Self { apt: Apt::new(&folder), folder, say, _lock: lock })
    }

    /// The newest kernel that apt offers of a flavour; with `series` ("6.1"), of that series alone.
    ///
    /// # Errors
    /// [`Error::NotOffered`] when apt has none, and those of fetching.
    pub fn kernel(&mut self, flavour: Flavour, series: Option<&str>) -> Result<Kernel, Error> {
        self.fresh(|store| {
            let (name, version) = kernel::newest(&store.apt, flavour, series)?;
            kernel::in_package(&store.unpacked(&name, &version)?, &name)
        })
    }

    /// The oldest series that apt offers a kernel of, as [`Store::kernel`] takes it.
    ///
    /// # Errors
    /// [`Error::NotOffered`] when apt has none, and those of fetching.
    pub fn oldest_series(&mut self, flavour: Flavour) -> Result<String, Error> {
        self.fresh(|store| kernel::oldest_series(&store.apt, flavour))
    }

    /// A statically linked busybox.
    ///
    /// # Errors
    /// [`Error::NotOffered`] when apt has none, and those of fetching.
    pub fn busybox(&mut self) -> Result<PathBuf, Error> {
        self.fresh(|store| {
            let version = store.apt.candidate("busybox-static")?;
            let package = store.unpacked("busybox-static", &version)?;
            first_of(&package, &["usr/bin/busybox", "bin/busybox"]) // since Debian 13, before
        })
    }

    /// The folder of any package that apt offers, unpacked.
    ///
    /// # Errors
    /// [`Error::NotOffered`] when apt does not have it, and those of fetching.
    pub fn package(&mut self, name: &str) -> Result<PathBuf, Error> {
        self.fresh(|store| {
            let version = store.apt.candidate(name)?;
            store.unpacked(name, &version)
        })
    }

    /// The version of a package that apt offers.
    ///
    /// # Errors
    /// [`Error::NotOffered`] when apt does not have it, and those of fetching.
    pub fn version(&mut self, name: &str) -> Result<String, Error> {
        self.fresh(|store| store.apt.candidate(name))
    }

    /// The folder that keeps what was fetched, and what was made of it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names and versions of those of `names` that apt offers.
    ///
    /// # Errors
    /// Those of asking apt.
    pub fn candidates(&self, names: &[&str]) -> Result<Vec<(String, String)>, Error> {
        self.apt.candidates(names)
    }

    /// The version of a package that apt offers, by the lists as they are.
    ///
    /// # Errors
    /// [`Error::NotOffered`] when apt does not have it.
    pub fn candidate(&self, name: &str) -> Result<String, Error> {
        self.apt.candidate(name)
    }

    /// The packages that those of `names` depend on.
    ///
    /// # Errors
    /// Those of asking apt.
    pub fn depends(&self, names: &[&str]) -> Result<Vec<String>, Error> {
        self.apt.depends(names)
    }

    /// Makes an attempt that needs package lists; repeats it with new lists when they fall short.
    ///
    /// # Errors
    /// Those of the last attempt, and those of fetching the lists.
    pub fn fresh<T>(&mut self, attempt: impl Fn(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        match attempt(self) {
            Err(Error::NotOffered(_) | Error::Fetch { .. }) if !self.apt.is_renewed() => {
                (self.say)("fetching package lists");
                let renewed = self.apt.renew();
                attempt(self).map_err(|error| {
                    self.apt.discard();
                    renewed.err().unwrap_or(error) // no network rather than no such package
                })
            }
            other => other,
        }
    }

    /// The folder of an unpacked package, fetched when it is not there yet.
    fn unpacked(&self, name: &str, version: &str) -> Result<PathBuf, Error> {
        let folder = self.folder.join(format!("{name}_{version}"));
        if folder.is_dir() {
            return Ok(folder);
        }
        // Under its name only when it is complete.
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
    /// Those of fetching.
    pub fn archives(&self, names: &[&str], into: &Path) -> Result<Vec<PathBuf>, Error> {
        (self.say)(&format!("fetching {}", names.join(", ")));
        self.apt.download(names, into)
    }

    /// Makes a temporary folder below that of the store.
    ///
    /// # Errors
    /// When there is no room.
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

/// The line that names the cause: apt's first error, or the first line of a program that marks none.
fn cause(stderr: &[u8], program: &str) -> String {
    let text = String::from_utf8_lossy(stderr);
    let marked = text.lines().find_map(|line| line.strip_prefix("E: "));
    let first = || text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("W: "));
    marked.or_else(first).map_or_else(|| format!("{program} failed and said nothing"), |line| line.trim().to_owned())
}

fn first_of(package: &Path, places: &[&str]) -> Result<PathBuf, Error> {
    let found = places.iter().map(|place| package.join(place)).find(|path| path.exists());
    found.ok_or_else(|| Error::Package {
        what: package.display().to_string(),
        detail: format!("the package has no {}", places.join(", no ")),
    })
}

/// Makes an [`Error::Folder`] of an error at `path`.
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
        assert_eq!(cause(b"W: only a warning\n", "apt-get"), "apt-get failed and said nothing");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Store::open(&file.join("store"), |_| {}).err().unwrap().to_string();
        assert!(error.starts_with(&format!("{}/store: ", file.display())), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run("no-such-dpkg-deb", &mut Command::new("no-such-dpkg-deb"), "nginx").unwrap_err();
        assert_eq!(error.to_string(), "no-such-dpkg-deb is not installed: Debian's packages are fetched with it");
    }
}
