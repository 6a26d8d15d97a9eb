//! A folder of the host as an image: GNU tar packs it.
//!
//! As of a disk that is made from a folder, some files are left out: file systems mounted in it, whose mount points become empty directories,
//! the outputs of the same run, which an earlier run may have written into the folder, and unfinished outputs of these tools.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Rootfs;
use crate::cli::output::is_stream;

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

/// The names of unfinished outputs (`cli::output::is_unfinished`), in any directory.
const UNFINISHED: &str = "--exclude=.whit-[[:alnum:]][[:alnum:]][[:alnum:]][[:alnum:]][[:alnum:]][[:alnum:]]";

/// Reads the files of a folder, without those of `outputs` that are in it.
///
/// # Errors
/// A message of one line: no tar, its own message, or that of [`Rootfs::open`].
pub(in crate::initramfs) fn open(folder: &Path, outputs: &[PathBuf]) -> Result<Rootfs, String> {
    let failed = |error: io::Error| format!("tar: {error}; GNU tar packs a folder");
    let mut messages = tempfile::tempfile().map_err(failed)?;
    let mut command = Command::new("tar");
    command.args(OPTIONS).args(["--wildcards", "--no-anchored", UNFINISHED]);
    let outputs: Vec<_> = outputs.iter().filter_map(|output| member(folder, output)).collect();
    command.args(["--no-wildcards", "--anchored"]).args(outputs.iter().map(|name| exclude(name)));
    command.arg("--directory").arg(folder).arg(".");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(messages.try_clone().map_err(failed)?);
    command.env("LC_ALL", "C");
    let mut child = command.spawn().map_err(failed)?;
    let packed = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let packed = packed.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let opened = Rootfs::open(packed, false);
    // It has read everything, or tar ends by SIGPIPE.
    let status = child.wait().map_err(failed)?;
    if status.success() || opened.is_err() && status.code().is_none() {
        let mut rootfs = opened.map_err(|error| error.to_string())?;
        rootfs.summary.outputs_left_out = outputs.len() as u64;
        return Ok(rootfs);
    }
    // The last line says only that there was one before.
    let mut line = String::new();
    messages.rewind().and_then(|()| BufReader::new(messages).read_line(&mut line)).map_err(failed)?;
    Err(if line.is_empty() { format!("tar: {status}") } else { line.trim_end().to_owned() })
}

/// Returns the path of an output in the folder, if it exists and is there: a link is followed, as the output follows it.
fn member(folder: &Path, output: &Path) -> Option<PathBuf> {
    let output = if is_stream(output) { Path::new("/dev/stdout") } else { output };
    let (folder, output) = (fs::canonicalize(folder).ok()?, fs::canonicalize(output).ok()?);
    Some(output.strip_prefix(folder).ok()?.to_owned())
}

/// Returns tar's option for a path in the folder, which is part of `.`.
fn exclude(path: &Path) -> OsString {
    let mut option = OsString::from("--exclude=./");
    option.push(path);
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_in_the_folder_has_a_path_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (root, other) = (folder.path().join("root"), folder.path().join("other"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/out"), "").unwrap();
        fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(root.join("a/out"), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(&other, root.join("link")).unwrap();
        for (output, path) in [
            ("root/a/out", Some("a/out")),
            ("root/a/../a/./out", Some("a/out")),
            ("link", Some("a/out")),
            ("other", None),
            ("root/link", None),
            ("root/none", None),
        ] {
            assert_eq!(member(&root, &folder.path().join(output)).as_deref(), path.map(Path::new), "{output}");
        }
    }
}
