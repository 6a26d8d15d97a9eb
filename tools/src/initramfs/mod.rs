//! The library of mkcpio: collects the files of an initramfs and writes it.

mod archive;
mod busybox;
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
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use whit::contract::{self, DRIVER_INDEX, FULL_DRIVER_INDEX, IMAGE_RECORD, MODULE_LIST, RECORD, SEED, relative};
use whit::record::{MAX_RECORD, Record};

use crate::kernel::elf::Unfit;
use crate::kernel::modules::{self, Closure, Drivers, For, Module, Modules, Selected, Settings};
use crate::machine::Machine;
use crate::runrecord::{self, RunRecord};
use rootfs::Rootfs;
use tree::Tree;

pub use archive::{Packing, Summary, write, write_into, write_plain};
pub use input::{Addition, Input};
pub use memory::Memory;
pub use program::{INIT_HELP, find_init, has_exec, has_streams, is_init_name};
pub use report::report;
pub use smaller::smaller_init;

use program::Feature;

/// Directories of every initramfs: mount points of the init, and the usual ones.
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
/// CONFIG_MODPROBE_PATH of most distributions, and of RHEL.
const MODPROBE: &str = "sbin/modprobe";
const MODPROBE_OF_RHEL: &str = "usr/sbin/modprobe";

/// The inputs of an initramfs.
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
    /// Whether those lose their signatures.
    pub unsigned: bool,
    /// The hardware and file systems to select modules for.
    pub sets: Vec<For>,
    /// Parameters of modules, and further settings.
    pub settings: Settings,
    /// The firmware directory; by default the one beside the modules.
    pub firmware: Option<PathBuf>,
    /// Further files; later ones replace earlier ones.
    pub inputs: Vec<Input>,
    /// Random bytes for one boot.
    pub seed: bool,
    /// A run record.
    pub record: Option<PathBuf>,
    /// A tar or a folder of an image's files, which become the root; `-` is standard input.
    pub rootfs: Option<PathBuf>,
    /// The outputs, which are left out of a folder that is `rootfs`.
    pub outputs: Vec<PathBuf>,
    /// Whether a tar of `rootfs` without an end mark is accepted.
    pub missing_end_accepted: bool,
    /// The image's run record; without an image in the initramfs, that of the initramfs.
    pub config: Option<RunRecord>,
}

