//! Builds the files that are booted: the probe, the image, the initramfs of each init for each kernel, card and root.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::kernel::BenchKernel;
use super::machine::{Card, IMAGE_MIB, RootKind};
use super::recipe::{Making, Recipe, Source, Step};
use super::script;
use crate::images;
use crate::init::{Init, Toolchain};
use crate::workspace;
use whit_tools::cli::output::Output;
use whit_tools::compress::Compression;
use whit_tools::disk::ext4::{Builder, Finish, Metadata, Size};
use whit_tools::initramfs::tree::Tree;
use whit_tools::initramfs::{self, Packing, add_busybox, add_modules};
use whit_tools::kernel::debian::Store;
use whit_tools::kernel::modules::Modules;
use whit_tools::machine::Machine;

/// The measured program, in the image.
const WORKLOAD: &str = "/sbin/probe";
/// Folders of the image.
const FOLDERS: [&[u8]; 9] = [b"dev", b"etc", b"mnt", b"proc", b"root", b"run", b"sbin", b"sys", b"tmp"];
/// The kernel's log as a device: 1:11 (Documentation/admin-guide/devices.txt).
const KMSG: (u32, u32) = (1, 11);

/// An init that takes part.
#[derive(Clone, Debug)]
pub enum Contender {
    /// whit, built from this tree.
    Whit,
    /// Another init, by its recipe.
    Recipe(Recipe),
    /// A finished initramfs: name, file, options for the kernel command line.
    File(String, PathBuf, String),
}

impl Contender {
    /// Returns its name in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Whit => "whit",
            Self::Recipe(recipe) => &recipe.name,
            Self::File(name, ..) => name,
        }
    }

    /// Returns its options for the kernel command line.
    pub(super) fn words(&self, root: RootKind) -> String {
        let words = match self {
            Self::Whit => match root {
                RootKind::Initramfs => "entrypoint={workload} whit.timing",
                _ => "root={root} entrypoint={workload} whit.timing",
            },
            Self::Recipe(recipe) => &recipe.words,
            Self::File(_, _, words) => words,
        };
        words.replace("{root}", root.device().unwrap_or_default()).replace("{workload}", WORKLOAD)
    }
}

/// The folder in which all files are made, below `target/`.
pub struct Workshop {
    machine: Machine,
    folder: PathBuf,
    init: PathBuf,
    probe: PathBuf,
    /// The root as a disk.
    pub(super) image: PathBuf,
    /// The results of scripts.
    scripted: BTreeMap<PathBuf, Result<(), String>>,
    say: fn(&str),
}

impl Workshop {
    /// Builds the init, the probe and the image, for machines of one architecture.
    ///
    /// # Errors
    /// One line.
    pub fn open(machine: Machine, say: fn(&str)) -> Result<Self, String> {
        let folder = workspace::target().join("bench");
        // The files of another machine are kept apart.
        let folder = if machine == Machine::HOST { folder } else { folder.join(machine.name()) };
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        say("building the init and the probe");
        let toolchain = if machine == Machine::HOST { Ok(Toolchain::host()) } else { Toolchain::of(machine.triple()) }?;
        let init = Init::Whole.build_with(&toolchain)?;
        let probe = workspace::build_probe(&toolchain)?;
        let image = folder.join("root.img");
        write_image(&image, &probe)?;
        Ok(Self { machine, folder, init, probe, image, scripted: BTreeMap::new(), say })
    }

    /// Fetches or makes a kernel.
    ///
    /// # Errors
    /// One line.
    pub fn kernel(&self, name: &super::KernelName) -> Result<BenchKernel, String> {
        name.prepare(self.machine, self.say)
    }

    /// Makes the initramfs of a contender; `None` is the kernel without_initramfs.
    ///
    /// # Errors
    /// One line: the reason, such as a module that the kernel does not have.
    pub(super) fn initramfs(
        &mut self,
        contender: &Contender,
        kernel: &BenchKernel,
        card: Card,
        root: RootKind,
    ) -> Result<Option<PathBuf>, String> {
        let modules: Vec<&str> = card.modules().iter().chain(root.modules()).copied().collect();
        let name = format!("{}-{}-{}-{}.cpio.gz", contender.name(), kernel.name, card.name(), root.name());
        let path = self.folder.join(name);
        if root == RootKind::Memory && self.machine != Machine::X86_64 {
            return Err("only x86-64's kernel takes a disk in memory (memmap=)".into());
        }
        let tree = match contender {
            Contender::Recipe(_) | Contender::File(..) if root == RootKind::Initramfs => {
                return Err("it needs a disk".into());
            }
            Contender::File(_, path, _) => return Ok(Some(path.clone())),
            Contender::Recipe(recipe) => match &recipe.making {
                Making::None => return without_initramfs(kernel),
                Making::Script(..) if self.machine != Machine::HOST => {
                    return Err("its script runs programs of the machine".into());
                }
                Making::Script(script, packages) => return self.run_script(recipe, script, packages, kernel).map(Some),
                Making::Steps(steps) => self.follow(recipe, steps, kernel, &modules)?,
            },
            Contender::Whit => self.whit(kernel, &modules, root)?,
        };
        initramfs::write(&tree, &path, &Packing::new(Compression::Gzip(9))).map_err(|error| error.to_string())?;
        Ok(Some(path))
    }

