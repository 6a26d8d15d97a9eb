//! A disk as the root of a machine that cannot have the container's folder itself: its kernel has no virtiofs, or the host no virtiofsd.
//!
//! The disk is made at the start, as mkraw makes one from a folder: a file without a name, which ends with the machine. What the machine
//! writes is on it: the engine does not see that, and folders of the host cannot be shared. Single files, as the engine's hosts and
//! resolv.conf, are copied.
//!
//! The file is on the file system of the container's root folder: a bundle of containerd's is on a tmpfs, whose memory the disk would take.
//! It is sparse, so that its free space takes nothing on the host until the machine writes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::fstatvfs;

use super::config::Shared;
use crate::disk::ext4::Size;
use crate::disk::image::{self, Input, Options};

/// The free space of a disk; less if the host has less.
const FREE: u64 = 4 << 30;

/// Refuses a mount that the machine would have to share. `why` is the reason for the disk.
pub(super) fn check(mounts: &[Shared], why: &str) -> Result<(), String> {
    for Shared { path, source, .. } in mounts {
        let problem = match source {
            None => "a machine without virtiofs has no tmpfs with another mount in it: that is in its host's memory",
            Some(source) if source.is_dir() => "a machine without virtiofs has no folders of its host",
            Some(_) => continue,
        };
        return Err(format!("mount {}: {why}: {problem}", path.display()));
    }
    Ok(())
}

/// Makes the disk from the tree, on the file system of the first of `folders` that takes a file: a root folder may be read-only. Returns
/// its path, which leads to the open file.
pub(super) fn make(tree: &Path, folders: [&Path; 2]) -> Result<(PathBuf, File), String> {
    let describe = |error: &dyn std::fmt::Display| format!("the root as a disk: {error}");
    let tree = File::open(tree).map_err(|error| describe(&error))?;
    let [root, bundle] = folders.map(|folder| move || tempfile::tempfile_in(folder));
    let output = root().or_else(|_| bundle()).map_err(|error| describe(&error))?;
    let host = fstatvfs(&output).map_err(|error| describe(&error))?;
    let size = Size::Free(FREE.min(host.f_bavail.saturating_mul(host.f_frsize)));
    let options = Options { is_root: true, size, ..Options::default() };
    image::build_from(Input::Folder(tree), &output, &options).map_err(|error| describe(&error))?;
    Ok((format!("/proc/{}/fd/{}", std::process::id(), output.as_raw_fd()).into(), output))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_mount_that_is_shared_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let check = |source: Option<&Path>| {
            let source = source.map(Path::to_owned);
            check(&[Shared { path: "/a".into(), source, data: String::new(), read_only: false }], "why")
        };
        assert_eq!(check(Some(&file)), Ok(()));
        let error = check(Some(folder.path())).unwrap_err();
        assert_eq!(error, "mount /a: why: a machine without virtiofs has no folders of its host");
        let error = check(None).unwrap_err();
        assert!(
            error.starts_with("mount /a: why: a machine without virtiofs has no tmpfs with another mount"),
            "{error}"
        );
    }

    #[test]
    fn the_disk_is_on_the_file_system_of_the_root_folder_and_sparse() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "content").unwrap();
        for folders in [[folder.path(), Path::new("/none")], [Path::new("/none"), folder.path()]] {
            let (path, file) = make(folder.path(), folders).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!(metadata.dev(), folder.path().metadata().unwrap().dev());
            assert_eq!((metadata.ino(), metadata.nlink()), (path.metadata().unwrap().ino(), 0));
            let host = fstatvfs(&file).unwrap();
            if host.f_bavail * host.f_frsize > 2 * FREE {
                assert!((FREE..FREE + FREE / 4).contains(&metadata.len()), "{}", metadata.len());
            }
            assert!(metadata.blocks() * 512 < 16 << 20, "{}", metadata.blocks());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(make(folder.path(), [Path::new("/none"); 2]).unwrap_err().starts_with("the root as a disk: "));
    }
}
