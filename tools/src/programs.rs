//! Programs of the host: finds them in PATH, or installs their Debian packages if the process may do so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::Machine;

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program's name, or the path of a file.
    pub name: &'static str,
    /// The package's name.
    pub package: &'static str,
}

/// The virtual machine of x86-64.
pub const QEMU: Program = Machine::X86_64.qemu();

/// On Debian, a user's PATH has no `sbin`, which has e2fsck.
const MORE_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Returns the path of a program, if it is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Installs the packages of missing `programs`. For a user other than root, the error has the command.
///
/// # Errors
/// A message of one line that ends with the command to type.
pub fn install(programs: &[Program], say: fn(&str)) -> Result<(), String> {
    let packages = missing(programs, |name| find(name).is_some());
    if packages.is_empty() {
        return Ok(());
    }
    let command = install_command(&packages, find("qemu-img").is_some());
    let typed = format!("apt-get {}", command.join(" "));
    if find("apt-get").is_none() {
        return Err(format!("not installed: {}; on Debian, run: {typed}", packages.join(", ")));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(format!("not installed; run: sudo {typed}"));
    }
    say(&format!("installing {}", packages.join(", ")));
    if has_package_lists() && apt_get(&command) {
        return Ok(());
    }
    // No package lists, or lists older than the archive.
    say("fetching package lists");
    if apt_get(&["update"]) && apt_get(&command) { Ok(()) } else { Err(format!("failed: {typed}")) }
}

/// Returns the packages to install, each once.
fn missing(programs: &[Program], exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        programs.iter().filter(|program| !exists(program.name)).map(|program| program.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install_command<'a>(packages: &[&'a str], has_qemu_utils: bool) -> Vec<&'a str> {
    let mut command = vec!["install", "--yes", "--no-install-recommends"];
    command.extend(packages);
    // A backport of qemu-utils can conflict with the QEMU that apt selects. It is not needed, so a minus sign excludes it.
    // If it is installed, the minus sign would remove it.
    if packages.iter().any(|package| package.starts_with("qemu-system-")) && !has_qemu_utils {
        command.push("qemu-utils-");
    }
    command
}

fn has_package_lists() -> bool {
    let Ok(entries) = std::fs::read_dir(Path::new("/var/lib/apt/lists")) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// Runs apt-get. Its progress is hidden, its errors are shown.
fn apt_get(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--quiet"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPIO: Program = Program { name: "cpio", package: "cpio" };
    const MKE2FS: Program = Program { name: "mke2fs", package: "e2fsprogs" };
    const E2FSCK: Program = Program { name: "e2fsck", package: "e2fsprogs" };

    #[test]
    fn a_missing_package_is_listed_once() {
        let programs = [QEMU, MKE2FS, E2FSCK, CPIO];
        assert_eq!(missing(&programs, |name| name == "cpio"), ["e2fsprogs", "qemu-system-x86"]);
        assert_eq!(missing(&programs, |_| true), [""; 0]);
    }

    #[test]
    fn qemu_utils_is_left_out_but_never_removed() {
        let command = |packages: &[&'static str], has| install_command(packages, has).join(" ");
        let plain = "install --yes --no-install-recommends qemu-system-x86";
        assert_eq!(command(&["qemu-system-x86"], false), format!("{plain} qemu-utils-"));
        assert_eq!(command(&["qemu-system-x86"], true), plain);
        assert_eq!(command(&["cpio"], false), "install --yes --no-install-recommends cpio");
    }

    #[test]
    fn programs_are_found_in_sbin_too() {
        assert!(find("sh").is_some_and(|path| path.ends_with("sh")));
        assert_eq!(find("no-such-program-anywhere"), None);
        assert_eq!(find("/etc/passwd"), Some("/etc/passwd".into()), "a file by its path");
        assert_eq!(find("/etc/no-such-file"), None);
    }
}
