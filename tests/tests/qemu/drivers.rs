//! Machines whose initramfs has drivers for many kinds of hardware, and which load only those of their own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use whit_tests::debian::{all_cloud_kernels, cloud_kernels, kernel};
use whit_tests::disks::Disks;
use whit_tests::whole::{Guest, busybox_disk, unpacked};
use whit_tests::{init, tool};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::debian::{Flavour, Kernel};
use whit_tools::kernel::modules::{For, Settings};
use whit_tools::vm::qemu::{Accelerator, Board, CommandLine, DiskInterface, Nic};
use xtask::workspace;

/// Prints the loaded modules when the workload starts, one in each line.
const SHOW: &str = r#"entrypoint=/bin/sh -- -c "cut -d ' ' -f 1 /proc/modules; echo shown""#;

fn initramfs(folder: &Path, kernel: &Kernel, set: For) -> PathBuf {
    let path = folder.join("initramfs");
    let recipe = Recipe { init: init(), modules: Some(kernel.modules.clone()), sets: vec![set], ..Recipe::default() };
    let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
    // Not compressed: unpacking is slow in an emulated machine.
    initramfs::write(&tree, &path, &Packing::new(Compression::None)).unwrap_or_else(|error| panic!("{error}"));
    path
}

/// Returns an emulated machine with this initramfs.
fn hardware(kernel: &Kernel, initramfs: &Path) -> CommandLine {
    CommandLine::new(unpacked(kernel))
        .initrd(initramfs)
        .accelerator(Accelerator::Tcg)
        .memory_mib(1024)
        .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check")
}

