//! The files that a machine boots from: made from an image and cached, or given.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use whit::contract::{IMAGE_RECORD, path};
use whit_tools::archive::segment;
use whit_tools::cli::output::{self, Output};
use whit_tools::cli::temporary::Temporary;
use whit_tools::disk::ext4::Size;
use whit_tools::disk::image::{self, Choice, Input, Options, Platform};
use whit_tools::initramfs::{self, Memory};
use whit_tools::kernel::elf;
use whit_tools::machine::Machine;
use whit_tools::runrecord::RunRecord;
use whit_tools::vm::qemu::{Board, DiskInterface};
use whit_tools::vm::{Cache, Drivers, Kernel, Key, PORT, ShareKind, content, may_be_unsigned};

use crate::arguments::{Arguments, NicArgument};
use crate::check::{self, Files};
use crate::image::Image;
use crate::record::record;

/// The files and settings for QEMU.
pub(crate) struct Artefacts {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// The disk, and whether writes to it are kept.
    pub(crate) disk: Option<(PathBuf, bool)>,
    /// The machine's memory.
    pub(crate) memory_mib: u32,
    /// The kind of each share.
    pub(crate) shares: Vec<ShareKind>,
    /// Whether the machine reacts to its power button.
    pub(crate) has_button: bool,
    /// Whether the init connects the workload's streams to a port.
    pub(crate) has_streams: bool,
    /// The time that the init waits from the stop signal to SIGKILL.
    pub(crate) grace: Duration,
    /// Whether the init starts programs beside the workload.
    pub(crate) has_exec: bool,
    /// The initramfs, if it was made only for this run.
    pub(crate) temporary: Option<Temporary>,
}

/// Makes or checks the files.
pub(crate) fn artefacts(arguments: &Arguments, append: &str) -> Result<Artefacts, String> {
    for (number, folder) in arguments.volume.iter().enumerate() {
        folder.check()?;
        if arguments.volume[..number].iter().any(|earlier| Path::new(&earlier.path) == Path::new(&folder.path)) {
            return Err(format!("-v {}:{}: there is another -v for this path", folder.folder.display(), folder.path));
        }
    }
    if let Some(disk) = arguments.disk.as_ref().filter(|_| arguments.print.is_none()) {
        check_disk(arguments, disk).map_err(|error| describe(disk, &error))?;
    }
    match (&arguments.initrd, &arguments.kernel, &arguments.image) {
        (Some(initrd), Some(kernel), _) => given(arguments, append, kernel, initrd),
        (_, _, Some(image)) => from_image(arguments, append, image),
        _ => Err("an image, or --kernel and --initrd".to_owned()), // clap requires it
    }
}

fn given(arguments: &Arguments, append: &str, kernel: &Path, initrd: &Path) -> Result<Artefacts, String> {
    for file in [Some(kernel), Some(initrd), arguments.disk.as_deref()].into_iter().flatten() {
        check_readable(file)?;
        if file.is_dir() {
            return Err(describe(file, &"is a directory"));
        }
    }
    let mut kernel = Kernel::given(kernel, None)?;
    check_kernel(arguments, &kernel)?;
    if !arguments.volume.is_empty() {
        kernel.limit(initrd, &[("virtiofs", "CONFIG_VIRTIO_FS"), ("9p", "CONFIG_9P_FS")]);
    }
    let shares = shares(arguments, &kernel)?;
    let before = segment::record(initrd).map_err(|error| error.to_string());
    // A given initramfs is booted unchanged, unless options change its run record.
    // Without a driver of the port, the init uses the console.
    let init = segment::init(initrd).unwrap_or_default();
    if let Some(found) = elf::machine(&init).and_then(Machine::of_elf) {
        check_machine(arguments, initrd, "its init", found)?;
    }
    let has_streams = takes_streams(arguments) && initramfs::has_streams(&init);
    let record = record(arguments, &shares, before.as_deref().unwrap_or_default(), has_streams)?;
    let grace = check::check(append, &record, &image_files(arguments, arguments.disk.as_deref()))?;
    let temporary = if record == before.as_deref().unwrap_or_default() || record.is_empty() {
        None
    } else {
        before?;
        Some(segment::with_record(initrd, &record).map_err(|error| error.to_string())?)
    };
    Ok(Artefacts {
        kernel: boot_file(arguments, Cache::open().ok().as_ref(), &kernel),
        initramfs: temporary.as_ref().map_or(initrd, Temporary::path).to_owned(),
        disk: arguments.disk.clone().map(|disk| (disk, true)),
        memory_mib: arguments.memory.unwrap_or(MEMORY_MIB),
        shares,
        has_button: true,
        has_streams,
        grace,
        has_exec: has_streams && initramfs::has_exec(&init),
        temporary,
    })
}

