//! What is in whit's initramfs, and how it becomes a file.

mod archive;
mod input;
mod manifest;
mod memory;
mod program;
mod report;
pub mod rootfs;
mod smaller;
pub mod tree;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use whit::contract::{self, DRIVER_INDEX, IMAGE_RECORD, MODULE_LIST, RECORD, SEED, relative};
use whit::record::{MAX_RECORD, Record};

use crate::kernel::elf::Unfit;
use crate::kernel::modules::{self, Closure, For, Module, Modules};
use crate::runrecord::{self, RunRecord};
use rootfs::Rootfs;
use tree::Tree;

pub use archive::{Packing, Summary, write, write_into, write_plain};
pub use input::{Addition, Input};
pub use memory::Memory;
pub use program::{INIT_HELP, find_init};
pub use report::report;
pub use smaller::smaller_init;

use program::Feature;

/// Directories that are always there: what the init mounts on, and where people look first.
const DIRECTORIES: [(&str, u32); 9] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
];
const BUSYBOX: &str = "bin/busybox";

/// What goes into an initramfs.
#[derive(Debug, Default)]
pub struct Recipe {
    /// The init; a static program.
    pub init: PathBuf,
    /// A static busybox, which gets a link for each of its applets.
    pub busybox: Option<PathBuf>,
    /// A kernel's modules directory.
    pub modules: Option<PathBuf>,
    /// The modules to load from it.
    pub load: Vec<String>,
    /// The hardware and file systems that modules are taken for.
    pub sets: Vec<For>,
    /// Where the firmware is that modules name; without it, beside the modules.
    pub firmware: Option<PathBuf>,
    /// More files, later ones over earlier ones.
    pub inputs: Vec<Input>,
    /// Random bytes for one boot.
    pub seed: bool,
    /// A run record.
    pub record: Option<PathBuf>,
    /// A tar of an image's files, which become the root; `-` is standard input.
    pub rootfs: Option<PathBuf>,
    /// The image's own run record, or the initramfs's when the image is elsewhere.
    pub config: Option<RunRecord>,
}

