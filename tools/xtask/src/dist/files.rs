//! The files of a package, in the folders that they have below `/usr`, and the archive of them.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use whit_tools::cli::output::Output;
use xtask::init::Init;
use xtask::{put, workspace};

use crate::execute;

const TOOLS: [&str; 4] = ["mkraw", "mkcpio", "runvm", "whit-runtime"];

/// The documents of each tool: the argument of `--generate`, the folder and the ends of the name.
const DOCUMENTS: [(&str, &str, &str, &str); 4] = [
    ("man", "share/man/man1", "", ".1"),
    ("bash", "share/bash-completion/completions", "", ""),
    ("zsh", "share/zsh/vendor-completions", "_", ""),
    ("fish", "share/fish/vendor_completions.d", "", ".fish"),
];

/// Files of the source tree, for the archive alone: cargo-deb writes a Debian copyright file.
const TEXTS: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "CHANGELOG.md"];

const TRY: &[u8] = include_bytes!("try");

/// The folder with the files. cargo-deb takes `target/release` for cargo's folder of the profile, wherever that is.
pub(crate) struct Files(PathBuf);

/// Builds the tools, `put` and the inits, and collects all files. `has_sbom` embeds the list of crates in the tools.
pub(crate) fn build(has_sbom: bool) -> Result<Files, String> {
    let mut cargo = workspace::cargo();
    if has_sbom {
        cargo.arg("auditable");
    }
    execute(cargo.args(["build", "--quiet", "--release", "--locked", "--package", "whit-tools"]))?;
    let release = workspace::target().join("release");
    let files = Files(release.join("package"));
    files.clear()?;
    for tool in TOOLS {
        let program = release.join(tool);
        files.copy(&program, &format!("bin/{tool}"), 0o755)?;
        for (kind, folder, prefix, suffix) in DOCUMENTS {
            let output = Command::new(&program).args(["--generate", kind]).stderr(Stdio::inherit()).output();
            let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
            if !output.status.success() {
                return Err(format!("{tool} --generate {kind} failed: see its message above"));
            }
            files.write(&format!("{folder}/{prefix}{tool}{suffix}"), &output.stdout, 0o644)?;
        }
    }
    // The writer of images, for an initramfs.
    files.copy(&put::build()?, "bin/put", 0o755)?;
    for init in Init::ALL {
        // `whit` is installed as `init`, `whit-min` as `init-min`: whit_tools::initramfs::find_init() looks there.
        let name = init.file_name().replace("whit", "init");
        files.copy(&init.build()?, &format!("lib/whit/{name}"), 0o755)?;
    }
    Ok(files)
}

impl Files {
    /// Writes the archive, `whit-VERSION-x86_64-linux.tar.gz`, with one folder of that name.
    pub(crate) fn archive(&self, folder: &Path, time: u32) -> Result<PathBuf, String> {
        for text in TEXTS {
            self.copy(&workspace::root().join(text), text, 0o644)?;
        }
        self.write("try", TRY, 0o755)?;
        self.write_checksums()?;
        let name = format!("whit-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
        let path = folder.join(format!("{name}.tar.gz"));
        let mut output = Output::create(&path).map_err(at(&path))?;
        let mut tar = Command::new("tar");
        tar.args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
        tar.arg(format!("--mtime=@{time}")).arg(format!("--transform=s,^\\.,{name},")).arg("--directory").arg(&self.0);
        // Without the name and the time of the input.
        tar.args(["--use-compress-program=gzip -9n", "."]);
        execute(tar.stdout(output.file().try_clone().map_err(at(&path))?))?;
        output.commit().map_err(at(&path))?;
        Ok(path)
    }

    /// Writes SHA256SUMS of all files, for `sha256sum --check`.
    fn write_checksums(&self) -> Result<(), String> {
        let mut names = Vec::new();
        list(&self.0, "", &mut names).map_err(at(&self.0))?;
        names.sort_unstable();
        let output = Command::new("sha256sum").arg("--").args(&names).current_dir(&self.0).output();
        let output = output.map_err(|error| format!("sha256sum: {error}"))?;
        if !output.status.success() {
            return Err(format!("sha256sum failed: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
        }
        self.write("SHA256SUMS", &output.stdout, 0o644)
    }

    /// Removes the files of an earlier run, and makes the folder.
    fn clear(&self) -> Result<(), String> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&self.0),
        }
        .map_err(at(&self.0))
    }

    fn copy(&self, from: &Path, name: &str, mode: u32) -> Result<(), String> {
        self.write(name, &fs::read(from).map_err(at(from))?, mode)
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), String> {
        let path = self.0.join(name);
        let folder = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder).map_err(at(folder))?;
        fs::write(&path, content).map_err(at(&path))?;
        File::open(&path).and_then(|file| file.set_permissions(Permissions::from_mode(mode))).map_err(at(&path))
    }
}

/// Lists the files below a folder, by their paths relative to `folder`.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

/// Returns a function that adds a path to an error.
fn at(path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
