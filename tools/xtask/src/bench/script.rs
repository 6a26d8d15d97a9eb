//! Makes an initramfs by its distribution's programs: a script runs in a root of Debian's packages, beside the kernel's modules, and
//! writes `/initramfs` there.
//!
//! Nothing is installed on the host and root is not needed: the root is a folder, entered by chroot in a mount namespace of its
//! own, and without root in a user namespace too. The script finds
//! - its recipe's folder at /recipe;
//! - the kernel's modules in /lib/modules/$KERNEL, its configuration in /boot/config-$KERNEL;
//! - the host's /dev and /proc;
//! - SOURCE_DATE_EPOCH=0: the same packages make the same initramfs.

use std::path::Path;
use std::process::{Command, Stdio};

use super::kernel::BenchKernel;
use whit_tools::cli::temporary::Temporary;
use whit_tools::programs::{self, Program};

/// The programs that enter the root.
const PROGRAMS: [Program; 3] = [
    Program { name: "chroot", package: "coreutils" },
    Program { name: "mount", package: "mount" },
    Program { name: "unshare", package: "util-linux" },
];

/// The script in the new namespace; `$0` is the root, the rest is the command in it.
const ENTER: &str = "\
set -e
mount --rbind /dev \"$0/dev\"
mount --rbind /proc \"$0/proc\"
exec chroot \"$0\" \"$@\"";

/// Runs `script` of the folder `beside` in a copy of `system`, and moves its initramfs to `output`. The copy is made in
/// `workspace`.
pub(super) fn run(
    system: &Path,
    (beside, script): (&Path, &Path),
    kernel: &BenchKernel,
    (workspace, output): (&Path, &Path),
    say: fn(&str),
) -> Result<(), String> {
    let (Some(release), Some(config)) = (&kernel.release, &kernel.config) else {
        return Err("its script needs the kernel's release and configuration, and this kernel is only a file".into());
    };
    programs::install(&PROGRAMS, say)?;
    let temporary = Temporary::directory(workspace, ".root-").map_err(|error| at(workspace, &error))?;
    let root = temporary.path().join("root");
    copy(system, &root)?;
    copy(beside, &root.join("recipe"))?;
    let modules = root.join("usr/lib/modules").join(release);
    let parent = root.join("usr/lib/modules");
    std::fs::create_dir_all(&parent).map_err(|error| at(&parent, &error))?;
    match &kernel.modules {
        Some(folder) => copy(folder, &modules)?,
        None => without_modules(&modules)?,
    }
    let copied = root.join(format!("boot/config-{release}"));
    std::fs::copy(config, &copied).map_err(|error| at(config, &error))?;

    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-c", ENTER]).arg(&root).arg("/bin/sh").arg(Path::new("/recipe").join(script));
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", "0").env("KERNEL", release);
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("unshare: {error}"))?;
    let made = root.join("initramfs");
    if !done.status.success() || !made.is_file() {
        let words = String::from_utf8_lossy(&done.stderr);
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no /initramfs was written");
        return Err(format!("{}: {}", beside.join(script).display(), last.trim()));
    }
    std::fs::rename(&made, output).map_err(|error| at(output, &error))
}

/// Makes the folder that `make modules_install` makes for a kernel without modules.
fn without_modules(folder: &Path) -> Result<(), String> {
    std::fs::create_dir(folder).map_err(|error| at(folder, &error))?;
    for name in ["modules.builtin", "modules.order"] {
        let path = folder.join(name);
        std::fs::write(&path, "").map_err(|error| at(&path, &error))?;
    }
    Ok(())
}

/// Copies a folder with its links and modes; blocks are shared where the file system can.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let mut command = Command::new("cp");
    command.args(["--recursive", "--no-dereference", "--preserve=mode,timestamps", "--reflink=auto"]);
    let done = command.arg("--no-target-directory").arg(from).arg(to).output();
    let done = done.map_err(|error| format!("cp: {error}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()) }
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