/// Why an initramfs cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that cannot run in it.
    #[error("{}: {error}", .path.display())]
    Unfit {
        /// The program.
        path: PathBuf,
        /// Why.
        error: Unfit,
    },
    /// A file that cannot be read, run or written.
    #[error("{}: {what}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        what: String,
    },
    /// Modules.
    #[error("{0}")]
    Modules(#[from] modules::Error),
    /// Files.
    #[error("{0}")]
    Tree(#[from] tree::Error),
    /// A line of a manifest.
    #[error("{}:{number}: {what}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The image's files.
    #[error("{0}")]
    Rootfs(#[from] rootfs::Error),
    /// The image's run record.
    #[error("{0}")]
    Record(#[from] runrecord::Error),
}

impl Recipe {
    /// Collects the files; also says which modules were taken.
    ///
    /// # Errors
    /// The first input that is not what it should be.
    pub fn tree(&self) -> Result<(Tree, Closure), Error> {
        let mut tree = Tree::default();
        tree.origin("directories and /dev/console");
        for (name, mode) in DIRECTORIES {
            tree.directory(name, mode)?;
        }
        // The kernel opens it for the init's standard input and output (init/main.c, console_on_rootfs()).
        tree.character_device("dev/console", 0o600, 5, 1)?;
        if let Some(busybox) = &self.busybox {
            tree.origin(format!("busybox {}", busybox.display()));
            add_busybox(&mut tree, busybox)?;
        }
        tree.origin(format!("init {}", self.init.display()));
        let init = program::read(&self.init)?;
        tree.file(b"init", 0o755, &self.init)?;
        let mut closure = Closure::default();
        if let Some(modules) = &self.modules {
            tree.origin(format!("modules {}", modules.display()));
            let modules = Modules::open(modules)?;
            let (mut load, by_device) = modules.of_sets(&self.sets)?;
            load.extend(self.load.iter().cloned());
            closure = add_modules(&mut tree, &modules, &load)?;
            if !by_device.is_empty() {
                self.add_drivers(&mut tree, &modules, &by_device, &mut closure)?;
            }
            let mut releases = closure.releases.iter();
            if let (Some((one, module)), Some((other, second))) = (releases.next(), releases.next()) {
                let what = format!("modules of several kernels: {module} is for {one}, {second} for {other}");
                return Err(Error::File { path: modules.directory().to_owned(), what });
            }
        }
        let features = [
            (Feature::Hardware, closure.by_device.0 > 0),
            (Feature::Entropy, self.seed),
            (Feature::Rootfs, self.rootfs.is_some()),
        ];
        program::check_features(&self.init, &init, &features)?;
        if self.seed {
            tree.origin("seed");
            tree.bytes(relative(SEED), 0o600, random()?)?;
        }
        if let Some(record) = &self.record {
            tree.origin(format!("record {}", record.display()));
            tree.bytes(relative(RECORD), 0o644, read_record(record)?)?;
        }
        for input in &self.inputs {
            input.add_to(&mut tree)?;
        }
        let mut rootfs = self.rootfs.as_deref().map(open_rootfs).transpose()?;
        if let Some(path) = &self.rootfs {
            tree.origin(format!("rootfs {}", path.display()));
        }
        if let Some(config) = self.config.as_ref().filter(|config| !config.is_empty()) {
            let config = config.encode()?.into_bytes();
            match (&mut rootfs, &self.record) {
                (Some(rootfs), _) => rootfs.insert(IMAGE_RECORD.to_bytes(), config)?,
                (None, None) => tree.bytes(relative(RECORD), 0o644, config)?,
                (None, Some(record)) => {
                    let place = contract::path(RECORD);
                    let what = format!("would be {place}, and so would --config, without --rootfs; give one of them");
                    return Err(Error::File { path: record.clone(), what });
                }
            }
        }
        if let Some(rootfs) = rootfs {
            tree.embed(rootfs)?;
        }
        Ok((tree, closure))
    }

    /// Adds the modules that devices may ask for, their index, and the firmware that they name.
    fn add_drivers(
        &self,
        tree: &mut Tree,
        modules: &Modules,
        names: &[String],
        closure: &mut Closure,
    ) -> Result<(), Error> {
        let drivers = modules.drivers(names)?;
        closure.by_device = (drivers.modules.len(), drivers.patterns);
        tree.origin(format!("drivers {}", modules.directory().display()));
        for module in drivers.modules.iter().filter(|module| !closure.load.contains(module)) {
            add_module(tree, modules, module, &mut closure.releases)?;
        }
        tree.bytes(relative(DRIVER_INDEX), 0o644, drivers.index)?;
        // /lib/firmware beside /lib/modules/VERSION.
        let beside = || modules.directory().join("../../firmware");
        let directory = self.firmware.clone().unwrap_or_else(beside);
        tree.origin(format!("firmware {}", directory.display()));
        for name in drivers.firmware {
            // The kernel looks for compressed ones, too (drivers/base/firmware_loader/main.c, fw_get_filesystem_firmware()).
            let found = ["", ".zst", ".xz"]
                .iter()
                .map(|suffix| format!("{name}{suffix}"))
                .find(|name| directory.join(name).is_file());
            match found {
                Some(found) => tree.file(format!("lib/firmware/{found}").as_bytes(), 0o644, &directory.join(&found))?,
                None => closure.missing_firmware.push(name),
            }
        }
        Ok(())
    }
}

/// Adds a busybox as /bin/busybox, with a link for each applet.
///
/// # Errors
/// A file that is no static program, or does not list its applets.
pub fn add_busybox(tree: &mut Tree, busybox: &Path) -> Result<(), Error> {
    program::read(busybox)?;
    tree.file(BUSYBOX.as_bytes(), 0o755, busybox)?;
    for applet in applets(busybox)?.split(|byte| *byte == b'\n').filter(|applet| !applet.is_empty()) {
        if applet != BUSYBOX.as_bytes() {
            tree.symlink(applet, format!("/{BUSYBOX}").as_bytes())?;
        }
    }
    Ok(())
}

/// What this busybox was built with: paths without the leading slash, one a line.
fn applets(busybox: &Path) -> Result<Vec<u8>, Error> {
    let failure = |what: String| Error::File { path: busybox.to_owned(), what };
    let cannot_run = |error: io::Error| failure(format!("cannot be run here to ask for its applets: {error}"));
    // A bare name would be looked up in PATH.
    let path = fs::canonicalize(busybox).map_err(cannot_run)?;
    let answer = Command::new(path).arg("--list-full").output().map_err(cannot_run)?;
    if !answer.status.success() || answer.stdout.is_empty() {
        return Err(failure("does not list its applets when run with --list-full; is it a busybox?".to_owned()));
    }
    Ok(answer.stdout)
}

/// Adds modules with those they need, and the list in load order.
///
/// # Errors
/// A module that does not exist or cannot be read.
pub fn add_modules(tree: &mut Tree, modules: &Modules, names: &[String]) -> Result<Closure, Error> {
    let mut closure = modules.closure(names)?;
    let mut list = Vec::new();
    for module in &closure.load {
        let name = add_module(tree, modules, module, &mut closure.releases)?;
        list.extend([b"/", name.as_slice(), b"\n"].concat());
    }
    if !list.is_empty() {
        tree.bytes(relative(MODULE_LIST), 0o644, list)?;
    }
    Ok(closure)
}

/// Adds a module's file, as the kernel loads it fastest: decompressed. Returns its name.
fn add_module(
    tree: &mut Tree,
    modules: &Modules,
    module: &Module,
    releases: &mut BTreeMap<String, String>,
) -> Result<Vec<u8>, Error> {
    if let Some(release) = modules.release(module) {
        releases.entry(release).or_insert_with(|| module.name.clone());
    }
    let plain = module.plain();
    let name = [b"lib/modules/", modules.version().as_bytes(), b"/", plain].concat();
    if plain == module.below.as_os_str().as_bytes() {
        tree.file(&name, 0o644, &modules.directory().join(&module.below))?;
    } else {
        tree.bytes(OsStr::from_bytes(&name).to_string_lossy().as_ref(), 0o644, modules.content(module)?)?;
    }
    Ok(name)
}

/// Reads a run record, if the init would read all of it.
fn read_record(path: &Path) -> Result<Vec<u8>, Error> {
    let failure = |what: String| Error::File { path: path.to_owned(), what };
    let bytes = fs::read(path).map_err(|error| failure(error.to_string()))?;
    if bytes.len() > MAX_RECORD {
        return Err(failure(format!("a run record of {} bytes, and the init reads {MAX_RECORD}", bytes.len())));
    }
    let mut decoded = bytes.clone();
    match Record::decode(&mut decoded).lines().find(|line| line.key.is_empty()) {
        None => Ok(bytes),
        Some(line) => Err(failure(format!(
            "line {} of the run record is not \"key value\" (the escapes are \\n and \\\\ alone)",
            line.number
        ))),
    }
}

/// 512 bits, of which the init says that half are nobody else's.
fn random() -> Result<Vec<u8>, Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = vec![0; 64];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::File { path: path.to_owned(), what: error.to_string() })?;
    Ok(bytes)
}

/// Opens the tar of an image's files.
fn open_rootfs(path: &Path) -> Result<Rootfs, Error> {
    let (opened, path) = if path == Path::new("-") {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let what = "is a terminal; write docker export CONTAINER | mkcpio --rootfs - …".to_owned();
            return Err(Error::File { path: "standard input".into(), what });
        }
        (stdin.as_fd().try_clone_to_owned().map(File::from), PathBuf::from("standard input"))
    } else {
        (File::open(path), path.to_owned())
    };
    let failure = |error: &dyn Display| Error::File { path: path.clone(), what: error.to_string() };
    Rootfs::open(opened.map_err(|error| failure(&error))?).map_err(|error| failure(&error))
}

/// The modification time that `SOURCE_DATE_EPOCH` gives to every file; 0 when it is not set.
///
/// # Errors
/// A value that is not a number of seconds in 32 bits, as a cpio header has them.
pub fn mtime(source_date_epoch: Option<&OsStr>) -> Result<u32, String> {
    let Some(value) = source_date_epoch else { return Ok(0) };
    let value = value.to_string_lossy();
    value
        .parse()
        .map_err(|_| format!("SOURCE_DATE_EPOCH: \"{value}\" is not a number of seconds from 0 to {}", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_32_bits() {
        let parse = |text: &str| mtime(Some(OsStr::new(text)));
        assert_eq!(mtime(None), Ok(0));
        assert_eq!(parse("1700000000"), Ok(1_700_000_000));
        for text in ["", "-1", "4294967296", "yesterday"] {
            assert!(parse(text).unwrap_err().contains("SOURCE_DATE_EPOCH"), "{text}");
        }
    }
}
