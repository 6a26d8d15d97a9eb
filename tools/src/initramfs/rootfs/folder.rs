//! A folder of the host as an image: GNU tar packs it.
//!
//! File systems mounted in it are left out, as of a disk that is made from a folder: a mount point becomes an empty directory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Rootfs;

/// Packs everything that the tar of `docker export` would have, in the order of names.
const OPTIONS: [&str; 8] = [
    "--create",
    "--format=pax",
    "--sort=name",
    "--numeric-owner",
    "--one-file-system",
    "--xattrs",
    "--xattrs-include=*",
    "--warning=no-file-ignored", // sockets
];

/// Reads the files of a folder.
///
/// # Errors
/// A message of one line: no tar, its own message, or that of [`Rootfs::open`].
pub(in crate::initramfs) fn open(folder: &Path) -> Result<Rootfs, String> {
    let failed = |error: io::Error| format!("tar: {error}; GNU tar packs a folder");
    let mut messages = tempfile::tempfile().map_err(failed)?;
    let mut command = Command::new("tar");
    command.args(OPTIONS).arg("--directory").arg(folder).arg(".");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(messages.try_clone().map_err(failed)?);
    command.env("LC_ALL", "C");
    let mut child = command.spawn().map_err(failed)?;
    let packed = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let packed = packed.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let opened = Rootfs::open(packed, false);
    // It has read everything, or tar ends by SIGPIPE.
    let status = child.wait().map_err(failed)?;
    if status.success() || opened.is_err() && status.code().is_none() {
        return opened.map_err(|error| error.to_string());
    }
    // The last line says only that there was one before.
    let mut line = String::new();
    messages.rewind().and_then(|()| BufReader::new(messages).read_line(&mut line)).map_err(failed)?;
    Err(if line.is_empty() { format!("tar: {status}") } else { line.trim_end().to_owned() })
}