/// Boots to a lease and a root on this hardware; returns the lines of the console, among them the loaded modules.
fn boot(kernel: &Kernel, initramfs: &Path, board: Board, disk: DiskInterface, nic: Nic) -> Vec<String> {
    let command = hardware(kernel, initramfs)
        .board(board)
        .nic(nic)
        .disk(disk, busybox_disk())
        .snapshot()
        .append("whit.net=require whit.net.timeout=60")
        .append(&format!("root={} {SHOW}", disk.first_device()));
    let mut guest = Guest::start(&command);
    guest.line("shown");
    guest.line("whit: exit 0");
    let console = guest.end();
    guest.assert_has(&console, &[&format!("whit: root {} on /mnt", disk.first_device()), "whit: eth0 10.0.2.15/24"]);
    console.lines().map(str::trim).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn one_initramfs_boots_every_machine_and_loads_only_its_drivers() {
    let kernel = kernel(Flavour::Generic, None);
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    let initramfs = initramfs(folder.path(), &kernel, For::BareMetal);
    for (board, disk, nic, drivers, others) in [
        (Board::Pc, DiskInterface::Ide, Nic::E1000, ["ata_piix", "e1000"], ["nvme", "virtio_net"]),
        (Board::Q35, DiskInterface::Ide, Nic::VirtioNet, ["ahci", "virtio_net"], ["nvme", "e1000"]),
        (Board::Q35, DiskInterface::Nvme, Nic::E1000, ["nvme", "e1000"], ["virtio_blk", "tg3"]),
        (Board::Pc, DiskInterface::Virtio, Nic::VirtioNet, ["virtio_blk", "virtio_net"], ["nvme", "e1000"]),
    ] {
        let console = boot(&kernel, &initramfs, board, disk, nic);
        let is_loaded = |name: &&str| console.iter().any(|line| line == name);
        assert!(drivers.iter().all(&is_loaded), "{drivers:?}: {console:#?}");
        assert!(!others.iter().any(is_loaded), "{others:?}: {console:#?}");
    }
}

/// The image has a modprobe of its own, which the kernel does not run: it asks in the initramfs. A kind of interface with a second line
/// is no request for the module that this names.
const REQUESTS: &str = "entrypoint=/bin/sh -- -c \"busybox mkdir /sbin /low /up /work /all; busybox ln -s /bin/busybox /sbin/modprobe; \
    cat() { busybox cut -d ' ' -f 1 /proc/modules; }; \
    IFS=; busybox ip link add no1 type $(busybox printf 'x\\noverlay') || echo refused; IFS=' '; cat; echo before; busybox ip link add wg0 type wireguard && echo added; \
    busybox ip link add no0 type nonsense || echo refused; \
    busybox mount -t overlay -o lowerdir=/low,upperdir=/up,workdir=/work overlay /all || echo tried; \
    busybox mount -t cifs //127.0.0.1/x /all; cat; echo shown\"";

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_kernel_gets_the_modules_that_it_requests_from_the_initramfs() {
    for kernel in cloud_kernels() {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let path = folder.path().join("initramfs");
        let sets = ["virtio", "wireguard", "docker"].map(|set| set.parse().unwrap()).to_vec();
        let recipe = Recipe { init: init(), modules: Some(kernel.modules.clone()), sets, ..Recipe::default() };
        let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
        initramfs::write(&tree, &path, &Packing::new(Compression::None)).unwrap_or_else(|error| panic!("{error}"));
        let command = hardware(&kernel, &path).disk(DiskInterface::Virtio, busybox_disk()).snapshot().nic(Nic::None);
        let mut guest = Guest::start(&command.append("root=/dev/vda whit.net=off").append(REQUESTS));
        guest.line("shown");
        let console = guest.end();
        let lines: Vec<&str> = console.lines().map(str::trim).collect();
        let place = |text: &str| lines.iter().position(|line| *line == text);
        let before = place("before").unwrap_or_else(|| panic!("{console}"));
        for (module, is_early) in [("wireguard", false), ("overlay", false), ("br_netfilter", true)] {
            let found = place(module).unwrap_or_else(|| panic!("{module}: {console}"));
            assert_eq!(found < before, is_early, "{module}: {console}");
        }
        for text in ["added", "refused"] {
            assert!(place(text).is_some(), "{text}: {console}");
        }
        assert!(place("cifs").is_none(), "{console}");
    }
}

/// The bus mmc has no file `modalias`: its devices have the property MODALIAS alone.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn an_sd_card_is_a_root() {
    let kernel = kernel(Flavour::Generic, None);
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 64, &["mkfs.ext4", "-q"]);
    let command = hardware(&kernel, &initramfs(&disks.tree(), &kernel, For::BareMetal))
        .append("root=/dev/mmcblk0 whit.net=off")
        .option("-device", "sdhci-pci")
        .option("-drive", format!("if=none,id=card,format=raw,file={}", ext4.display()))
        .option("-device", "sd-card,drive=card")
        .nic(Nic::None)
        .snapshot();
    let mut guest = Guest::start(&command);
    guest.line("whit: root /dev/mmcblk0 on /mnt");
    guest.end();
}

/// The machine has a USB controller, whose driver is loaded at the boot; the drivers of the devices are not.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_card_and_a_keyboard_that_come_while_the_workload_runs_get_drivers() {
    let kernel = kernel(Flavour::Generic, None);
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    let workload = r#"entrypoint=/bin/sh -- -c "echo running; until grep -q 'USB Keyboard' /proc/bus/input/devices && grep -q usbhid /proc/modules; do sleep 1; done; echo pressed""#;
    let command = hardware(&kernel, &initramfs(folder.path(), &kernel, For::BareMetal))
        .disk(DiskInterface::Virtio, busybox_disk())
        .nic(Nic::None)
        .option("-device", "qemu-xhci")
        .option("-netdev", "user,id=late")
        .append(&format!("root=/dev/vda whit.net=bg {workload}"))
        .snapshot();
    let mut guest = Guest::start(&command);
    guest.line("running");
    for device in [json!({ "driver": "usb-net", "netdev": "late" }), json!({ "driver": "usb-kbd" })] {
        guest.machine().execute("device_add", &device).unwrap();
    }
    guest.line("10.0.2.15/24");
    guest.line("pressed");
    guest.line("whit: exit 0");
    guest.end();
}

/// The state of the driver of slow controllers: `coming` while it looks for disks, then `live`.
const STATE: &str = "/sys/module/sym53c8xx/initstate";

