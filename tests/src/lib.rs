//! What the tests of the whole share: fixtures, and the one way to start the init outside a machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The program `name` of the tools package, built before it is first asked for.
///
/// Cargo tells a package's tests where that package's own programs are, and of no other's.
///
/// # Panics
/// When it does not build.
pub fn tool(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--message-format=json", "--package", "whit-tools", "--bin", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8_lossy(&output.stdout).lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    path.unwrap_or_else(|| panic!("cargo does not say where {name} is"))
}

pub mod debian;

/// The init's own memory functions, tested on the host where the init itself cannot be.
#[cfg(test)]
#[path = "../../src/pid1/sys/mem.rs"]
mod mem;
