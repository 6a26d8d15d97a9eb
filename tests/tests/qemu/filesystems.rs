//! What a file system asks the kernel for while it is mounted: `mkcpio --for TYPE` has it in the initramfs.

use std::path::Path;
use std::process::Command;

use whit_tests::debian::kernel;
use whit_tests::disks::Disks;
use whit_tests::whole::{Guest, init_messages, unpacked};
use whit_tests::{init, tool};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};

/// A file system: its type, MiB, the command that makes it, the options that ask for something, and the modules that are asked for.
type Case = (&'static str, u64, &'static [&'static str], &'static str, &'static [&'static str]);

/// With Debian's generic kernel, which has all of them as modules. The kernel's own messages tell of quotas that were not switched on.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn a_file_system_has_what_it_asks_for_while_it_is_mounted() {
    let kernel = kernel(Flavour::Generic, None);
    let disks = Disks::new();
    let cases: [Case; 5] = [
        ("ext4", 64, &["mkfs.ext4", "-q", "-O", "quota"], "usrquota", &["quota_v2", "crc32c_generic", "crc32c_intel"]),
        (
            "f2fs",
            256,
            &["mkfs.f2fs", "-q", "-O", "extra_attr,quota,compression"],
            "usrquota,compress_algorithm=zstd",
            &["quota_v2", "lz4_compress", "lz4hc_compress"],
        ),
        ("vfat", 64, &["mkfs.vfat"], "codepage=437,iocharset=iso8859-1", &["nls_cp437", "nls_iso8859_1", "nls_ascii"]),
        ("vfat", 64, &["mkfs.vfat"], "utf8", &["nls_utf8"]),
        ("btrfs", 256, &["mkfs.btrfs", "-q", "--csum", "blake2"], "compress=zstd", &["blake2b_generic", "raid6_pq"]),
    ];
    for (kind, mib, mkfs, flags, modules) in cases {
        let disk = disks.formatted(kind, mib, mkfs);
        let path = disks.tree().join("initramfs");
        let sets = vec!["virtio".parse().unwrap(), kind.parse().unwrap()];
        let recipe = Recipe { init: init(), modules: Some(kernel.modules.clone()), sets, ..Recipe::default() };
        let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
        initramfs::write(&tree, &path, &Packing::new(Compression::None)).unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<String> = tree_names(&path);
        for module in modules {
            assert!(names.iter().any(|name| name == module), "{kind}: no module {module} in {names:?}");
        }
        let command = CommandLine::new(unpacked(&kernel))
            .initrd(&path)
            .accelerator(Accelerator::Tcg)
            .memory_mib(512)
            .nic(Nic::None)
            .append("console=ttyS0 loglevel=5 panic=-1 cryptomgr.notests no_timer_check whit.net=off")
            .append(&format!("root=/dev/vda rootfstype={kind} rootflags={flags}"))
            .disk(DiskInterface::Virtio, &disk)
            .snapshot();
        let mut guest = Guest::start(&command);
        let console = guest.end();
        guest.assert(init_messages(&console, "root") == ["root /dev/vda on /mnt"], &format!("{kind} {flags}"));
        for trouble in ["quota", "NLS", "whit: module"] {
            guest.assert(!console.contains(trouble), &format!("{kind} {flags}: {trouble}"));
        }
    }
}

/// Returns the names of the modules in an initramfs.
fn tree_names(initramfs: &Path) -> Vec<String> {
    let listed = Command::new(tool("mkcpio")).args(["list", "--names"]).arg(initramfs).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files = listed.lines().filter_map(|line| Path::new(line).file_name()?.to_str()?.strip_suffix(".ko"));
    files.map(|name| name.replace('-', "_")).collect()
}