/// Adds three controllers that look for their disks for seconds. The guest's clock is exact: the order does not depend on the host.
fn beside_slow_controllers(command: CommandLine) -> CommandLine {
    (0..3).fold(command.exact_time(), |command, _| command.option("-device", "lsi53c895a"))
}

/// Before the feature `modules` the root was looked for after all drivers were done. A SATA disk waited for the disks of other controllers
/// until mkcpio gave the SCSI core its parameter.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn slow_controllers_without_disks_do_not_delay_the_root() {
    let kernel = kernel(Flavour::Generic, None);
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    let initramfs = initramfs(folder.path(), &kernel, For::BareMetal);
    let workload = format!(
        r#"entrypoint=/bin/sh -- -c "echo driver: $(cat {STATE} || echo none); until grep -q live {STATE}; do sleep 1; done; sleep 1; grep Z /proc/[0-9]*/stat; echo done""#
    );
    for (disk, root) in [(DiskInterface::Nvme, "nvme0n1"), (DiskInterface::Ide, "sda")] {
        let command = hardware(&kernel, &initramfs)
            .board(Board::Q35)
            .disk(disk, busybox_disk())
            .nic(Nic::VirtioNet)
            .append(&format!("root=/dev/{root} {workload}"))
            .snapshot();
        let mut guest = Guest::start(&beside_slow_controllers(command));
        let line = guest.line("driver: ");
        assert!(!line.contains("live"), "{root}: the workload starts after the driver is done");
        guest.line("done");
        guest.line("whit: exit 0");
        let console = guest.end();
        guest.assert_has(&console, &["whit: eth0 10.0.2.15/24"]);
        assert!(!console.contains("(Z)") && !console.contains(" Z ") && !console.contains("emergency"), "{console}");
    }
}

/// The workload ends while a driver is still loaded.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_machine_that_ends_while_a_driver_is_loaded_ends_in_order() {
    let kernel = kernel(Flavour::Generic, None);
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    let workload = format!(r#"entrypoint=/bin/sh -- -c "until cat {STATE}; do sleep 0.1; done""#);
    let command = hardware(&kernel, &initramfs(folder.path(), &kernel, For::BareMetal))
        .disk(DiskInterface::Nvme, busybox_disk())
        .nic(Nic::None)
        .append(&format!("root=/dev/nvme0n1 whit.net=off {workload}"))
        .snapshot();
    let mut guest = Guest::start(&beside_slow_controllers(command));
    guest.line("coming");
    guest.line("whit: exit 0");
    let console = guest.end();
    guest.assert_has(&console, &["whit: power off"]);
    assert!(!console.contains("emergency") && !console.contains("daemons"), "{console}");
}

