//! The programs under test, built before they are asked for.
//!
//! Cargo tells a package's tests where that package's own programs are, and of no other's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use xtask::workspace;

/// The program `name` of the tools package.
///
/// # Panics
/// When it does not build.
pub fn tool(name: &str) -> PathBuf {
    built(name, &["--package", "whit-tools", "--bin", name])
}

/// The init, as it goes into an initramfs.
///
/// # Panics
/// When it does not build.
pub fn init() -> PathBuf {
    built("whit", &["--profile", "init", "--package", "whit"])
}

/// The init with these parts alone: features of its package, one behind the other with commas.
///
/// # Panics
/// When it does not build.
pub fn init_of_parts(parts: &str) -> PathBuf {
    // Another program of the same name.
    let target = workspace::target().join("parts").join(if parts.is_empty() { "none" } else { parts });
    let target = target.to_str().expect("a path of characters");
    let features = ["--no-default-features", "--features", parts, "--target-dir", target];
    built(&format!("whit of {parts:?}"), &[&["--profile", "init", "--package", "whit"], &features[..]].concat())
}

/// A workload that attacks its terminal and PID 1: `tests/guest/src/attack.rs`.
///
/// # Panics
/// When it does not build.
pub fn attack() -> PathBuf {
    built("attack", &["--release", "--package", "whit-guest", "--bin", "attack"])
}

/// The guard in front of the init: `namespace` starts it. Cargo builds a package's programs before it runs its tests; for
/// another program it is built here.
pub(crate) fn enter() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // target/debug/deps/test-0123456789abcdef and target/debug/enter
    let built_with_tests = test.parent().and_then(Path::parent).expect("cargo's directory").join("enter");
    let is_test = test.parent().is_some_and(|folder| folder.ends_with("deps"));
    if is_test { built_with_tests } else { built("enter", &["--package", "whit-tests", "--bin", "enter"]) }
}

/// Has cargo build a program once a process.
fn built(name: &str, arguments: &[&str]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(name.to_owned()).or_insert_with(|| build(name, arguments)).clone()
}

fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--message-format=json"])
        .args(arguments)
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