/// Why an initramfs cannot be written.
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
        /// The problem.
        what: String,
    },
    /// Modules cannot be added.
    #[error("{0}")]
    Modules(#[from] modules::Error),
    /// A file cannot be added.
    #[error("{0}")]
    Tree(#[from] tree::Error),
    /// A line of a manifest is invalid.
    #[error("{}:{number}: {problem}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        number: usize,
        /// The problem.
        problem: String,
    },
    /// The image's files cannot be added.
    #[error("{0}")]
    Rootfs(#[from] rootfs::Error),
    /// The image's run record cannot be encoded.
    #[error("{0}")]
    Record(#[from] runrecord::Error),
}

impl Recipe {
    /// Collects the files. Returns the selected modules too.
    ///
    /// # Errors
    /// The first invalid input.
    pub fn tree(&self) -> Result<(Tree, Closure), Error> {
        let mut tree = Tree::default();
        let (init, machine) = program::read(&self.init)?;
        tree.origin("directories and /dev/console");
        for (name, mode) in DIRECTORIES {
            tree.directory(name, mode)?;
        }
        // The kernel opens it for the init's standard input and output (init/main.c, console_on_rootfs()).
        tree.character_device("dev/console", 0o600, 5, 1)?;
        if let Some(busybox) = &self.busybox {
            tree.origin(format!("busybox {}", busybox.display()));
            let found = add_busybox(&mut tree, busybox)?;
            program::check_machine(busybox, found, machine)?;
        }
        tree.origin(format!("init {}", self.init.display()));
        tree.file(b"init", 0o755, &self.init)?;
        let mut closure = Closure::default();
        if let Some(modules) = &self.modules {
            tree.origin(format!("modules {}", modules.display()));
            let modules = Modules::open(modules)?.with_settings(self.settings.clone());
            let Selected { always: mut load, by_device, on_demand } = modules.of_sets(&self.sets)?;
            load.extend(self.load.iter().cloned());
            if let Some((file, found)) = modules.machine() {
                program::check_machine(&file, found, machine)?;
            }
            closure = add_modules(&mut tree, &modules, &load, self.unsigned)?;
            if !by_device.is_empty() || !on_demand.is_empty() {
                let is_full = program::reads(&init, FULL_DRIVER_INDEX);
                let drivers = modules.drivers(&by_device, &on_demand, is_full)?;
                self.add_drivers(&mut tree, &modules, drivers, &mut closure, is_full)?;
            }
            closure.is_answering = !on_demand.is_empty();
            if closure.is_answering {
                add_modprobe(&mut tree)?;
            }
            self.add_firmware(&mut tree, &modules, &mut closure)?;
            let named = closure.load.iter().map(|module| module.name.as_str());
            let loaded = named.chain(closure.drivers.iter().map(String::as_str)).collect();
            modules.check_parameters(&loaded)?;
            closure.has_parameters = loaded.iter().any(|name| self.settings.parameters(name).is_some());
            let mut releases = closure.releases.iter();
            if let (Some((one, module)), Some((other, second))) = (releases.next(), releases.next()) {
                let problem = format!("modules of several kernels: {module} is for {one}, {second} for {other}");
                return Err(Error::File { path: modules.directory().to_owned(), what: problem });
            }
        }
        let features = [
            (Feature::Hardware, closure.by_device.0 > 0 && !program::reads(&init, FULL_DRIVER_INDEX)),
            (Feature::Modules, closure.has_parameters || closure.is_answering),
            (Feature::Entropy, self.seed),
            (Feature::Rootfs, self.rootfs.is_some()),
            (Feature::Http, self.has_set("http")),
            (Feature::NvmeTcp, self.has_set("nvme-tcp")),
            (Feature::Verity, self.has_set("verity")),
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
        let mut rootfs = self.rootfs.as_deref().map(|path| self.open_rootfs(path)).transpose()?;
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
                    let problem = format!("is {place} in the initramfs, and so is --config without --rootfs; give one");
                    return Err(Error::File { path: record.clone(), what: problem });
                }
            }
        }
        if let Some(rootfs) = rootfs {
            tree.embed(rootfs)?;
        }
        Ok((tree, closure))
    }

    /// Opens the tar of an image's files, or the folder with them.
    fn open_rootfs(&self, path: &Path) -> Result<Rootfs, Error> {
        if path.is_dir() {
            return rootfs::folder::open(path, &self.outputs)
                .map_err(|what| Error::File { path: path.to_owned(), what });
        }
        let (opened, path) = if path == Path::new("-") {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                let problem = "is a terminal; write docker export CONTAINER | mkcpio --rootfs - …".to_owned();
                return Err(Error::File { path: "standard input".into(), what: problem });
            }
            (stdin.as_fd().try_clone_to_owned().map(File::from), PathBuf::from("standard input"))
        } else {
            (File::open(path), path.to_owned())
        };
        let failure = |error: &dyn Display| Error::File { path: path.clone(), what: error.to_string() };
        let opened = opened.map_err(|error| failure(&error))?;
        if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(failure(&"is a directory; give its name instead of -"));
        }
        Rootfs::open(opened, self.missing_end_accepted).map_err(|error| failure(&error))
    }

    /// Whether a set of modules is wanted.
    fn has_set(&self, name: &str) -> bool {
        self.sets.iter().any(|set| matches!(set, For::OnDemand(set) if set.name() == name))
    }

    /// Adds the modules that are loaded by device or on demand, their index, and their firmware.
    fn add_drivers(
        &self,
        tree: &mut Tree,
        modules: &Modules,
        drivers: Drivers,
        closure: &mut Closure,
        is_full: bool,
    ) -> Result<(), Error> {
        closure.by_device = (drivers.modules.len(), drivers.patterns);
        closure.drivers = drivers.modules.iter().map(|module| module.name.clone()).collect();
        tree.origin(format!("drivers {}", modules.directory().display()));
        for module in drivers.modules.iter().filter(|module| !closure.load.contains(module)) {
            add_module(tree, modules, module, self.unsigned, &mut closure.releases)?;
        }
        let index = if is_full { FULL_DRIVER_INDEX } else { DRIVER_INDEX };
        tree.bytes(relative(index), 0o644, drivers.index)?;
        closure.firmware.extend(drivers.firmware);
        Ok(())
    }

    /// Adds the firmware of all modules, decompressed: a kernel may lack the decompression. What is not there is noted.
    fn add_firmware(&self, tree: &mut Tree, modules: &Modules, closure: &mut Closure) -> Result<(), Error> {
        if closure.firmware.is_empty() {
            return Ok(());
        }
        // /lib/firmware beside /lib/modules/VERSION.
        let beside = || modules.directory().join("../../firmware");
        let directory = self.firmware.clone().unwrap_or_else(beside);
        tree.origin(format!("firmware {}", directory.display()));
        for name in std::mem::take(&mut closure.firmware) {
            // In the order of the kernel (drivers/base/firmware_loader/main.c, fw_path and fw_get_filesystem_firmware()).
            let release = modules.version();
            let places = [format!("updates/{release}"), "updates".to_owned(), release.to_owned(), String::new()];
            let places = places.iter().map(|place| directory.join(place));
            let files = ["", ".zst", ".xz"].iter().flat_map(|suffix| {
                let file = format!("{name}{suffix}");
                places.clone().map(move |place| place.join(&file))
            });
            let Some(file) = files.into_iter().find(|file| file.is_file()) else {
                closure.missing_firmware.push(name);
                continue;
            };
            let place = format!("lib/firmware/{name}");
            if file.ends_with(&name) {
                tree.file(place.as_bytes(), 0o644, &file)?;
            } else {
                let content = modules::decompressed(&file)
                    .map_err(|error| Error::File { path: file.clone(), what: error.to_string() })?;
                tree.bytes(&place, 0o644, content)?;
            }
        }
        Ok(())
    }
}