fn from_image(arguments: &Arguments, append: &str, image: &Path) -> Result<Artefacts, String> {
    let cache = Cache::open()?;
    let image = Image::find(arguments, &cache, image)?;
    let image = image.path.as_path();
    let kernel = match &arguments.kernel {
        Some(kernel) => Kernel::given(kernel, arguments.modules.as_deref())?,
        None => Kernel::find(&cache, arguments.architecture(), log)?,
    };
    check_kernel(arguments, &kernel)?;
    let shares = shares(arguments, &kernel)?;
    let base = initramfs(arguments, &cache, &kernel, &shares, image)?;
    let memory_mib = memory_mib(arguments, &base)?;
    let init = initramfs::find_init(arguments.init.as_deref(), arguments.architecture())?;
    let init = std::fs::read(&init).map_err(|error| describe(&init, &error))?;
    let has_streams = takes_streams(arguments) && kernel.has(PORT) && initramfs::has_streams(&init);
    let record = record(arguments, &shares, b"", has_streams)?;
    let temporary = match record.as_slice() {
        [] => None,
        record => Some(segment::with_record(&base, record).map_err(|error| error.to_string())?),
    };
    let disk = match &arguments.disk {
        _ if arguments.no_disk => None,
        Some(disk) if disk.exists() => {
            warn_of_change(disk, image);
            Some((disk.clone(), true))
        }
        Some(disk) => {
            let mut output = Output::create(disk).map_err(|error| format!("{}: {error}", disk.display()))?;
            build(arguments, image, disk, &mut output)?;
            output.commit().map_err(|error| format!("{}: {error}", disk.display()))?;
            remember_image(disk, image);
            Some((disk.clone(), true))
        }
        None => Some((cached_disk(arguments, &cache, image)?, false)),
    };
    let path = disk.as_ref().map(|(path, _)| path.as_path());
    let grace = check::check(append, &record, &image_files(arguments, path))?;
    Ok(Artefacts {
        kernel: boot_file(arguments, Some(&cache), &kernel),
        initramfs: temporary.as_ref().map_or(base.as_path(), Temporary::path).to_owned(),
        disk,
        memory_mib,
        shares,
        has_button: button(arguments.board()).iter().all(|module| kernel.has(module)),
        has_streams,
        grace,
        has_exec: has_streams && initramfs::has_exec(&init),
        temporary,
    })
}

/// Refuses a kernel of another machine than the board's.
fn check_kernel(arguments: &Arguments, kernel: &Kernel) -> Result<(), String> {
    kernel.machine.map_or(Ok(()), |found| check_machine(arguments, &kernel.vmlinuz, "the kernel", found))
}

/// Refuses a file of another machine than the board's.
fn check_machine(arguments: &Arguments, path: &Path, what: &str, found: Machine) -> Result<(), String> {
    let wanted = arguments.board().machine();
    if found == wanted {
        Ok(())
    } else {
        Err(describe(path, &format!("{what} is for {found}, but the machine is {wanted}")))
    }
}

/// Returns whether the options leave the workload's streams to this program. A command line that is printed has no ports.
fn takes_streams(arguments: &Arguments) -> bool {
    arguments.print.is_none() && !arguments.append.as_ref().is_some_and(|words| words.contains("whit.streams="))
}

/// Reads the files of the root that the checks need, unless another root, an overlay or a shared folder provides them.
fn image_files(arguments: &Arguments, disk: Option<&Path>) -> Files {
    let words = arguments.append.as_deref().unwrap_or_default();
    let is_other = ["root=", "whit.overlay"].iter().any(|word| words.contains(word));
    let covering = ["/", "/etc", "/etc/", "/etc/passwd", "/etc/group", path(IMAGE_RECORD)];
    let is_covered = arguments.volume.iter().any(|volume| covering.contains(&volume.path.as_str()));
    match disk {
        Some(disk) if !is_other && !is_covered => Files::of_disk(disk),
        _ => Files::default(),
    }
}

