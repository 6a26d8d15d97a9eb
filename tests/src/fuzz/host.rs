//! Targets in the host's tools.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use tempfile::{TempDir, tempfile};
use whit_tools::archive::segment;
use whit_tools::archive::tar::{Entry, Reader};
use whit_tools::cli::progress::Progress;
use whit_tools::disk::ext4::read::FileSystem;
use whit_tools::disk::gpt;
use whit_tools::disk::image::{self, Choice, Options};
use whit_tools::initramfs::rootfs::Rootfs;
use whit_tools::kernel::modules::{Modules, Package};
use whit_tools::kernel::{self, config::Config};
use whit_tools::machine::Machine;
use whit_tools::runrecord::RunRecord;

/// Limit for the content that is read from one input. More takes time and tests nothing new.
const MAX_READ: u64 = 1 << 20;

/// Returns a file with the input, open at its start.
fn file_of(input: &[u8]) -> File {
    let mut file = tempfile().unwrap();
    file.write_all(input).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    file
}

/// Creates a folder with the input as the file `name`.
fn folder_with(name: &str, input: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), input).unwrap();
    folder
}

/// Reads a tar, entry by entry.
pub(super) fn tar(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut entry = Entry::default();
    let (mut buffer, mut read) = (vec![0; 4096], 0);
    while let Ok(true) = reader.next(&mut entry) {
        loop {
            let hole = reader.hole();
            if hole > 0 {
                reader.skip_hole(hole);
                continue;
            }
            match reader.read(&mut buffer) {
                Ok(count @ 1..) => read += count as u64,
                Ok(0) | Err(_) => break,
            }
            assert!(read <= input.len() as u64, "more content than the archive has bytes");
        }
    }
}

/// Returns small archives with one entry of each kind.
pub(super) fn tar_seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("directory")).unwrap();
    fs::write(path.join("directory/file"), "content").unwrap();
    fs::hard_link(path.join("directory/file"), path.join("link")).unwrap();
    std::os::unix::fs::symlink("directory/file", path.join("symlink")).unwrap();
    fs::write(path.join("n".repeat(120)), "a long name").unwrap();
    let sparse = File::create(path.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    let make = |format: &str| {
        let mut tar = std::process::Command::new("tar");
        tar.args(["--format", format, "--sparse", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-c", "."]);
        tar.current_dir(path).output().expect("tar").stdout
    };
    ["gnu", "posix", "ustar"].map(make).into()
}

/// Makes a disk of a tar, as mkraw does, and reads its files back.
pub(super) fn tar_to_disk(input: &[u8]) {
    let output = tempfile().unwrap();
    let options = Options { is_verified: true, ..Options::default() };
    match image::build(input, &output, &options) {
        Ok(_) => walk(&FileSystem::open(&output, 0).expect("a disk that mkraw made")),
        Err(error) => assert!(one_line(&error.to_string()), "{error}"),
    }
}

/// Reads a tar as `mkcpio --rootfs` does.
pub(super) fn tar_to_rootfs(input: &[u8]) {
    if let Err(error) = Rootfs::open(file_of(input), false) {
        assert!(one_line(&error.to_string()), "{error}");
    }
}

/// Reads an initramfs: segments of newc, each compressed or not.
pub(super) fn initramfs(input: &[u8]) {
    let mut reader = segment::Reader::new(input);
    let (mut buffer, mut read) = (vec![0; 4096], 0);
    while let Ok(Some(member)) = reader.next_entry() {
        assert!(!member.name.contains(&0), "a name has a NUL in it");
        while let Ok(count @ 1..) = reader.read_data(&mut buffer) {
            read += count as u64;
            if read > MAX_READ {
                return;
            }
        }
    }
}

/// Reads an image of layers, as `docker save` and OCI tools write it.
pub(super) fn image_layers(input: &[u8]) {
    match image::Input::open(file_of(input), &Choice::default()) {
        Ok(input) => {
            let _ = (input.config(), input.title());
            let output = tempfile().unwrap();
            let _ = image::build_from(input, &output, &Options::default());
        }
        Err(error) => assert!(one_line(&error.to_string()), "{error}"),
    }
}

/// Parses `docker inspect`'s output or an image's configuration, and reads back the run record that is made of it.
pub(super) fn image_config(input: &[u8]) {
    let Ok(record) = RunRecord::parse(input) else { return };
    let _ = record.describe();
    if let Ok(text) = record.encode() {
        let decoded = RunRecord::decode(text.as_bytes());
        assert_eq!(decoded.encode().ok(), Some(text), "a record that is read back differs");
    }
}

/// Reads the files of a modules directory. The input is modules.dep, a NUL, modules.alias, a NUL, modules.builtin.
pub(super) fn module_index(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = input.splitn(3, |byte| *byte == 0);
    for name in ["modules.dep", "modules.alias", "modules.builtin"] {
        fs::write(folder.path().join(name), parts.next().unwrap_or_default()).unwrap();
    }
    let Ok(modules) = Modules::open(folder.path()) else { return };
    let names: Vec<String> = String::from_utf8_lossy(input).split_whitespace().take(4).map(str::to_owned).collect();
    let _ = modules.closure(&names);
    let _ = modules.drivers(&names, &names, true);
}

/// Opens a kernel package. The first byte selects its file name, and so its kind.
pub(super) fn kernel_package(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else { return };
    let names = ["package.deb", "package.rpm", "package.apk", "package.pkg.tar"];
    let name = names[usize::from(*kind) % names.len()];
    let folder = folder_with(name, input);
    if let Err(error) = Package::open(&[folder.path().join(name)], &Progress::default()) {
        assert!(one_line(&error.to_string()), "{error}");
    }
}

/// Reads a kernel: the header of a bzImage, and the configuration in it.
pub(super) fn kernel_file(input: &[u8]) {
    let folder = folder_with("vmlinuz", input);
    let path = folder.path().join("vmlinuz");
    let _ = (kernel::image::release(&path), kernel::image::machine(&path), kernel::image::content(&path));
    let _ = Config::of(&path).map(|config| config.map(|config| config.best_compression()));
}

/// Returns a disk of mkraw's with one entry of each kind.
pub(super) fn disk_seeds() -> Vec<Vec<u8>> {
    let tar = tar_seeds().swap_remove(0);
    let mut output = tempfile().unwrap();
    image::build(&*tar, &output, &Options { has_journal: false, ..Options::default() }).unwrap();
    let mut disk = Vec::new();
    io::Seek::rewind(&mut output).unwrap();
    output.read_to_end(&mut disk).unwrap();
    vec![disk]
}

/// Reads a disk as `mkraw inspect` does.
pub(super) fn disk(input: &[u8]) {
    let _ = gpt::root(input.get(..gpt::FRONT).unwrap_or_default(), &Machine::root_types());
    let file = file_of(input);
    if let Ok(disk) = FileSystem::open(&file, 0) {
        let _ = (disk.superblock().features(), disk.check_features());
        walk(&disk);
    }
}

/// Reads the root directory and its entries.
fn walk(disk: &FileSystem<'_>) {
    const ROOT: u32 = 2;
    let Ok(root) = disk.inode(ROOT) else { return };
    for (_, number) in disk.names(&root).unwrap_or_default().into_iter().take(64) {
        let Ok(inode) = disk.inode(number) else { continue };
        let _ = (disk.target(&inode), disk.names(&inode), inode.device());
        if inode.size < MAX_READ {
            let _ = disk.read(&inode, &mut |_, _| {});
        }
    }
}

fn one_line(message: &str) -> bool {
    !message.is_empty() && message.lines().count() == 1
}
