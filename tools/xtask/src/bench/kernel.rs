//! The kernels that are booted: Debian's, a file, or a small one with all drivers built in, which is compiled here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use super::build::store;
use crate::workspace;
use whit_tools::cli::temporary::Temporary;
use whit_tools::kernel::debian::Flavour;
use whit_tools::machine::Machine;
use whit_tools::programs::{self, Program};

/// The package with the small kernel's source.
const SOURCE_PACKAGE: &str = "linux-source-6.12";
/// The folder of a build with the files that are kept.
const MADE: &str = "made";
/// The options on top of `make tinyconfig`.
const CONFIG: &str = include_str!("../../micro-kernel.config");
/// The programs that build it; a header is found by its path.
const PROGRAMS: [Program; 9] = [
    Program { name: "/usr/include/gelf.h", package: "libelf-dev" }, // for objtool, which x86 always runs
    Program { name: "/usr/include/stdio.h", package: "libc6-dev" }, // gcc only recommends it
    Program { name: "bc", package: "bc" },
    Program { name: "bison", package: "bison" },
    Program { name: "flex", package: "flex" },
    Program { name: "gcc", package: "gcc" },
    Program { name: "make", package: "make" },
    Program { name: "tar", package: "tar" },
    Program { name: "xz", package: "xz-utils" },
];

/// A kernel on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelName {
    /// `micro`: the small one.
    Micro,
    /// `debian-6.12`: Debian's newest cloud kernel of a series.
    Debian(String),
    /// A file without modules.
    File(PathBuf),
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct BenchKernel {
    /// The machine that it is for.
    pub machine: Machine,
    /// Its name in tables.
    pub name: String,
    /// Its origin, as far as known.
    pub version: String,
    /// Its release (`uname -r`); unknown for a file.
    pub release: Option<String>,
    /// The file that QEMU loads.
    pub vmlinuz: PathBuf,
    /// Its modules; `None` if all drivers are built in.
    pub modules: Option<PathBuf>,
    /// Its configuration; unknown for a file.
    pub config: Option<PathBuf>,
}

impl FromStr for KernelName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.strip_prefix("debian-") {
            _ if text == "micro" => Self::Micro,
            Some(series) if !series.contains('/') => Self::Debian(series.to_owned()),
            _ if Path::new(text).is_file() => Self::File(text.into()),
            _ => return Err(format!("\"{text}\" is neither micro, debian-SERIES nor a file")),
        })
    }
}

impl KernelName {
    /// Fetches or compiles the kernel.
    ///
    /// # Errors
    /// One line.
    pub fn prepare(&self, machine: Machine, say: fn(&str)) -> Result<BenchKernel, String> {
        match self {
            Self::Micro if machine != Machine::X86_64 => {
                Err(format!("the kernel micro is for x86_64: give --kernel debian-SERIES for {}", machine.name()))
            }
            Self::Micro => micro(say),
            Self::Debian(series) => {
                let kernel =
                    store(machine, say)?.kernel(Flavour::Cloud, Some(series)).map_err(|error| error.to_string())?;
                Ok(BenchKernel {
                    machine,
                    name: format!("debian-{series}"),
                    version: kernel.release.clone(),
                    config: Some(kernel.vmlinuz.with_file_name(format!("config-{}", kernel.release))),
                    release: Some(kernel.release),
                    vmlinuz: kernel.vmlinuz,
                    modules: Some(kernel.modules),
                })
            }
            Self::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let (version, vmlinuz) = ("a file".into(), path.clone());
                Ok(BenchKernel { machine, name, version, release: None, vmlinuz, modules: None, config: None })
            }
        }
    }
}

/// Returns the small kernel; compiles it if it does not exist yet, which takes about six minutes on two processors.
fn micro(say: fn(&str)) -> Result<BenchKernel, String> {
    let package = store(Machine::X86_64, say)?.package(SOURCE_PACKAGE).map_err(|error| error.to_string())?;
    let version = package.file_name().unwrap_or_default().to_string_lossy();
    let version = version.rsplit('_').next().unwrap_or_default().to_owned();
    // Another source or another configuration is another kernel.
    let made = workspace::target().join("bench");
    let folder = made.join(format!("micro-{version}-{:08x}", crc32c::crc32c(CONFIG.as_bytes())));
    if !folder.is_dir() {
        programs::install(&PROGRAMS, say)?;
        say("building the small kernel (about six minutes)");
        std::fs::create_dir_all(&made).map_err(at(&made))?;
        let tree = Temporary::directory(&made, ".kernel-").map_err(at(&made))?;
        build_micro(&package, tree.path(), &tree.path().join(MADE))?;
        // It gets its name when it is complete.
        std::fs::rename(tree.path().join(MADE), &folder).map_err(at(&folder))?;
    }
    let release = std::fs::read_to_string(folder.join("release")).map_err(at(&folder))?;
    Ok(BenchKernel {
        machine: Machine::X86_64,
        name: "micro".into(),
        version: format!("{SOURCE_PACKAGE} {version}"),
        release: Some(release.trim_end().to_owned()),
        vmlinuz: folder.join("vmlinuz"),
        modules: None,
        config: Some(folder.join("config")),
    })
}

/// Unpacks the source into `tree`, builds it there, and moves the files to keep into `made`.
fn build_micro(package: &Path, tree: &Path, made: &Path) -> Result<(), String> {
    let archive = package.join(format!("usr/src/{SOURCE_PACKAGE}.tar.xz"));
    step(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--strip-components=1"), tree)?;
    let choice = tree.join("bench.config");
    std::fs::write(&choice, CONFIG).map_err(at(&choice))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    step(make().arg("tinyconfig"), tree)?;
    step(Command::new("scripts/kconfig/merge_config.sh").args(["-m", ".config", "bench.config"]), tree)?;
    step(make().arg("olddefconfig"), tree)?;
    step(make().arg(format!("-j{jobs}")).arg("bzImage"), tree)?;
    std::fs::create_dir(made).map_err(at(made))?;
    for (built, name) in
        [("arch/x86/boot/bzImage", "vmlinuz"), (".config", "config"), ("include/config/kernel.release", "release")]
    {
        let built = tree.join(built);
        std::fs::rename(&built, made.join(name)).map_err(at(&built))?;
    }
    Ok(())
}

fn make() -> Command {
    let mut make = Command::new("make");
    // The same source and configuration make the same kernel on every host and at every time.
    make.arg("--silent").env("KBUILD_BUILD_TIMESTAMP", "2026-01-01").env("KBUILD_BUILD_USER", "bench");
    make.env("KBUILD_BUILD_HOST", "bench").env_remove("MAKEFLAGS");
    make
}

/// Runs a program in the kernel's tree; the error has its standard error.
fn step(command: &mut Command, tree: &Path) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.current_dir(tree).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("the small kernel: {name} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_names() {
        assert_eq!("micro".parse(), Ok(KernelName::Micro));
        assert_eq!("debian-6.12".parse(), Ok(KernelName::Debian("6.12".into())));
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(here.parse(), Ok(KernelName::File(here.into())));
        assert!("debian".parse::<KernelName>().unwrap_err().contains("neither micro"));
    }
}