/// Makes the init the program that the kernel requests modules from. busybox's modprobe, which had the name, is in /bin.
fn add_modprobe(tree: &mut Tree) -> Result<(), Error> {
    if tree.has(MODPROBE) {
        tree.symlink(b"bin/modprobe", format!("/{BUSYBOX}").as_bytes())?;
    }
    tree.symlink(MODPROBE_OF_RHEL.as_bytes(), b"/init")?;
    Ok(tree.symlink(MODPROBE.as_bytes(), b"/init")?)
}

/// Adds a busybox as /bin/busybox, with a link for each applet. Returns its machine.
///
/// # Errors
/// A file that is not a static program, or no busybox.
pub fn add_busybox(tree: &mut Tree, busybox: &Path) -> Result<Machine, Error> {
    let (bytes, machine) = program::read(busybox)?;
    let what = "has no table of applets; is it a busybox?".to_owned();
    let applets = busybox::applets(&bytes).ok_or(Error::File { path: busybox.to_owned(), what })?;
    tree.file(BUSYBOX.as_bytes(), 0o755, busybox)?;
    for applet in applets.iter().filter(|applet| *applet != BUSYBOX) {
        tree.symlink(applet.as_bytes(), format!("/{BUSYBOX}").as_bytes())?;
    }
    Ok(machine)
}

/// Adds modules with their dependencies, and the list in load order. They lose their signatures if they are to be `unsigned`.
///
/// # Errors
/// A module that does not exist or cannot be read.
pub fn add_modules(tree: &mut Tree, modules: &Modules, names: &[String], unsigned: bool) -> Result<Closure, Error> {
    let mut closure = modules.closure(names)?;
    let mut list = Vec::new();
    for module in &closure.load {
        closure.firmware.extend(modules.firmware(module));
        let name = add_module(tree, modules, module, unsigned, &mut closure.releases)?;
        let directory = name.strip_suffix(module.plain()).unwrap_or(&name);
        list.extend([b"/", directory, &modules.line(module, ""), b"\n"].concat());
    }
    if !list.is_empty() {
        tree.bytes(relative(MODULE_LIST), 0o644, list)?;
    }
    Ok(closure)
}

