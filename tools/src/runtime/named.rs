//! Machines of runvm that have a name, by which `runvm exec` finds them.

use std::fs::File;
use std::thread;

use serde_json::Value;

use super::control::Listener;
use super::exec;
use super::state::{self, Container, Root};
use crate::vm::streams::Remote;

/// The name of a machine. Dropping it frees it.
pub struct Named {
    container: Container,
    listener: Option<Listener>,
    _locks: [File; 2],
}

impl Named {
    /// Takes a name, which may be that of a machine that was killed.
    ///
    /// # Errors
    /// A message of one line: a machine with this name runs, or the folder cannot be created.
    pub fn take(name: &str) -> Result<Self, String> {
        Self::take_in(&Root::of_runvm(), name)
    }

    fn take_in(root: &Root, name: &str) -> Result<Self, String> {
        // Against another one that takes this name: it would remove a folder whose locks are not held yet.
        let _root_lock = root.lock()?;
        if let Ok(before) = root.find(name) {
            if before.is_alive() {
                return Err(format!("--name {name}: a machine with this name runs"));
            }
            before.remove()?;
        }
        let container = root.add(name)?;
        let take = || Ok::<_, std::io::Error>((state::lock(&container.folder)?, Listener::new(&container.folder)?));
        let (locks, listener) = take().map_err(|error| format!("--name {name}: {error}"))?;
        container.store(&container.folder, std::process::id(), &Value::Null)?;
        Ok(Self { container, listener: Some(listener), _locks: locks })
    }

    /// Starts programs beside the workload, as other processes request.
    ///
    /// # Errors
    /// A message of one line.
    pub fn serve(&mut self, remote: Remote) -> Result<(), String> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        Container::mark_started(&self.container.folder)
            .map_err(|error| format!("--name {}: {error}", self.container.id))?;
        thread::spawn(move || {
            loop {
                let (connection, request, ends) = listener.next();
                let remote = remote.clone();
                thread::spawn(move || exec::serve(connection, &request, ends, &remote));
            }
        });
        Ok(())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.container.remove(); // nothing needs it any more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_take_a_name_at_once_one_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(Some(folder.path().join("new")));
        for _ in 0..20 {
            let barrier = std::sync::Barrier::new(2);
            let take = || {
                barrier.wait();
                Named::take_in(&root, "a")
            };
            let (one, other) = thread::scope(|scope| {
                let other = scope.spawn(take);
                (take(), other.join().unwrap())
            });
            let error = match (&one, &other) {
                (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
                (Ok(_), Ok(_)) => panic!("both"),
                (Err(one), Err(other)) => panic!("{one}, {other}"),
            };
            assert_eq!(error, "--name a: a machine with this name runs");
        }
    }
}