/// Returns the file that QEMU boots: the kernel's ELF form, except with --kaslr: only the decompressor of a bzImage chooses an
/// address.
fn boot_file(arguments: &Arguments, cache: Option<&Cache>, kernel: &Kernel) -> PathBuf {
    let unpacked = cache.filter(|_| !arguments.kaslr).and_then(|cache| kernel.unpacked(cache));
    unpacked.unwrap_or_else(|| kernel.vmlinuz.clone())
}

/// The default memory, in MiB.
const MEMORY_MIB: u32 = 256;

/// Returns the memory of -m, or as much as an image in the initramfs needs.
fn memory_mib(arguments: &Arguments, initramfs: &Path) -> Result<u32, String> {
    let needed = match arguments.memory {
        Some(memory_mib) => return Ok(memory_mib),
        None if arguments.no_disk => Memory::read(initramfs).map_err(|error| describe(initramfs, &error))?,
        None => Memory::default(),
    };
    let memory_mib = u32::try_from(needed.tmpfs_mib).unwrap_or(u32::MAX).max(MEMORY_MIB);
    if memory_mib > MEMORY_MIB {
        log(&format!("the machine has {memory_mib}M of memory, because the image is in memory; -m overrides this"));
    }
    Ok(memory_mib)
}

fn shares(arguments: &Arguments, kernel: &Kernel) -> Result<Vec<ShareKind>, String> {
    let is_root = rustix::process::geteuid().is_root();
    let kind = |volume| arguments.share.map_or_else(|| ShareKind::choose(kernel, volume, is_root), Ok);
    arguments.volume.iter().map(kind).collect()
}

/// Returns the modules of the power button, which ctrl-c presses: ACPI's, or the key of a device tree.
fn button(board: Board) -> [&'static str; 2] {
    ["evdev", if board == Board::Virt { "gpio_keys" } else { "button" }]
}

/// The module for whit.notify=vsock, whose user adds the device to QEMU.
const VSOCK: &str = "vmw_vsock_virtio_transport";

/// Returns the required and the optional modules of this machine.
fn modules(arguments: &Arguments, shares: &[ShareKind]) -> (Vec<&'static str>, Vec<&'static str>) {
    let board = arguments.board();
    let mut needed = vec![if board == Board::Microvm { "virtio_mmio" } else { "virtio_pci" }];
    needed.extend(match (DiskInterface::from(arguments.disk_interface), board) {
        _ if arguments.no_disk => &[][..],
        (DiskInterface::Virtio, _) => &["virtio_blk"],
        (DiskInterface::Ide, Board::Q35) => &["ahci", "sd_mod"],
        (DiskInterface::Ide, _) => &["ata_piix", "sd_mod"],
        (DiskInterface::Nvme, _) => &["nvme"],
    });
    if !arguments.no_disk {
        needed.push("ext4");
    }
    needed.extend(match arguments.nic() {
        NicArgument::VirtioNet => Some("virtio_net"),
        NicArgument::E1000 => Some("e1000"),
        NicArgument::None => None,
    });
    for share in shares {
        needed.extend(share.modules());
    }
    let mut optional = [button(board).as_slice(), &[PORT]].concat();
    if arguments.append.as_ref().is_some_and(|words| words.contains("whit.notify=vsock")) {
        optional.push(VSOCK);
    }
    (needed, optional)
}

/// Returns the initramfs for this kernel and machine.
fn initramfs(
    arguments: &Arguments,
    cache: &Cache,
    kernel: &Kernel,
    shares: &[ShareKind],
    image: &Path,
) -> Result<PathBuf, String> {
    let (needed, mut optional) = modules(arguments, shares);
    optional.retain(|module| kernel.has(module));
    let drivers = Drivers {
        needed,
        optional,
        more: &arguments.module,
        sets: &arguments.sets,
        may_be_unsigned: may_be_unsigned(arguments.append.as_deref().unwrap_or_default()),
        rootfs: arguments.no_disk.then_some(image),
    };
    let init = initramfs::find_init(arguments.init.as_deref(), arguments.architecture())?;
    drivers.initramfs(cache, kernel, init)
}

/// The extended attribute of a disk with the hash of the image that it was made from.
const IMAGE_HASH: &str = "user.whit.image";

