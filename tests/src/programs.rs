//! The programs under test, built when a test first needs them.
//!
//! Cargo passes the paths of programs only to the tests of the package that has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use whit_tools::machine::Machine;
use xtask::init::{self, Init, Toolchain};
use xtask::workspace;

use crate::once::Once;

/// The programs that are built already, by name.
static BUILT: Once = Once::new();

/// Returns the path of the program `name` of the tools package.
pub fn tool(name: &str) -> PathBuf {
    built(name, &["--bin", name])
}

/// Returns the init, as it goes into an initramfs.
pub fn init() -> PathBuf {
    init_named(Init::Whole)
}

/// Returns one of the named inits.
///
/// # Panics
/// When it does not build.
pub fn init_named(init: Init) -> PathBuf {
    BUILT.get(init.file_name(), || init.build().unwrap_or_else(|message| panic!("{message}")))
}

/// Returns the init for a machine.
///
/// # Panics
/// When it does not build: docs/aarch64.md has the compilers for another machine.
pub fn init_for(machine: Machine) -> PathBuf {
    // The linker for a machine is cargo's for build scripts too, if it is the host's: without a C library they do not link.
    if machine == Machine::HOST {
        return init();
    }
    BUILT.get(machine.triple(), || {
        let built = Toolchain::of(machine.triple()).and_then(|toolchain| Init::Whole.build_with(&toolchain));
        built.unwrap_or_else(|message| panic!("{message}"))
    })
}

/// Returns the init with these features only: features of its package, separated by commas.
///
/// # Panics
/// When it does not build.
pub fn init_of_features(features: &str) -> PathBuf {
    let target = workspace::target().join("features").join(if features.is_empty() { "none" } else { features });
    BUILT.get(&format!("whit of {features:?}"), || {
        let path = target.join("whit");
        init::build_features(features, &target, &path).unwrap_or_else(|message| panic!("{message}"));
        path
    })
}

/// Returns the init as `cargo build --profile init -p whit` makes it, without the flags of `cargo build-init`.
///
/// # Panics
/// When it does not build.
pub fn plain_init() -> PathBuf {
    let target = workspace::target().join("plain");
    let target = target.to_str().expect("a path of characters");
    built("plain whit", &["--profile", "init", "--package", "whit", "--target-dir", target])
}

/// Returns a workload that attacks its terminal and PID 1: `tests/guest/src/attack.rs`.
///
/// # Panics
/// When it does not build.
pub fn attack() -> PathBuf {
    built("attack", &["--profile", "init", "--package", "whit-guest", "--bin", "attack"])
}

/// Returns the program `enter`, which checks the namespaces and then executes the init. Cargo builds it together with this
/// package's tests; for any other caller it is built here.
pub(crate) fn enter() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // target/debug/deps/test-0123456789abcdef and target/debug/enter
    let built_with_tests = test.parent().and_then(Path::parent).expect("cargo's directory").join("enter");
    let is_test = test.parent().is_some_and(|folder| folder.ends_with("deps"));
    if is_test { built_with_tests } else { built("enter", &["--bin", "enter"]) }
}

/// Builds a program with cargo, once per process.
fn built(name: &str, arguments: &[&str]) -> PathBuf {
    BUILT.get(name, || build(name, arguments))
}

fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--message-format=json"])
        .args(arguments)
        // The workspace's root: for one package alone, cargo enables other features of the dependencies and compiles them again.
        .current_dir(workspace::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8_lossy(&output.stdout).lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    path.unwrap_or_else(|| panic!("cargo does not report the path of {name}"))
}