/// Parameters of `mkcpio --options` and of the kernel command line, which is stronger, for a module of the list and one that is loaded by
/// device. Of three modules that are not loaded, mkcpio has left one out, the kernel refuses one, and the init does not load the third for
/// its device; it loads two others of the same blacklist, by name and as a dependency.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn modules_get_their_parameters() {
    for kernel in cloud_kernels() {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let path = folder.path().join("initramfs");
        let mut settings = Settings::default();
        for options in ["virtio_net:napi_tx=1 gso=0", "loop:max_loop=5"] {
            settings.add(options).unwrap();
        }
        let file = folder.path().join("modprobe.conf");
        std::fs::write(&file, "blacklist button\n").unwrap();
        settings.read(&file).unwrap();
        let recipe = Recipe {
            init: init(),
            modules: Some(kernel.modules.clone()),
            load: vec!["loop".to_owned()],
            sets: vec![For::Virtio],
            settings,
            ..Recipe::default()
        };
        let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
        initramfs::write(&tree, &path, &Packing::new(Compression::None)).unwrap_or_else(|error| panic!("{error}"));
        let show = r#"entrypoint=/bin/sh -- -c "cd /sys/module; grep . virtio_net/parameters/* loop/parameters/max_*; ls -1; echo shown""#;
        let command = hardware(&kernel, &path)
            .disk(DiskInterface::Virtio, busybox_disk())
            .nic(Nic::VirtioNet)
            .append("root=/dev/vda virtio-net.napi_tx=0 virtio_net.csum=\"0\" loop.max_part=7")
            .append(&format!("module_blacklist=evdev modprobe.blacklist=loop,virtio-rng,net_failover {show}"))
            .option("-device", "virtio-rng-pci")
            .snapshot();
        let mut guest = Guest::start(&command);
        guest.line("shown");
        guest.line("whit: exit 0");
        let console = guest.end();
        let expected = [
            "virtio_net/parameters/napi_tx:N",
            "virtio_net/parameters/gso:N",
            "virtio_net/parameters/csum:N",
            "loop/parameters/max_loop:5",
            "loop/parameters/max_part:7",
            "whit: eth0 10.0.2.15/24",
            "/evdev.ko: EPERM",
        ];
        guest.assert_has(&console, &expected);
        let is_there = |name: &str| console.lines().any(|line| line.trim() == name);
        for (name, expected) in [
            ("virtio_blk", true),
            ("button", false),
            ("evdev", false),
            ("virtio_rng", false),
            ("loop", true),
            ("net_failover", true),
        ] {
            assert_eq!(is_there(name), expected, "{name}: {console}");
        }
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_set_for_virtio_is_enough_for_both_buses() {
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    for kernel in cloud_kernels() {
        let initramfs = initramfs(folder.path(), &kernel, For::Virtio);
        for board in [Board::Pc, Board::Microvm] {
            let console = boot(&kernel, &initramfs, board, DiskInterface::Virtio, Nic::VirtioNet);
            assert!(console.iter().any(|line| line == "virtio_blk"), "{console:#?}");
        }
    }
}

#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn modules_of_another_kernel_are_refused() {
    let [kernel, other] = all_cloud_kernels().try_into().expect("two kernels");
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("initramfs");
    let made = Command::new(tool("mkcpio"))
        .args(["--for", "virtio", "--init"])
        .arg(init())
        .args([OsStr::new("-o"), output.as_os_str(), OsStr::new("--kernel"), kernel.vmlinuz.as_os_str()])
        .args([OsStr::new("--modules"), other.modules.as_os_str()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(!made.status.success() && !output.exists() && errors.lines().count() == 1, "{errors}");
    assert!(errors.contains(&kernel.release) && errors.contains(&other.release), "{errors}");
}

/// Counts the functions of ext4 that the function tracer sees, and those on the stack of its journal's thread, which waits in its module.
const TRACED: &str = "entrypoint=/bin/sh -- -c \"busybox mount -t tracefs none /sys/kernel/tracing; \
    echo functions $(busybox grep -c '.ext4.$' /sys/kernel/tracing/available_filter_functions) \
    $(busybox wc -l < /proc/$(busybox pidof jbd2/vda-8)/stack); echo > /file; echo shown\"";

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn modules_without_signatures_have_no_tables_for_traces() {
    let kernel = kernel(Flavour::Generic, None);
    let counts = [false, true].map(|unsigned| {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let path = folder.path().join("initramfs");
        let (init, modules) = (init(), Some(kernel.modules.clone()));
        let recipe = Recipe { init, modules, sets: vec![For::Virtio], unsigned, ..Recipe::default() };
        let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
        initramfs::write(&tree, &path, &Packing::new(Compression::None)).unwrap_or_else(|error| panic!("{error}"));
        let command = hardware(&kernel, &path).disk(DiskInterface::Virtio, busybox_disk()).snapshot();
        let mut guest = Guest::start(&command.nic(Nic::None).append("root=/dev/vda whit.net=off").append(TRACED));
        guest.line("shown");
        let console = guest.end();
        let counts = console.lines().find_map(|line| line.trim().strip_prefix("functions ")?.split_once(' '));
        let counts = counts.unwrap_or_else(|| panic!("{console}"));
        <[&str; 2]>::from(counts).map(|count| count.parse::<u32>().unwrap_or_else(|_| panic!("{console}")))
    });
    let [[functions, depth], without] = counts;
    assert!(functions > 500 && depth > 1 && without == [0, 1], "{counts:?}");
}
