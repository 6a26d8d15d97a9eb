//! The state of containers: a folder for each, below the runtime's root.
//!
//! The shim holds a lock while it lives, and the processes of the machine hold another: a process id alone could be another process's.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::{Value, json};

/// The longest id of a container: a file name.
const MAX_ID: usize = 255;
/// The end of the message for a container that is not there. podman and containerd look for this text.
pub const NOT_THERE: &str = "container does not exist";
/// The version of the specification.
pub(super) const VERSION: &str = "1.2.0";
/// The files of a container's folder.
const STATE: &str = "state.json";
const ALIVE: &str = "alive";
const MACHINE: &str = "machine";
const STARTED: &str = "started";
/// What the kernel may take to end the processes of a machine after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// How long a new shim waits for those that look at its lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The folder of all containers.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// The folder of one container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) folder: PathBuf,
}

impl Root {
    /// Opens the root: `folder`, or the user's own.
    #[must_use]
    pub fn open(folder: Option<PathBuf>) -> Self {
        Self::named(folder, "whit-runtime")
    }

    /// Opens the root for machines of runvm that have a name.
    #[must_use]
    pub fn of_runvm() -> Self {
        Self::named(None, "whit-runvm")
    }

    fn named(folder: Option<PathBuf>, name: &str) -> Self {
        let users = || std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| match users() {
            Some(folder) if !rustix::process::geteuid().is_root() || is_users_root() => folder.join(name),
            _ => Path::new("/run").join(name),
        });
        Self(std::path::absolute(&folder).unwrap_or(folder))
    }

    /// Creates the root, if it does not exist.
    fn create(&self) -> Result<(), String> {
        let created = DirBuilder::new().mode(0o700).recursive(true).create(&self.0);
        created.map_err(|error| format!("{}: {error}", self.0.display()))
    }

    /// Locks the root against others that do so, until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, String> {
        self.create()?;
        let lock = || {
            let file = File::open(&self.0)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok::<_, io::Error>(file)
        };
        lock().map_err(|error| format!("{}: {error}", self.0.display()))
    }

    /// Creates the folder of a container that does not exist yet.
    pub(super) fn add(&self, id: &str) -> Result<Container, String> {
        let folder = self.folder(id)?;
        self.create()?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => format!("container {id}: exists"),
            _ => format!("{}: {error}", folder.display()),
        })?;
        Ok(Container { id: id.to_owned(), folder })
    }

    /// Finds a container.
    pub(super) fn find(&self, id: &str) -> Result<Container, String> {
        let folder = self.folder(id)?;
        if folder.is_dir() {
            Ok(Container { id: id.to_owned(), folder })
        } else {
            Err(format!("container {id}: {NOT_THERE}"))
        }
    }

    /// Returns all containers.
    pub(super) fn all(&self) -> Vec<Container> {
        let names = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut all: Vec<_> =
            names.filter_map(|entry| self.find(entry.file_name().to_str().unwrap_or_default()).ok()).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    fn folder(&self, id: &str) -> Result<PathBuf, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if id.is_empty() || id.len() > MAX_ID || id.starts_with('.') || !id.bytes().all(is_plain) {
            return Err(format!("container id \"{id}\": not letters, digits and _+-. alone"));
        }
        Ok(self.0.join(id))
    }
}

/// Whether this process is in a user namespace (user_namespaces(7)), as rootless podman's runtime is: root there is a user of the host.
fn is_users_root() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !maps_all(&map))
}