/// Stores the hash of the image with its disk. A file system may have no extended attributes.
fn remember_image(disk: &Path, image: &Path) {
    if let Ok(hash) = hash(image) {
        let _ = setxattr(disk, IMAGE_HASH, hash.as_bytes(), XattrFlags::empty());
    }
}

/// Tells the user that a disk has the files of another image, if that is known.
fn warn_of_change(disk: &Path, image: &Path) {
    let mut room = [0; 64];
    let (Ok(length), Ok(hash)) = (getxattr(disk, IMAGE_HASH, &mut room), hash(image)) else { return };
    if room.get(..length) != Some(hash.as_bytes()) {
        let (disk, image) = (disk.display(), image.display());
        log(&format!("{disk} was made from another {image}, and keeps its files; remove it to have those of {image}"));
    }
}

/// Returns the hash of an image, in hexadecimal digits.
fn hash(path: &Path) -> io::Result<String> {
    Ok(content(path)?.to_hex().to_string())
}

/// Returns the disk with the image's files, cached by their content.
fn cached_disk(arguments: &Arguments, cache: &Cache, image: &Path) -> Result<PathBuf, String> {
    let mut key = new_key()?;
    key.add_file(image).map_err(|error| format!("{}: {error}", image.display()))?;
    key.add(format!("{:?} {:?}", arguments.free, arguments.architecture()).as_bytes());
    cache.file("disk", &key, |output| build(arguments, image, &cache.folder(""), output))
}

/// Writes the disk of an image; `place` is the disk or the folder that an error of writing names.
fn build(arguments: &Arguments, image: &Path, place: &Path, output: &mut Output) -> Result<(), String> {
    let file = File::open(image).map_err(|error| describe(image, &error))?;
    let summary = image::build_file(&file, &choice(arguments), output.file(), |input| {
        if let Input::Layers(layers) = &input
            && let Some(found) = layers.machine()
        {
            check_machine(arguments, image, "the image", found).map_err(Failure::Line)?;
        }
        let record = input.config().map(RunRecord::encode).transpose();
        let run_record = record.map_err(|error| Failure::Line(describe(image, &error)))?.unwrap_or_default();
        let size = arguments.free.map_or(Size::Auto, Size::Free);
        Ok(Options { run_record, size, is_root: true, ..Options::default() })
    });
    let summary = summary.map_err(|failure| match failure {
        Failure::Image(error) => match error.of_disk() {
            Some(error) => describe(place, error),
            None => describe(image, &error),
        },
        Failure::Line(line) => line,
    })?;
    if let Some(after) = summary.after_end {
        log(&describe(image, &format!("ignored: {after}")));
    }
    Ok(())
}

/// Prefers an image for the machine, which need not be of the host's kind.
fn choice(arguments: &Arguments) -> Choice {
    Choice { preferred: Platform::of(arguments.architecture()), ..Choice::default() }
}

/// Why a disk is not made.
enum Failure {
    Image(image::Error),
    /// The image is for another machine, or its configuration is bad.
    Line(String),
}

impl From<image::Error> for Failure {
    fn from(error: image::Error) -> Self {
        Self::Image(error)
    }
}

fn describe(path: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", path.display())
}

fn new_key() -> Result<Key, String> {
    Key::new().map_err(|error| format!("cannot read the metadata of runvm itself: {error}"))
}

/// Refuses a disk that is one of the inputs, or a device in use.
fn check_disk(arguments: &Arguments, disk: &Path) -> Result<(), String> {
    if output::is_stream(disk) {
        return Err("a disk must be a file or a block device".to_owned());
    }
    let Arguments { image, kernel, initrd, config, .. } = arguments;
    for input in [image, kernel, initrd, config].into_iter().flatten() {
        // A file that cannot be read is reported when it is used.
        if let Ok(metadata) = input.metadata() {
            output::check_apart(disk, &input.display(), &metadata)?;
        }
    }
    match disk.metadata() {
        Ok(_) => output::check(disk).map_err(|error| error.to_string()),
        Err(_) => Ok(()), // it is created later, or reported as missing
    }
}

/// Refuses a file that cannot be read.
pub(crate) fn check_readable(path: &Path) -> Result<(), String> {
    File::open(path).map(drop).map_err(|error| describe(path, &error))
}

/// Logs a long step.
pub(crate) fn log(line: &str) {
    output::say(format_args!("runvm: {line}"));
}
