//! A disk as the root of a machine that cannot have the container's folder itself: its kernel has no virtiofs, or the host no virtiofsd.
//!
//! The disk is made at the start, as mkraw makes one from a folder: a file without a name, which ends with the machine. What the machine writes is on it: the
//! engine does not see that, and folders of the host cannot be shared. Single files, as the engine's hosts and resolv.conf, are copied.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::config::Machine;
use crate::disk::image::{self, Input, Options};

/// Refuses a folder that the machine would have to share. `why` is the reason for the disk.
pub(super) fn check(machine: &Machine, why: &str) -> Result<(), String> {
    let folder = machine.mounts.iter().find(|shared| shared.source.as_ref().is_none_or(|source| source.is_dir()));
    match folder {
        Some(shared) => Err(format!(
            "mount {}: {why}: a machine without virtiofs has no folders of its host",
            shared.path.display()
        )),
        None => Ok(()),
    }
}

/// Makes the disk from the tree. `folder` is on the file system that gets it. Returns its path, which leads to the open file.
pub(super) fn make(tree: &Path, folder: &Path) -> Result<(PathBuf, File), String> {
    let describe = |error: &dyn std::fmt::Display| format!("the root as a disk: {error}");
    let tree = File::open(tree).map_err(|error| describe(&error))?;
    let output = tempfile::tempfile_in(folder).map_err(|error| describe(&error))?;
    let options = Options { is_root: true, ..Options::default() };
    image::build_from(Input::Folder(tree), &output, &options).map_err(|error| describe(&error))?;
    Ok((format!("/proc/{}/fd/{}", std::process::id(), output.as_raw_fd()).into(), output))
}