/// Whether a table of users is that of the initial namespace, which has all of them.
fn maps_all(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

impl Container {
    /// Stores what `state` shows.
    pub(super) fn store(&self, bundle: &Path, pid: u32, annotations: &Value) -> Result<(), String> {
        let state = json!({
            "ociVersion": VERSION, "id": self.id, "pid": pid, "bundle": bundle, "annotations": annotations,
            "created": jiff::Timestamp::now().to_string(),
        });
        let path = self.folder.join(STATE);
        let write = || {
            let new = self.folder.join("state.new");
            fs::write(&new, state.to_string())?;
            fs::rename(new, &path)
        };
        write().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Returns the state in the specification's form.
    pub(super) fn load(&self) -> Result<Value, String> {
        let path = self.folder.join(STATE);
        let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = match fs::read(&path) {
            Ok(text) => text,
            // Its creation has not come so far, or was killed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let status = if self.is_alive() { "creating" } else { "stopped" };
                return Ok(json!({ "ociVersion": VERSION, "id": self.id, "status": status, "bundle": "", "pid": 0 }));
            }
            Err(error) => return Err(describe(&error)),
        };
        let mut state: Value = serde_json::from_slice(&text).map_err(|error| describe(&error))?;
        let status = match (self.is_alive(), self.folder.join(STARTED).exists()) {
            (false, _) => "stopped",
            (true, true) => "running",
            (true, false) => "created",
        };
        state["status"] = status.into();
        if status == "stopped" {
            state["pid"] = 0.into();
        }
        Ok(state)
    }

    /// Returns the shim's process id, if it lives.
    pub(super) fn pid(&self) -> Option<i32> {
        // From the file that the shim writes: the process that stores the state may have been killed.
        let pid = fs::read_to_string(self.folder.join(ALIVE)).ok()?.parse().ok()?;
        Some(pid).filter(|pid| *pid > 0 && self.is_alive())
    }

    /// Marks the container as started.
    pub(super) fn mark_started(folder: &Path) -> io::Result<()> {
        File::create(folder.join(STARTED)).map(drop)
    }

    /// Whether the shim lives.
    pub(super) fn is_alive(&self) -> bool {
        let Ok(file) = File::open(self.folder.join(ALIVE)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// Waits for the end of all processes of the machine. Returns whether they have ended.
    pub(super) fn wait_for_end(&self) -> bool {
        let (sender, ended) = channel();
        for name in [ALIVE, MACHINE] {
            let (path, sender) = (self.folder.join(name), sender.clone());
            // Not joined: it may wait for a process that the kernel does not end.
            thread::spawn(move || {
                let locked = File::open(path).and_then(|file| Ok(flock(&file, FlockOperation::LockExclusive)?));
                let _ = sender.send(locked); // the receiver has given up
            });
        }
        // A file that is missing was never locked.
        (0..2).all(|_| ended.recv_timeout(KILL_WAIT).is_ok())
    }

    /// Removes the folder. A tree that was mounted there has gone with its namespace.
    pub(super) fn remove(&self) -> Result<(), String> {
        fs::remove_dir_all(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))
    }
}

/// The locks of a shim, in its folder. The first has its process id; the second is also its children's.
pub(super) fn lock(folder: &Path) -> io::Result<[File; 2]> {
    let lock = |name: &str| {
        let path = folder.join(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        lock_soon(file)
    };
    let (mut alive, machine) = (lock(ALIVE)?, lock(MACHINE)?);
    alive.set_len(0)?;
    alive.write_all(std::process::id().to_string().as_bytes())?;
    rustix::io::fcntl_setfd(&machine, rustix::io::FdFlags::empty())?;
    Ok([alive, machine])
}

/// Locks a file. Another command that looks at the container holds the lock for a moment.
fn lock_soon(file: File) -> io::Result<File> {
    let (sender, locked) = channel();
    // Not joined: after the time limit it would wait as long as the other process lives.
    thread::spawn(move || {
        let outcome = flock(&file, FlockOperation::LockExclusive).map(|()| file);
        let _ = sender.send(outcome); // the receiver has given up
    });
    Ok(locked.recv_timeout(LOCK_WAIT).unwrap_or(Err(Errno::WOULDBLOCK))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_plain_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(Some(folder.path().join("new/root")));
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "ä", &"x".repeat(256)] {
            assert!(root.add(bad).is_err() && root.find(bad).is_err(), "{bad}");
        }
        let container = root.add("web-1.2+x_y").unwrap();
        assert_eq!(root.add("web-1.2+x_y").unwrap_err(), "container web-1.2+x_y: exists");
        let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777;
        assert_eq!((mode(&container.folder), mode(&folder.path().join("new/root"))), (0o700, 0o700));
        assert_eq!(root.all().len(), 1);
        container.remove().unwrap();
        assert!(root.find("web-1.2+x_y").unwrap_err().ends_with("does not exist"));
    }

    #[test]
    fn root_of_a_user_namespace_is_a_user() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(!maps_all("         0       1000          1\n         1     100000      65536\n"));
        assert!(!maps_all("         0     100000      65536\n"));
    }

    #[test]
    fn the_status_follows_the_locks() {
        let folder = tempfile::tempdir().unwrap();
        let container = Root::open(Some(folder.path().into())).add("a").unwrap();
        assert_eq!(container.load().unwrap()["status"], "stopped");
        container.store(Path::new("/b"), 7, &Value::Null).unwrap();
        assert_eq!((container.load().unwrap()["status"].as_str(), container.pid()), (Some("stopped"), None));
        assert!(container.wait_for_end(), "nothing was ever locked");
        fs::write(container.folder.join(ALIVE), "7").unwrap();
        let lock = File::open(container.folder.join(ALIVE)).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        assert_eq!((container.load().unwrap()["status"].as_str(), container.pid()), (Some("created"), Some(7)));
        fs::write(container.folder.join(STARTED), "").unwrap();
        assert_eq!(container.load().unwrap()["status"], "running");
    }

    #[test]
    fn a_shim_waits_for_those_that_look_at_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let reader = File::create(folder.path().join(ALIVE)).unwrap();
        flock(&reader, FlockOperation::LockShared).unwrap();
        let error = lock(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let shim = thread::spawn({
            let folder = folder.path().to_owned();
            move || lock(&folder).map(drop)
        });
        drop(reader);
        shim.join().unwrap().unwrap();
    }

    #[test]
    fn a_shim_is_known_before_its_state_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let container = Root::open(Some(folder.path().into())).add("a").unwrap();
        assert_eq!(container.pid(), None);
        let locks = lock(&container.folder).unwrap();
        let own = i32::try_from(std::process::id()).ok();
        assert_eq!((container.load().unwrap()["status"].as_str(), container.pid()), (Some("creating"), own));
        drop(locks);
        assert_eq!((container.load().unwrap()["status"].as_str(), container.pid()), (Some("stopped"), None));
    }
}
