//! Shared folders and files of the host: `-v DIR:/PATH`, by virtiofs or 9p.
//!
//! 9p is a part of QEMU; virtiofs needs a daemon for each folder, and is faster. Debian's cloud kernels support only virtiofs. A file is
//! shared as a folder that has it alone.

mod daemon;
mod file;

use std::path::PathBuf;
use std::str::FromStr;

use super::Kernel;

pub use daemon::Daemon;
pub use file::Link;

/// A shared folder or file: `SOURCE:/PATH[:ro|:rw]`, as for `docker run -v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The folder of the host, or the file.
    pub folder: PathBuf,
    /// Its path in the machine.
    pub path: String,
    /// Whether it is read-only in the machine.
    pub read_only: bool,
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The last colon before a slash: a folder's name may contain others.
        let colon = text.rfind(":/").filter(|colon| *colon > 0).ok_or("not DIR:/PATH or DIR:/PATH:ro")?;
        let (folder, path) = (&text[..colon], &text[colon + 1..]);
        let (path, options) = path.split_once(':').unwrap_or((path, "rw"));
        let modes = options.split(',').map(mode).collect::<Result<Vec<Option<bool>>, String>>()?;
        let mut modes = modes.into_iter().flatten();
        let read_only = modes.next().unwrap_or(false);
        if modes.any(|mode| mode != read_only) {
            return Err(format!("\"{options}\" is both ro and rw"));
        }
        if path.split('/').all(|name| name.is_empty() || name == ".") {
            return Err("/ is the image's root: choose a folder in it".into());
        }
        Ok(Self { folder: folder.into(), path: path.to_owned(), read_only })
    }
}

/// Returns whether a mode of docker's is read-only; `None` for those without a meaning in a machine: SELinux labels and the consistency of
/// Docker Desktop.
fn mode(option: &str) -> Result<Option<bool>, String> {
    match option {
        "ro" => Ok(Some(true)),
        "rw" => Ok(Some(false)),
        "z" | "Z" | "cached" | "consistent" | "delegated" => Ok(None),
        _ => Err(format!("\"{option}\" is no option that runvm knows: ro, rw, z and Z are; a path has no colon")),
    }
}

impl Volume {
    /// Checks that the folder or the file exists.
    ///
    /// # Errors
    /// A message of one line.
    pub fn check(&self) -> Result<(), String> {
        let describe = |problem: String| format!("-v {}: {problem}", self.folder.display());
        let metadata = self.folder.metadata().map_err(|error| describe(error.to_string()))?;
        if metadata.is_file() && self.path.ends_with('/') {
            Err(describe(format!("is a file, but {} is a folder; end it with the file's name", self.path)))
        } else if metadata.is_dir() || metadata.is_file() {
            Ok(())
        } else {
            Err(describe("is neither a folder nor a regular file".into()))
        }
    }

    /// Returns whether it is a single file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.folder.is_file()
    }

    /// Returns whether 9p is the better way to share it: every QEMU can make that read-only. Of root, a mount namespace makes a single file
    /// read-only for any daemon.
    fn prefers_plan9(&self, is_root: bool) -> bool {
        self.read_only && !(is_root && self.is_file())
    }
}

/// The way to share a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ShareKind {
    /// virtiofs, by a daemon; faster.
    Virtiofs,
    /// 9p, by QEMU itself.
    #[value(name = "9p")]
    Plan9,
}

impl ShareKind {
    /// Returns the kind that the kernel and the host support: virtiofs if its daemon is installed, else 9p; 9p if possible for what virtiofs
    /// may not make read-only, and for a user whom the daemon does not serve.
    ///
    /// # Errors
    /// A message of one line with the missing program or feature.
    pub fn choose(kernel: &Kernel, volume: &Volume, is_root: bool) -> Result<Self, String> {
        let (plan9, virtiofs) = (kernel.has("9p"), kernel.has("virtiofs"));
        let daemon = daemon::find();
        let prefers_plan9 =
            volume.prefers_plan9(is_root) || !is_root && daemon.as_deref().is_some_and(daemon::needs_root);
        let kind = match (virtiofs && daemon.is_some(), plan9) {
            (true, true) if !prefers_plan9 => Self::Virtiofs,
            (true, false) => Self::Virtiofs,
            (_, true) => Self::Plan9,
            (false, false) if virtiofs => {
                return Err("-v: virtiofsd is not installed, and this kernel has no 9p; on Debian: apt-get install \
                            qemu-system-common, or virtiofsd"
                    .into());
            }
            (false, false) => return Err("-v: this kernel has neither virtiofs nor 9p".into()),
        };
        Ok(kind)
    }

    /// Returns the kernel modules that it needs.
    #[must_use]
    pub const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Virtiofs => &["virtiofs"],
            Self::Plan9 => &["9pnet_virtio", "9p"],
        }
    }

    /// Returns the name of the file system type, which precedes a tag.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Virtiofs => "virtiofs",
            Self::Plan9 => "9p",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_volume_is_a_folder_and_a_path() {
        let volume =
            |folder: &str, path: &str, read_only| Ok(Volume { folder: folder.into(), path: path.into(), read_only });
        for (text, expected) in [
            ("/srv:/data", volume("/srv", "/data", false)),
            (".:/data:ro", volume(".", "/data", true)),
            ("a/b:/b:rw", volume("a/b", "/b", false)),
            (".:/data:ro,z", volume(".", "/data", true)),
            (".:/data:Z", volume(".", "/data", false)),
            (".:/data:cached,ro", volume(".", "/data", true)),
            ("a:b:/c", volume("a:b", "/c", false)),
            ("/a:/b:/c", volume("/a:/b", "/c", false)),
        ] {
            assert_eq!(text.parse::<Volume>(), expected, "{text}");
        }
        for text in
            ["", "/srv", ":/data", "name", "/srv:data", "/srv:/data:rx", "/srv:/", "/srv://./:ro", "/srv:/a:ro,rw"]
        {
            assert!(text.parse::<Volume>().is_err(), "{text}");
        }
        let error = "/srv:/data:ro,nocopy".parse::<Volume>().unwrap_err();
        assert!(error.starts_with("\"nocopy\" is no option that runvm knows"), "{error}");
    }

    #[test]
    fn what_a_daemon_may_not_protect_is_shared_by_9p() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, read_only, is_root, expected) in [
            (folder.path(), true, true, true),
            (folder.path(), true, false, true),
            (&file, true, true, false),
            (&file, true, false, true),
            (&file, false, false, false),
        ] {
            let volume = Volume { folder: path.into(), path: "/a".into(), read_only };
            assert_eq!(volume.prefers_plan9(is_root), expected, "{path:?} {read_only} {is_root}");
        }
    }

    #[test]
    fn folders_and_regular_files_are_shared() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let check = |path: &Path, end: &str| Volume { folder: path.into(), path: end.into(), read_only: false }.check();
        assert_eq!(check(folder.path(), "/"), Ok(()));
        assert_eq!(check(&file, "/etc/file"), Ok(()));
        let error = check(&file, "/etc/").unwrap_err();
        assert!(error.ends_with("file: is a file, but /etc/ is a folder; end it with the file's name"), "{error}");
        assert!(check(&folder.path().join("absent"), "/a").unwrap_err().contains("No such file"));
        assert!(check(Path::new("/dev/null"), "/a").unwrap_err().ends_with("is neither a folder nor a regular file"));
    }
}
