//! virtiofsd, one for each folder: the program in C that was a part of QEMU up to 7.2, or the later one in Rust.

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

use super::{Volume, readonly};
use crate::cli::temporary::Temporary;
use crate::programs;
use crate::vm::qemu::Share;

/// Where distributions put the daemon: beside other helpers, not into PATH.
const PLACES: [&str; 3] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"];
/// What is kept of a daemon's messages: their start, where the cause is.
const MAX_MESSAGE_BYTES: u64 = 4096;
/// How often it is looked whether a daemon, whose standard error has ended, has ended too.
const INTERVAL: Duration = Duration::from_millis(10);

/// virtiofsd for one folder. Dropping it ends it.
pub struct Daemon {
    running: Option<Running>,
    /// Gone once the daemon has it: a QEMU that talks to nobody notices.
    listener: Option<OwnedFd>,
    directory: Temporary,
    folder: PathBuf,
    read_only: bool,
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

/// What a program understands.
struct Abilities {
    /// `--shared-dir`, whose value has no options in it: the program in Rust.
    shared_dir: bool,
    /// `--readonly`: Rust, from 1.12 on.
    readonly: bool,
}

impl Daemon {
    /// Listens for QEMU in the daemon's stead: a connection that comes before the daemon waits and is not refused.
    ///
    /// # Errors
    /// One line.
    pub fn listen(volume: &Volume) -> Result<Self, String> {
        let describe = |error: io::Error| format!("-v {}: {error}", volume.folder.display());
        let directory = Temporary::directory(&std::env::temp_dir(), "whit-").map_err(describe)?;
        let listener = UnixListener::bind(directory.path().join("virtiofs")).map_err(describe)?;
        let folder = volume.folder.canonicalize().map_err(describe)?;
        let read_only = volume.read_only;
        Ok(Self { running: None, listener: Some(listener.into()), directory, folder, read_only })
    }

    /// What QEMU is told.
    #[must_use]
    pub fn share(&self) -> Share {
        Share::Virtiofs { socket: self.directory.path().join("virtiofs") }
    }

    /// Starts the daemon; `ended` is called when it has ended.
    ///
    /// # Errors
    /// One line; also that this host cannot keep the folder from being written to.
    pub fn start(&mut self, ended: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let program = find().ok_or("-v: virtiofsd is not installed")?;
        let describe = |error: io::Error| format!("{}: {error}", program.display());
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let abilities = Abilities::of(&program).map_err(describe)?;
        // It inherits the socket; no other program is started until it has it.
        fcntl_setfd(&listener, FdFlags::empty()).map_err(|errno| describe(errno.into()))?;
        let start = |folder: &Path| command(&program, &abilities, &listener, folder, self.read_only).spawn();
        let child = if self.read_only && !abilities.readonly {
            let point = self.directory.path().join("folder");
            let mounted =
                fs::create_dir(&point).and_then(|()| readonly::with_folder(&self.folder, &point, || start(&point)));
            mounted.map_err(|error| {
                format!(
                    "-v {}:…:ro: cannot be shared read-only: {} has no --readonly, and a read-only mount failed ({error}); \
                     run it as root, install a newer virtiofsd, or give --share 9p",
                    self.folder.display(),
                    program.display()
                )
            })?
        } else {
            start(&self.folder).map_err(describe)?
        };
        drop(listener);
        self.running = Some(Running::watch(child, ended));
        Ok(())
    }

    /// Ends the daemon; one line if it has failed. `is_missed` tells that it ended while the machine ran.
    pub fn end(mut self, is_missed: bool) -> Option<String> {
        let running = self.running.take()?;
        // It ends by itself when QEMU has; one that still runs has nothing left to serve.
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
                // A message that cannot be read is none.
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
        // It may have ended by itself.
        let _ = lock(&self.child).kill();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Abilities {
    fn of(program: &Path) -> io::Result<Self> {
        let help = Command::new(program).arg("--help").stdin(Stdio::null()).output()?;
        let help = [help.stdout, help.stderr].concat();
        let has = |option: &str| String::from_utf8_lossy(&help).split_ascii_whitespace().any(|word| word == option);
        Ok(Self { shared_dir: has("--shared-dir"), readonly: has("--readonly") })
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
    // Ctrl-c is for the machine, which needs the folder until its end.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// `source=FOLDER`, as libfuse reads it back from a list of options: a comma ends one unless a backslash stands before it.
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

/// Where the daemon is.
pub(super) fn find() -> Option<PathBuf> {
    programs::find("virtiofsd").or_else(|| PLACES.iter().map(PathBuf::from).find(|path| File::open(path).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_option() {
        assert_eq!(source_option(Path::new("/a,source=/etc")), "source=/a\\,source=/etc");
        assert_eq!(source_option(Path::new("/a\\b")), "source=/a\\\\b");
    }

    #[test]
    fn each_program_is_given_what_it_understands() {
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
