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
        let root = Root::of_runvm();
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

    /// Starts programs beside the workload for those who ask.
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
