//! Runs virtiofsd, one for each folder or file: the C program of QEMU up to 7.2, or the later one in Rust.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};

use super::{Link, Volume, file};
use crate::cli::temporary::Temporary;
use crate::programs;
use crate::vm::child::end_with_this_thread;
use crate::vm::namespace;
use crate::vm::qemu::Share;

/// The daemon's paths in distributions, outside of PATH.
const PLACES: [&str; 3] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"];
/// The number of bytes that are kept of a daemon's messages: the start has the cause.
const MAX_MESSAGE_BYTES: u64 = 4096;
/// The polling interval for the end of a daemon that has closed its standard error.
const INTERVAL: Duration = Duration::from_millis(10);

/// virtiofsd for one folder. Dropping it kills it.
pub struct Daemon {
    running: Option<Running>,
    /// The socket; closed after the daemon has inherited it, so that QEMU notices the daemon's end.
    listener: Option<OwnedFd>,
    directory: Temporary,
    folder: PathBuf,
    /// The folder with the link, if a file is shared by another user than root.
    link: Option<Link>,
    read_only: bool,
    has_attributes: bool,
}

struct Running {
    child: Arc<Mutex<Child>>,
    /// Reads its messages and waits for its end.
    watch: JoinHandle<Option<Ended>>,
}

/// How a daemon ended.
struct Ended {
    status: ExitStatus,
    message: String,
}

/// The options that a program supports.
struct Abilities {
    /// `--shared-dir`, whose value is a plain path: the program in Rust.
    shared_dir: bool,
    /// `--readonly`: the program in Rust, from 1.12 on.
    readonly: bool,
}

impl Daemon {
    /// Creates the listening socket for the daemon, so that QEMU can connect before the daemon runs.
    ///
    /// # Errors
    /// A message of one line.
    pub fn listen(volume: &Volume) -> Result<Self, String> {
        let describe = |error: io::Error| format!("-v {}: {error}", volume.folder.display());
        let directory = Temporary::for_sockets().map_err(describe)?;
        let listener = UnixListener::bind(directory.socket("virtiofs")).map_err(describe)?;
        let folder = volume.folder.canonicalize().map_err(describe)?;
        let read_only = volume.read_only;
        let listener = Some(listener.into());
        Ok(Self { running: None, listener, directory, folder, link: None, read_only, has_attributes: false })
    }

    /// Returns whether a daemon is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        find().is_some()
    }

    /// Shares extended attributes too: those of a root are its programs' capabilities.
    #[must_use]
    pub fn with_attributes(mut self) -> Self {
        self.has_attributes = true;
        self
    }

    /// Returns the share for QEMU's command line.
    #[must_use]
    pub fn share(&self) -> Share {
        Share::Virtiofs { socket: self.directory.socket("virtiofs") }
    }

    /// Starts the daemon. Calls `ended` when it has ended.
    ///
    /// # Errors
    /// A message of one line; also if the host cannot make the folder read-only.
    pub fn start(&mut self, ended: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let program = find().ok_or("-v: virtiofsd is not installed")?;
        let describe = |error: io::Error| format!("{}: {error}", program.display());
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let abilities = Abilities::of(&program).map_err(describe)?;
        // The daemon inherits the socket. No other program is started in between.
        fcntl_setfd(&listener, FdFlags::empty()).map_err(|errno| describe(errno.into()))?;
        let command = |folder: &Path| {
            let mut command = command(&program, &abilities, &listener, folder, self.read_only);
            if self.has_attributes {
                command.args(if abilities.shared_dir { &["--xattr"][..] } else { &["-o", "xattr"] });
            }
            command
        };
        let point = self.directory.path().join("folder");
        let child = if self.folder.is_file() && rustix::process::geteuid().is_root() {
            fs::create_dir(&point)
                .and_then(|()| {
                    let start = || command(&point).spawn();
                    namespace::with_file(&self.folder, &point, file::name(), self.read_only, start)
                })
                .map_err(|error| format!("-v {}: {error}", self.folder.display()))?
        } else if self.read_only && !abilities.readonly {
            let mounted = fs::create_dir(&point)
                .and_then(|()| namespace::with_folder(&self.folder, &point, || command(&point).spawn()));
            mounted.map_err(|error| {
                format!(
                    "-v {}:…:ro: cannot be shared read-only: {} has no --readonly, and a read-only mount failed ({error}); \
                     run it as root, install a newer virtiofsd, or give --share 9p",
                    self.folder.display(),
                    program.display()
                )
            })?
        } else {
            if self.folder.is_file() {
                self.link = Some(Link::make(&self.folder)?);
            }
            let folder = self.link.as_ref().map_or_else(|| self.folder.clone(), Link::folder);
            end_with_this_thread(&mut command(&folder)).spawn().map_err(describe)?
        };
        drop(listener);
        self.running = Some(Running::watch(child, ended));
        Ok(())
    }

    /// Ends the daemon. Returns a message of one line if it has failed. `is_missed` means that it ended while the machine ran.
    pub fn end(mut self, is_missed: bool) -> Option<String> {
        let running = self.running.take()?;
        // It ends by itself after QEMU. If it still runs, it has no client any more.
        let is_killed = !running.has_ended();
        running.kill();
        let ended = running.watch.join().ok().flatten()?;
        if is_killed || ended.status.success() && !is_missed {
            return None;
        }
        let message = ended.message.trim().lines().collect::<Vec<_>>().join("; ");
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        Some(format!("virtiofsd for {} has ended ({}){message}", self.folder.display(), ended.status))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.running.iter().for_each(Running::kill);
    }
}