    fn whit(&self, kernel: &BenchKernel, modules: &[&str], root: RootKind) -> Result<Tree, String> {
        let load = modules.iter().map(|module| (*module).to_owned()).collect();
        let modules = kernel.modules.clone();
        let load = if modules.is_some() { load } else { Vec::new() };
        let recipe = initramfs::Recipe { init: self.init.clone(), modules, load, ..initramfs::Recipe::default() };
        let (mut tree, _) = recipe.tree().map_err(|error| error.to_string())?;
        if root == RootKind::Initramfs {
            let program = format!("rootfs{WORKLOAD}");
            tree.file(program.as_bytes(), 0o755, &self.probe).map_err(|error| error.to_string())?;
        }
        Ok(tree)
    }

    /// Makes an initramfs by a recipe's script, once for each kernel: it has the modules of every card and root.
    fn run_script(
        &mut self,
        recipe: &Recipe,
        script: &Path,
        packages: &[String],
        kernel: &BenchKernel,
    ) -> Result<PathBuf, String> {
        let name = format!("{}-{}.img", recipe.name, kernel.name);
        let path = self.folder.join(name);
        let made = match self.scripted.get(&path) {
            Some(made) => made.clone(),
            None => {
                (self.say)(&format!("making the initramfs of {} for {}", recipe.name, kernel.name));
                let system = store(self.machine, self.say).and_then(|mut store| {
                    images::system::root(&mut store, packages).map_err(|error| error.to_string())
                });
                let beside = (recipe.folder.as_path(), script);
                system.and_then(|system| script::run(&system, beside, kernel, (&self.folder, &path), self.say))
            }
        };
        self.scripted.insert(path.clone(), made.clone());
        made.map(|()| path)
    }

    fn follow(
        &mut self,
        recipe: &Recipe,
        steps: &[Step],
        kernel: &BenchKernel,
        modules: &[&str],
    ) -> Result<Tree, String> {
        let mut tree = Tree::default();
        for folder in ["dev", "etc", "mnt", "proc", "run", "sys", "tmp"] {
            tree.directory(folder, 0o755).map_err(|error| error.to_string())?;
        }
        tree.character_device("dev/console", 0o600, 5, 1).map_err(|error| error.to_string())?;
        for step in steps {
            match step {
                Step::Busybox(source) => {
                    let file = self.file(recipe, source)?;
                    add_busybox(&mut tree, &file).map_err(|error| error.to_string())?;
                }
                Step::File(name, mode, source) => {
                    let file = self.file(recipe, source)?;
                    tree.file(name.as_bytes(), *mode, &file).map_err(|error| error.to_string())?;
                }
                Step::Link(name, target) => {
                    tree.symlink(name.as_bytes(), target.as_bytes()).map_err(|error| error.to_string())?;
                }
                Step::Directory(name, mode) => tree.directory(name, *mode).map_err(|error| error.to_string())?,
                Step::Modules => {
                    if let Some(folder) = &kernel.modules {
                        let names: Vec<String> = modules.iter().map(|name| (*name).to_owned()).collect();
                        let kernel = Modules::open(folder).map_err(|error| error.to_string())?;
                        add_modules(&mut tree, &kernel, &names, false).map_err(|error| error.to_string())?;
                    }
                }
            }
        }
        Ok(tree)
    }

    fn file(&mut self, recipe: &Recipe, source: &Source) -> Result<PathBuf, String> {
        match source {
            Source::Beside(file) => Ok(recipe.folder.join(file)),
            Source::Package(package, places) => {
                let folder = store(self.machine, self.say)?.package(package).map_err(|error| error.to_string())?;
                let found = places.iter().map(|place| folder.join(place)).find(|path| path.is_file());
                found.ok_or_else(|| format!("{package} has no {}", places.join(", no ")))
            }
        }
    }
}

/// Opens the store of Debian's packages for a machine. It is locked while it is open: other processes wait.
pub(super) fn store(machine: Machine, say: fn(&str)) -> Result<Store, String> {
    Store::open_for(&workspace::target().join("debian"), machine, say).map_err(|error| error.to_string())
}

/// Checks that a kernel can boot without an initramfs: all drivers have to be built in.
fn without_initramfs(kernel: &BenchKernel) -> Result<Option<PathBuf>, String> {
    if kernel.modules.is_some() { Err("this kernel has its drivers as modules".into()) } else { Ok(None) }
}

/// Writes the root: folders that inits mount on, the probe, and two devices for an init that mounts no /dev.
fn write_image(path: &Path, probe: &Path) -> Result<(), String> {
    let program = std::fs::read(probe).map_err(at(probe))?;
    let mut output = Output::create(path).map_err(at(path))?;
    let fill = |file: &File| {
        let mode = |mode| Metadata { mode, ..Metadata::default() };
        let mut image = Builder::new(file, 0)?;
        for folder in FOLDERS {
            image.directory(folder, mode(0o755))?;
        }
        image.device(b"dev/console", mode(0o600), false, (5, 1))?;
        image.device(b"kmsg", mode(0o600), false, KMSG)?;
        let mut writer = image.file(WORKLOAD.as_bytes(), mode(0o755), program.len() as u64)?;
        for piece in program.chunks(64 << 10) {
            writer.room()?.copy_from_slice(piece);
            writer.keep()?;
        }
        writer.close()?;
        let size = Size::Exact(u64::from(IMAGE_MIB) << 20);
        image.finish(&Finish { size, ..Finish::default() })
    };
    let filled: Result<_, whit_tools::disk::ext4::Error> = fill(output.file());
    filled.map_err(|error| format!("{}: {error}", path.display()))?;
    output.commit().map_err(at(path))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
