//! Fetches and makes the files that the demo boots, and shows their sizes.

use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use whit_tools::cli::output::Output;
use whit_tools::cli::size::show as readable;
use whit_tools::compress::Compression;
use whit_tools::disk::image::{self, Options};
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::debian::{Flavour, Store};
use whit_tools::machine::Machine;
use whit_tools::programs;
use whit_tools::runrecord::RunRecord;
use xtask::init::{Init, Toolchain};
use xtask::{images, workspace};

use crate::{Arguments, disk, show};

/// The drivers that the machine of the demo needs, where a kernel has them as modules.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_net", "ext4"];

/// The entrypoint of an image without a configuration: nginx, which goes into the background.
const ENTRYPOINT: &str = "/usr/sbin/nginx";

/// The files of a machine, with notes for the output.
pub(crate) struct Artefacts {
    init: PathBuf,
    image: PathBuf,
    /// The kernel that QEMU loads.
    pub(crate) kernel: PathBuf,
    /// The initramfs that the kernel unpacks.
    pub(crate) initramfs: PathBuf,
    /// The disk that the init mounts.
    pub(crate) disk: PathBuf,
    /// The release of a kernel of Debian's.
    release: Option<String>,
    modules: usize,
}

/// Fetches, builds and packs all files.
pub(crate) fn artefacts(arguments: &Arguments) -> Result<Artefacts, String> {
    for file in [&arguments.image, &arguments.config, &arguments.kernel].into_iter().flatten() {
        File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let machine = arguments.arch;
    programs::install(&[machine.qemu()], progress)?;
    let mut store =
        Store::open_for(&workspace::target().join("debian"), machine, progress).map_err(|error| error.to_string())?;
    let debian = match arguments.kernel {
        Some(_) => None,
        None => Some(store.kernel(Flavour::Cloud, None).map_err(|error| error.to_string())?),
    };
    let busybox = store.busybox().map_err(|error| error.to_string())?;
    let image = match &arguments.image {
        Some(image) => image.clone(),
        None => images::nginx::tar(&mut store).map_err(|error| error.to_string())?,
    };
    drop(store);
    progress("building the init");
    let toolchain = if machine == Machine::HOST { Ok(Toolchain::host()) } else { Toolchain::of(machine.triple()) };
    let init = Init::Whole.build_with(&toolchain?)?;

    let folder = workspace::target().join("demo");
    // The files of another machine are kept apart.
    let folder = if machine == Machine::HOST { folder } else { folder.join(machine.name()) };
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (kernel, modules, release) = match debian {
        Some(kernel) => (link(&kernel.vmlinuz, folder.join("vmlinuz"))?, Some(kernel.modules), Some(kernel.release)),
        None => (arguments.kernel.clone().unwrap_or_default(), arguments.modules.clone(), None),
    };
    let initramfs = folder.join("initramfs.cpio.gz");
    let load = if modules.is_some() { MODULES.map(str::to_owned).to_vec() } else { Vec::new() };
    let recipe = Recipe { init: init.clone(), busybox: Some(busybox), modules, load, ..Recipe::default() };
    let pack = || {
        let (tree, closure) = recipe.tree()?;
        initramfs::write(&tree, &initramfs, &Packing::new(Compression::Gzip(9)))?;
        Ok::<_, initramfs::Error>(closure.load.len())
    };
    let modules = pack().map_err(|error| error.to_string())?;
    let disk = folder.join("disk.img");
    make_disk(&image, arguments.config.as_deref(), &disk)?;
    let [init, image, kernel, initramfs, disk] = [init, image, kernel, initramfs, disk].map(from_here);
    Ok(Artefacts { init, image, kernel, initramfs, disk, release, modules })
}

/// Makes a link with a short name to a file with a long one: people read the command line.
fn link(file: &Path, name: PathBuf) -> Result<PathBuf, String> {
    match std::fs::remove_file(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(file, &name),
    }
    .map_err(|error| format!("{}: {error}", name.display()))?;
    Ok(name)
}

/// Makes a disk of the image, with the run record that has the entrypoint.
fn make_disk(image: &Path, config: Option<&Path>, disk: &Path) -> Result<(), String> {
    let record = match config {
        Some(path) => {
            let json = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            RunRecord::parse(&json).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => RunRecord { entrypoint: vec![ENTRYPOINT.to_owned()], ..RunRecord::default() },
    };
    let run_record = record.encode().map_err(|error| error.to_string())?;
    let options = Options { run_record, ..Options::default() };
    let tar = File::open(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let mut output = Output::create(disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    image::build(tar, output.file(), &options).map_err(|error| format!("{}: {error}", image.display()))?;
    output.commit().map_err(|error| format!("{}: {error}", disk.display()))
}

impl Artefacts {
    /// Returns one line for each file: its kind, size and path.
    pub(crate) fn lines(&self) -> Result<Vec<String>, String> {
        let (_, used) = disk::sizes(&self.disk)?;
        let rows = [
            ("kernel", &self.kernel, self.release.as_ref().map_or_else(String::new, |release| format!(": {release}"))),
            ("init", &self.init, String::new()),
            ("initramfs", &self.initramfs, format!(": the init, busybox, {} kernel modules", self.modules)),
            ("image", &self.image, String::new()),
            ("disk", &self.disk, format!(": {}, the rest is holes", readable(used))),
        ];
        let line = |(what, path, note): (&str, &PathBuf, String)| {
            let (size, _) = disk::sizes(path)?;
            Ok(format!("{what:<10}{:>10}  {}{note}", readable(size), path.display()))
        };
        rows.into_iter().map(line).collect()
    }
}

/// Prints a step that takes some time. A closed standard output is ignored here; the next line of the demo reports it.
pub(crate) fn progress(line: &str) {
    show(&format!("{line} …")).ok();
}

/// Returns a path relative to the current directory, as a person would type it.
fn from_here(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).map(Path::to_owned).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_are_short() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(from_here(here.join("target/demo/disk.img")), Path::new("target/demo/disk.img"));
        assert_eq!(from_here("/boot/vmlinuz".into()), Path::new("/boot/vmlinuz"));
    }
}