impl Running {
    fn watch(mut child: Child, ended: impl FnOnce() + Send + 'static) -> Self {
        let stderr = child.stderr.take();
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::clone(&child);
        let watch = thread::spawn(move || {
            let mut message = Vec::new();
            if let Some(mut stderr) = stderr {
                // Errors of reading the messages are ignored.
                let _ = stderr.by_ref().take(MAX_MESSAGE_BYTES).read_to_end(&mut message);
                let _ = io::copy(&mut stderr, &mut io::sink());
            }
            let status = loop {
                match lock(&watched).try_wait() {
                    Ok(Some(status)) => break status,
                    Ok(None) => {}
                    Err(_) => return None,
                }
                thread::sleep(INTERVAL);
            };
            ended();
            Some(Ended { status, message: String::from_utf8_lossy(&message).into_owned() })
        });
        Self { child, watch }
    }

    fn has_ended(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(Some(_)))
    }

    fn kill(&self) {
        // It may have ended already.
        let _ = lock(&self.child).kill();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Abilities {
    fn of(program: &Path) -> io::Result<Self> {
        let help = Command::new(program).arg("--help").stdin(Stdio::null()).output()?;
        Ok(Self::parse(&String::from_utf8_lossy(&[help.stdout, help.stderr].concat())))
    }

    fn parse(help: &str) -> Self {
        let has = |option: &str| help.split_ascii_whitespace().any(|word| word == option);
        Self { shared_dir: has("--shared-dir"), readonly: has("--readonly") }
    }

    /// Returns whether the daemon runs for root alone: the C program makes namespaces without a user namespace
    /// (tools/virtiofsd/passthrough_ll.c, setup_namespaces()).
    const fn need_root(&self) -> bool {
        !self.shared_dir
    }
}

fn command(program: &Path, abilities: &Abilities, listener: &OwnedFd, folder: &Path, read_only: bool) -> Command {
    let mut command = Command::new(program);
    command.arg(format!("--fd={}", listener.as_raw_fd()));
    if abilities.shared_dir {
        command.arg("--shared-dir").arg(folder).args(["--cache", "auto"]);
        if read_only && abilities.readonly {
            command.arg("--readonly");
        }
    } else {
        command.arg("-o").arg(source_option(folder)).args(["-o", "cache=auto", "-f"]);
    }
    // A separate process group: ctrl-c must not end the daemon, because the machine needs the folder until its end.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Returns `source=FOLDER` for libfuse's list of options, with a backslash before commas and backslashes.
fn source_option(folder: &Path) -> OsString {
    let mut bytes = b"source=".to_vec();
    for byte in folder.as_os_str().as_bytes() {
        if b",\\".contains(byte) {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    OsString::from_vec(bytes)
}

/// Returns the path of the daemon, if it is installed.
pub(super) fn find() -> Option<PathBuf> {
    programs::find("virtiofsd").or_else(|| PLACES.iter().map(PathBuf::from).find(|path| File::open(path).is_ok()))
}

/// Returns whether a daemon runs for root alone.
pub(super) fn needs_root(program: &Path) -> bool {
    Abilities::of(program).is_ok_and(|abilities| abilities.need_root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_program_needs_root() {
        assert!(Abilities::parse("    -o source=PATH             shared directory tree\n").need_root());
        assert!(!Abilities::parse("        --shared-dir <SHARED_DIR>\n").need_root());
    }

    #[test]
    fn a_folder_is_one_option() {
        assert_eq!(source_option(Path::new("/a,source=/etc")), "source=/a\\,source=/etc");
        assert_eq!(source_option(Path::new("/a\\b")), "source=/a\\\\b");
    }

    #[test]
    fn each_program_gets_the_options_that_it_supports() {
        let listener = OwnedFd::from(File::open("/dev/null").unwrap());
        let line = |shared_dir, readonly, read_only| {
            let command =
                command(Path::new("d"), &Abilities { shared_dir, readonly }, &listener, Path::new("/a,b"), read_only);
            command.get_args().skip(1).map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line(false, false, true), "-o source=/a\\,b -o cache=auto -f");
        assert_eq!(line(true, true, true), "--shared-dir /a,b --cache auto --readonly");
        assert_eq!(line(true, true, false), "--shared-dir /a,b --cache auto");
    }

    #[test]
    fn a_daemon_that_ends_is_noticed() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let child = Command::new("sh").args(["-c", "echo why >&2; exit 3"]).stderr(Stdio::piped()).spawn().unwrap();
        let running = Running::watch(child, move || sender.send(()).unwrap());
        receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        let ended = running.watch.join().unwrap().unwrap();
        assert_eq!((ended.status.code(), ended.message.as_str()), (Some(3), "why\n"));
    }
}
