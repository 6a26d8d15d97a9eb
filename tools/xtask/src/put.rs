//! Builds `put` as it ships: a static program that needs no file of the machine.

use std::path::PathBuf;

use crate::workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// A program without a loader and libraries, at a fixed address.
const FLAGS: &str =
    "-Ctarget-feature=+crt-static -Crelocation-model=static -Cforce-unwind-tables=no -Clink-arg=-Wl,--icf=all";
/// Discards the tables of an unwinder, which a program that aborts on a panic does not use: 230 kB of libc and std.
const SCRIPT: &str = "linker/put.ld";

/// Builds `put` and returns its path, `target/put/put`.
///
/// # Errors
/// One line; the compiler's messages are on standard error.
pub fn build() -> Result<PathBuf, String> {
    let folder = workspace::target().join("put");
    let mut cargo = workspace::cargo();
    // With a target, the flags are not those of build scripts and macros, which cannot be static.
    let flags = format!("{FLAGS} -Clink-arg=-Wl,--no-eh-frame-hdr,-T,{}", workspace::root().join(SCRIPT).display());
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags).env_remove("RUSTFLAGS");
    cargo.args(["build", "--quiet", "--profile", "put", "--package", "whit-put", "--bin", "put", "--target", TARGET]);
    cargo
        .arg("--manifest-path")
        .arg(workspace::root().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("build"));
    let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("put does not build: see cargo's message above".into());
    }
    let (built, path) = (folder.join("build").join(TARGET).join("put/put"), folder.join("put"));
    // A link, renamed into place: a running copy stays as it is.
    let new = folder.join(format!(".put-{}", std::process::id()));
    let linked = std::fs::hard_link(&built, &new).and_then(|()| std::fs::rename(&new, &path));
    let _ = std::fs::remove_file(&new);
    linked.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
