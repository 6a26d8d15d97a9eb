//! Output of every tool: a finished file under its name, or one line of error and no file; and printing.
//!
//! A regular file is replaced by one rename and keeps its mode and owner: its name always leads to a whole file. A
//! symbolic link is followed, a dangling one too. A block device that is not in use is written to once the content is complete.
//! `-` is standard output. Anything else is refused: a FIFO, a socket, a character device.

mod target;

use std::fmt::Display;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::identity::Identity;
use super::temporary::{Temporary, wait_for_removal};
use target::{Access, Device, Target};

/// The mode of a new file, subject to the umask.
const DEFAULT_MODE: u32 = 0o666;
/// The start of the name of an output that is not finished.
const UNFINISHED: &str = ".whit-";
/// The mode of a file that contains a secret.
const PRIVATE_MODE: u32 = 0o600;

/// A file that appears under its name only when it is finished.
///
/// Until [`Output::commit`] the bytes are in a temporary file: beside the one it replaces, or without a name where a block
/// device or standard output gets a copy. Dropping the value removes it.
pub struct Output {
    file: File,
    destination: Destination,
}

enum Destination {
    /// A regular file, and what it replaces.
    Name { temporary: Temporary, path: PathBuf, replaced: Option<Access>, is_private: bool },
    /// A block device.
    Device(Device),
    /// Standard output.
    Stream,
}

impl Output {
    /// Starts the file `path`; `-` is standard output. The file at `path` is not changed yet.
    ///
    /// # Errors
    /// A `path` that cannot be written, or must not: see the module's head.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_as(path, false)
    }

    /// Starts the file `path` with mode 0600, whatever the mode of the file that it replaces.
    ///
    /// # Errors
    /// See [`Output::create`].
    pub fn create_private(path: &Path) -> io::Result<Self> {
        Self::create_as(path, true)
    }

    fn create_as(path: &Path, is_private: bool) -> io::Result<Self> {
        let (file, destination) = match Target::find(path, "a file or a block device, or - for standard output")? {
            Target::Stream => (tempfile::tempfile()?, Destination::Stream),
            Target::Device(device) => (tempfile::tempfile()?, Destination::Device(device)),
            Target::File { path, replaced } => {
                // The temporary file is never more accessible than the file that it replaces.
                let mode = if is_private || replaced.is_some() { PRIVATE_MODE } else { DEFAULT_MODE };
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let made = Temporary::file(directory.unwrap_or(Path::new(".")), UNFINISHED, mode);
                let (file, temporary) = made.map_err(|error| match error.kind() {
                    // The error names the temporary file, which the user does not know.
                    kind @ io::ErrorKind::NotFound => {
                        io::Error::new(kind, "cannot be written: its directory does not exist")
                    }
                    kind => io::Error::new(kind, format!("cannot be written: {kind}")),
                })?;
                (file, Destination::Name { temporary, path, replaced, is_private })
            }
        };
        Ok(Self { file, destination })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns whether the bytes are in a temporary file of `TMPDIR` until they are complete.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        !matches!(self.destination, Destination::Name { .. })
    }

    /// Puts the file under its name, or copies it to the block device or to standard output.
    ///
    /// # Errors
    /// Those of rename(2), or of writing the copy.
    pub fn commit(mut self) -> io::Result<()> {
        match self.destination {
            Destination::Stream => {
                self.file.rewind()?;
                io::copy(&mut self.file, &mut stdout()?).map(drop)
            }
            Destination::Device(device) => device.write(&self.file),
            Destination::Name { temporary, path, replaced, is_private } => {
                if let Some(replaced) = replaced {
                    keep_access(&self.file, replaced, is_private)?;
                }
                temporary.settle(|temporary| replace(temporary, &path))
            }
        }
    }
}

/// Gives a file the owner and the permissions of the one that it replaces. The owner takes root, the group its members.
fn keep_access(file: &File, replaced: Access, is_private: bool) -> io::Result<()> {
    let own = file.metadata()?;
    let owner = (own.uid() != replaced.uid).then_some(replaced.uid);
    let group = (own.gid() != replaced.gid).then_some(replaced.gid);
    let is_root = rustix::process::geteuid().is_root();
    match fchown(file, owner.filter(|_| is_root), group) {
        // Another user's file in this user's directory: the new file belongs to this user.
        Err(error) if is_root || error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    let mode = if is_private { PRIVATE_MODE } else { replaced.mode & 0o777 };
    file.set_permissions(Permissions::from_mode(mode))
}

/// Renames `temporary` to `path`, whose name always leads to the old file or the new one.
///
/// Renaming over an existing file makes ext4 write the new one to the disk first (auto_da_alloc, `ext4_rename()`); exchanging
/// the two and then removing the old one does not (`ext4_cross_rename()`).
fn replace(temporary: &Path, path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("is no regular file any more; another program has replaced it"));
    }
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => std::fs::remove_file(temporary),
        // There is no old file, or a file system that cannot exchange (NFS).
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => std::fs::rename(temporary, path),
        Err(error) => Err(error.into()),
    }
}

/// Standard output without the buffer that splits at lines.
fn stdout() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Returns whether a name is that of an output that is not finished.
#[must_use]
pub fn is_unfinished(name: &[u8]) -> bool {
    const RANDOM: usize = 6; // tempfile's default
    let rest = name.strip_prefix(UNFINISHED.as_bytes());
    rest.is_some_and(|rest| rest.len() == RANDOM && rest.iter().all(u8::is_ascii_alphanumeric))
}

/// Writes a whole file.
///
/// # Errors
/// Those of [`Output::create`], of writing, and of [`Output::commit`].
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut output = Output::create(path)?;
    output.file().write_all(content)?;
    output.commit()
}

/// Checks that a file or block device can be written to, without writing.
///
/// # Errors
/// See [`Output::create`].
pub fn check(path: &Path) -> io::Result<()> {
    Target::find(path, "a file or a block device").map(drop)
}

/// Whether an output's path stands for standard output.
#[must_use]
pub fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// Refuses an output that is one of the inputs, also under another name. `name` is the input as the user wrote it.
///
/// # Errors
/// One line, without the output's path.
pub fn check_apart(path: &Path, name: &dyn Display, input: &Metadata) -> Result<(), String> {
    let output = if is_stream(path) { stdout().and_then(|file| file.metadata()) } else { path.metadata() };
    let is_data =
        |metadata: &Metadata| metadata.is_file() || matches!(Identity::of(metadata), Identity::BlockDevice(_));
    match output {
        Ok(output) if is_data(&output) && Identity::of(&output).overlaps(Identity::of(input)) => {
            Err(format!("is the input {name} as well; name another output"))
        }
        _ => Ok(()),
    }
}

/// Turns a tool's result into its exit status, and an error into a line `tool: what, where, why` on standard error.
pub fn report<E: Display>(tool: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            wait_for_removal();
            say(format_args!("{tool}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error, as a whole. A reader that closed it has seen enough: the exit status tells the rest.
pub fn say(line: impl Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes to standard output. A reader that closed it has seen enough.
///
/// # Errors
/// One line: it cannot be written, as to a disk that is full.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    print_to(io::stdout().lock(), write)
}

/// Prints a text about an output: to standard output, or to standard error where the output itself is there.
///
/// # Errors
/// See [`print()`].
pub fn print_about(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    if is_stream(path) { print_to(io::stderr().lock(), write) } else { print(write) }
}

fn print_to(out: impl Write, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    let mut out = BufWriter::new(out);
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot be shown: {error}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
