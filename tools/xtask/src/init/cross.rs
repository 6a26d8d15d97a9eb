//! The compiler, cargo and linker of an init: the workspace's own for the host, and for another machine the first one that has a
//! standard library for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use whit_tools::programs;

use crate::workspace;

/// The compiler of Debian's package rustc-web, and its cargo: rustup's come first in PATH.
const DEBIAN: (&str, &str) = ("/usr/bin/rustc", "/usr/bin/cargo");

/// What builds an init for one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// `aarch64-unknown-linux-gnu`; `None` for the host.
    triple: Option<String>,
    rustc: OsString,
    /// The cargo, if it is not the one that runs this program.
    cargo: Option<OsString>,
    /// The linker, if it is not rustc's own choice. It links for every machine, so that no C compiler for that machine is needed.
    linker: Option<&'static str>,
}

impl Toolchain {
    /// Returns the toolchain of the host.
    #[must_use]
    pub fn host() -> Self {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        Self { triple: None, rustc, cargo: None, linker: None }
    }

    /// Returns the machine that it builds for, as Rust names it.
    pub(super) fn machine(&self) -> &str {
        self.triple.as_deref().and_then(|triple| triple.split('-').next()).unwrap_or(std::env::consts::ARCH)
    }

    /// Finds a toolchain for the machine of a target triple.
    ///
    /// # Errors
    /// One line with the remedy: no compiler has a standard library for it, or there is no linker.
    pub fn of(triple: &str) -> Result<Self, String> {
        let host = Self::host();
        let found = match () {
            () if has_std(&host, triple) => host,
            () => {
                let debian = Self { rustc: DEBIAN.0.into(), cargo: Some(DEBIAN.1.into()), ..host };
                if !Path::new(DEBIAN.0).is_file() || !has_std(&debian, triple) {
                    return Err(format!(
                        "no Rust compiler has a standard library for {triple}: run `rustup target add {triple}`; docs/aarch64.md \
                         has the command for Debian's packages"
                    ));
                }
                debian
            }
        };
        let linker = if found.has_rust_lld() {
            "rust-lld"
        } else if programs::find("ld.lld").is_some() {
            "ld.lld"
        } else {
            return Err("no linker for other machines: ld.lld is not installed; run: apt-get install lld".to_owned());
        };
        Ok(Self { triple: Some(triple.to_owned()), linker: Some(linker), ..found })
    }

    /// Returns the folder of a target directory that cargo leaves an init in.
    #[must_use]
    pub fn folder(&self, target: &Path) -> PathBuf {
        self.triple.iter().fold(target.to_owned(), |folder, triple| folder.join(triple)).join("init")
    }

    /// Returns a command for the compiler.
    #[must_use]
    pub fn rustc(&self) -> Command {
        let mut command = Command::new(&self.rustc);
        command.current_dir(workspace::root());
        self.clean(&mut command);
        command.args(self.triple.iter().flat_map(|triple| ["--target", triple]));
        command
    }

    /// Returns a command for cargo, without its subcommand, and the options of a build.
    #[must_use]
    pub fn cargo(&self) -> (Command, Vec<OsString>) {
        let mut command = workspace::cargo();
        if let Some(cargo) = &self.cargo {
            command = Command::new(cargo);
            command.current_dir(workspace::root()).env("RUSTC", &self.rustc);
        }
        self.clean(&mut command);
        let mut options = Vec::new();
        if let (Some(triple), Some(linker)) = (&self.triple, self.linker) {
            let name = triple.to_uppercase().replace(['-', '.'], "_");
            command.env(format!("CARGO_TARGET_{name}_LINKER"), linker);
            options.extend(["--target".into(), triple.into()]);
        }
        (command, options)
    }

    /// Removes what rustup's cargo sets for the programs that it runs, from the environment of another compiler.
    fn clean(&self, command: &mut Command) {
        if self.cargo.is_some() {
            command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        }
    }

    /// Returns whether the compiler comes with a linker, as rustup's does.
    fn has_rust_lld(&self) -> bool {
        let Some(sysroot) = answer(self.rustc().args(["--print", "sysroot"])) else { return false };
        let machines = std::fs::read_dir(Path::new(&sysroot).join("lib/rustlib")).into_iter().flatten();
        machines.filter_map(Result::ok).any(|machine| machine.path().join("bin/rust-lld").is_file())
    }
}

/// Returns whether a compiler has the library `core` of another machine.
fn has_std(toolchain: &Toolchain, triple: &str) -> bool {
    let Some(folder) = answer(toolchain.rustc().args(["--print", "target-libdir", "--target", triple])) else {
        return false;
    };
    let files = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("libcore-"))
}

/// Returns the line that a compiler prints.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let line = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_standard_library_is_refused() {
        let error = Toolchain::of("x86_64-unknown-none-such").unwrap_err();
        assert!(error.contains("rustup target add x86_64-unknown-none-such"), "{error}");
    }

    #[test]
    fn the_host_has_a_standard_library() {
        let host = answer(Toolchain::host().rustc().args(["--print", "host-tuple"])).unwrap();
        let toolchain = Toolchain::of(&host).unwrap();
        assert_eq!(toolchain.folder(Path::new("target")), Path::new("target").join(host).join("init"));
        assert_eq!(Toolchain::host().folder(Path::new("target")), Path::new("target/init"));
    }
}