/// Adds a module's file, decompressed, which the kernel loads fastest. Returns its name.
fn add_module(
    tree: &mut Tree,
    modules: &Modules,
    module: &Module,
    unsigned: bool,
    releases: &mut BTreeMap<String, String>,
) -> Result<Vec<u8>, Error> {
    if let Some(release) = modules.release(module) {
        releases.entry(release).or_insert_with(|| module.name.clone());
    }
    let plain = module.plain();
    let name = [b"lib/modules/", modules.version().as_bytes(), b"/", plain].concat();
    if plain == module.below.as_os_str().as_bytes() && !unsigned {
        tree.file(&name, 0o644, &modules.directory().join(&module.below))?;
    } else {
        let content = if unsigned { modules.unsigned(module)? } else { modules.content(module)? };
        tree.bytes(OsStr::from_bytes(&name).to_string_lossy().as_ref(), 0o644, content)?;
    }
    Ok(name)
}

/// Reads a run record, and checks that the init would accept all of it.
fn read_record(path: &Path) -> Result<Vec<u8>, Error> {
    let failure = |problem: String| Error::File { path: path.to_owned(), what: problem };
    let bytes = crate::cli::input::read(path).map_err(|error| failure(error.to_string()))?;
    if bytes.len() > MAX_RECORD {
        return Err(failure(format!("a run record of {} bytes; the init reads at most {MAX_RECORD}", bytes.len())));
    }
    let mut decoded = bytes.clone();
    match Record::decode(&mut decoded).lines().find(|line| line.key.is_empty()) {
        None => Ok(bytes),
        Some(line) => Err(failure(format!(
            "line {} of the run record is not \"key value\" (with only the escapes \\n and \\\\)",
            line.number
        ))),
    }
}

/// Returns 512 random bits, of which the init credits half as entropy.
fn random() -> Result<Vec<u8>, Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = vec![0; 64];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::File { path: path.to_owned(), what: error.to_string() })?;
    Ok(bytes)
}

/// Returns the modification time of `SOURCE_DATE_EPOCH`; 0 if it is not set.
///
/// # Errors
/// A value that is not a number of seconds in 32 bits, the range of a cpio header.
pub fn mtime(source_date_epoch: Option<&OsStr>) -> Result<u32, String> {
    let Some(value) = source_date_epoch else { return Ok(0) };
    let value = value.to_string_lossy();
    value
        .parse()
        .map_err(|_| format!("SOURCE_DATE_EPOCH: \"{value}\" is not a number of seconds from 0 to {}", u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Firmware is found as the kernel finds it: in `updates/` first, behind links, compressed.
    #[test]
    fn firmware_is_added_decompressed_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("lib/modules/6.1");
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("modules.builtin"), "").unwrap();
        let firmware = folder.path().join("lib/firmware");
        fs::create_dir_all(firmware.join("updates/6.1/nic")).unwrap();
        fs::create_dir_all(firmware.join("nic")).unwrap();
        // Plain firmware that looks compressed stays as it is.
        fs::write(firmware.join("nic/plain.bin"), b"\x1f\x8bplain").unwrap();
        fs::write(firmware.join("nic/newer.bin"), b"old").unwrap();
        fs::write(firmware.join("updates/6.1/nic/newer.bin"), b"new").unwrap();
        fs::write(firmware.join("nic/packed.bin.zst"), zstd::encode_all(&b"packed"[..], 3).unwrap()).unwrap();
        std::os::unix::fs::symlink("packed.bin.zst", firmware.join("nic/link.bin.zst")).unwrap();
        let modules = Modules::open(&modules).unwrap();
        let names = ["nic/plain.bin", "nic/newer.bin", "nic/packed.bin", "nic/link.bin", "nic/absent.bin"];
        let mut closure = Closure { firmware: names.map(str::to_owned).into(), ..Closure::default() };
        let mut tree = Tree::default();
        Recipe::default().add_firmware(&mut tree, &modules, &mut closure).unwrap();
        let content = |name: &str| tree.content(&format!("lib/firmware/nic/{name}")).unwrap();
        for (name, expected) in [
            ("plain.bin", &b"\x1f\x8bplain"[..]),
            ("newer.bin", b"new"),
            ("packed.bin", b"packed"),
            ("link.bin", b"packed"),
        ] {
            assert_eq!(content(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(closure.missing_firmware, ["nic/absent.bin"]);
    }

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
