//! The set of drivers for any machine, compared with Debian's kernels: each driver of a device is in it, or has a reason not to be. The
//! oracles are depmod's list of aliases, and initramfs-tools' drivers for any machine (`MODULES=most`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use whit_tests::debian::{kernel, store, store_for, variant};
use whit_tools::kernel::debian::{Flavour, Kernel};
use whit_tools::kernel::modules::{For, Modules, bare_metal_places};
use whit_tools::machine::Machine;
use xtask::workspace;

/// Directories of drivers that are not in the set, below the kernel's `kernel/`, with the reason.
const LEFT_OUT: &[(&[&str], &str)] = &[
    (
        &["drivers/gpu", "drivers/video", "drivers/media", "drivers/staging", "drivers/accel", "sound"],
        "screens, cameras, sound, accelerators",
    ),
    (
        &["drivers/iio", "drivers/hwmon", "drivers/thermal", "drivers/leds", "drivers/w1", "drivers/comedi"],
        "sensors, lights, laboratories; a processor protects itself from heat",
    ),
    (&["drivers/cpufreq", "drivers/devfreq", "drivers/powercap", "drivers/platform/x86"], "speed, notebooks' own keys"),
    (&["drivers/platform/chrome", "drivers/platform/surface", "drivers/platform"], "parts without keys"),
    (&["drivers/power"], "batteries and chargers"),
    (&["drivers/edac", "drivers/ras", "drivers/perf", "drivers/hwtracing", "drivers/acpi"], "counters and traces"),
    (&["arch", "drivers/crypto"], "ciphers; what a file system needs is its soft dependency"),
    (&["drivers/infiniband"], "RDMA; the Ethernet of these cards is below drivers/net/ethernet"),
    (&["drivers/net/wireless", "drivers/bluetooth", "drivers/nfc", "drivers/gnss", "net/rfkill"], "radio"),
    (&["drivers/net/wwan", "drivers/net/ipa", "drivers/net/mhi_net.ko", "drivers/bus/mhi", "net/qrtr"], "modems"),
    (
        &[
            "drivers/atm",
            "drivers/isdn",
            "drivers/net/arcnet",
            "drivers/net/can",
            "drivers/net/fddi",
            "drivers/net/hippi",
            "drivers/net/ieee802154",
            "drivers/net/sb1000.ko",
            "drivers/net/wan",
        ],
        "networks other than Ethernet",
    ),
    (&["drivers/net/dsa", "net/dsa"], "the ports of a switch; the init configures a card"),
    (
        &["drivers/net/thunderbolt", "drivers/net/thunderbolt-net.ko", "drivers/thunderbolt"],
        "a tunnel has to be allowed first, by a program or by the firmware, which makes it a PCI device",
    ),
    (&["drivers/net/xen-netback", "drivers/xen"], "the sides of a host of machines"),
    (&["drivers/vfio", "drivers/uio", "drivers/virt", "drivers/ptp", "drivers/pps"], "for programs that ask for them"),
    (&["net/9p", "net/netfilter", "fs"], "requested by name"),
    (&["drivers/bcma", "drivers/ssb"], "buses of radios; b44's is in the set with it"),
    (&["drivers/cxl", "drivers/dax", "drivers/memory"], "memory; regions and namespaces are made by programs"),
    (&["drivers/memstick"], "the driver of the disk, mspro_block, has no alias: a program has to load it"),
    (&["drivers/mtd"], "flash without a controller: no file system of mkraw's"),
    (&["drivers/pcmcia", "drivers/parport", "drivers/tty"], "ports of old or special machines"),
    (&["drivers/char", "drivers/misc", "drivers/firmware", "drivers/remoteproc"], "management of a machine"),
    (&["drivers/slimbus", "drivers/soundwire"], "buses of sound"),
    (&["drivers/firewire"], "disks alone are taken"),
    (&["drivers/hid"], "mice, tablets, games, sensors; other keyboards have hid-generic"),
    (&["drivers/input"], "mice, touch screens, games, beepers"),
    (
        &["drivers/usb/atm", "drivers/usb/class", "drivers/usb/gadget", "drivers/usb/image", "drivers/usb/misc"],
        "USB devices that are no disk, card or keyboard",
    ),
    (&["drivers/usb/serial", "drivers/usb/typec"], "USB devices that are no disk, card or keyboard"),
    (
        &["drivers/dma", "drivers/gpio", "drivers/i2c", "drivers/mfd", "drivers/spi", "drivers/watchdog"],
        "in a slot or on the USB: sensors, and what programs use",
    ),
];

/// What initramfs-tools takes, although it is left out here: directories and files.
const ONLY_IN_INITRAMFS_TOOLS: &[(&[&str], &str)] = &[
    (
        &["drivers/gpu", "drivers/video"],
        "a screen shows the kernel's console by the firmware's framebuffer, or not at all",
    ),
    (&["drivers/hid"], "no keyboards; what they are for is in each one's Kconfig"),
    (&["drivers/input/mouse"], "a mouse"),
    (&["drivers/bus/mhi", "drivers/net/mhi_net.ko", "drivers/net/ipa", "drivers/net/wwan"], "modems"),
    (&["drivers/net/dsa"], "the ports of a switch; the init configures a card"),
    (&["drivers/net/fddi", "drivers/net/ieee802154"], "networks other than Ethernet"),
    (&["drivers/net/thunderbolt", "drivers/net/thunderbolt-net.ko"], "a tunnel has to be allowed first"),
    (
        &["drivers/gpio", "drivers/i2c/busses", "drivers/mfd", "drivers/spi"],
        "on PCI or USB: their chips are sensors, and the keyboards behind two of them are taken",
    ),
];

/// What kernels have used of the tables.
#[derive(Default)]
struct Used {
    /// Rows of [`LEFT_OUT`].
    rows: BTreeSet<usize>,
    /// Places from which the set takes drivers.
    places: BTreeSet<&'static str>,
}

/// Returns whether a file below `kernel/` is a place, or below it.
fn is_in(place: &str, file: &str) -> bool {
    match place.strip_suffix(".ko") {
        Some(name) => file.split(".ko").next() == Some(name),
        None => file.strip_prefix(place).is_some_and(|rest| rest.starts_with('/')),
    }
}

/// Returns the reason for a file below `kernel/`.
fn reason<'a>(table: &'a [(&[&str], &str)], file: &str) -> Option<(&'a str, usize)> {
    let found = table.iter().enumerate().find(|(_, (places, _))| places.iter().any(|place| is_in(place, file)));
    found.map(|(row, (_, reason))| (*reason, row))
}

/// Prints the names of the modules that initramfs-tools copies: its functions, with one replaced.
const MOST: &str = r#"set -e
MODULESDIR=$1; version=${1##*/}; verbose=n; DESTDIR=/nonexistent
. "$2/usr/share/initramfs-tools/hook-functions"
manual_add_modules() { [ $# -eq 0 ] || printf '%s\n' "$@"; }
auto_add_modules"#;

/// Asserts that each driver of a device in a kernel is in the set or has a reason; marks what is used of the tables.
fn assert_complete(kernel: &Kernel, used: &mut Used) {
    // depmod writes into the folder.
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    let all = folder.path().join("lib/modules");
    fs::create_dir_all(&all).unwrap();
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(Command::new("cp").args(["--archive", "--link"]).arg(&kernel.modules).arg(&all));
    run(Command::new("depmod").arg("-b").arg(folder.path()).arg(&kernel.release));
    let directory = all.join(&kernel.release);

    let modules = Modules::open(&directory).unwrap();
    let selected = modules.of_sets(&[For::BareMetal]).unwrap();
    let drivers = modules.drivers(&selected.by_device, &[], true).unwrap();
    let taken: BTreeSet<String> = drivers.modules.into_iter().map(|module| module.name).collect();

    let normal = |name: &str| name.replace('-', "_");
    let most = run(Command::new("sh").args(["-c", MOST, "sh"]).arg(&directory).arg(initramfs_tools()));
    let most: BTreeSet<String> = most.lines().map(normal).collect();
    assert!(most.contains("virtio_pci") && most.len() > 100, "{most:?}");

    let aliases = fs::read_to_string(directory.join("modules.alias")).unwrap();
    let with_alias: BTreeSet<String> = aliases
        .lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
        .filter(|(alias, _)| alias.contains(':') && !alias.starts_with("devname:"))
        .map(|(_, name)| normal(name))
        .collect();
    let files = fs::read_to_string(directory.join("modules.dep")).unwrap();
    let files = files.lines().filter_map(|line| line.split_once(':')?.0.strip_prefix("kernel/"));
    let mut wrong = Vec::new();
    for file in files {
        used.places.extend(bare_metal_places().filter(|place| is_in(place, file)));
        let name = normal(Path::new(file).file_name().unwrap().to_str().unwrap().split(".ko").next().unwrap());
        if !with_alias.contains(&name) || taken.contains(&name) {
            continue;
        }
        match reason(LEFT_OUT, file) {
            Some((_, row)) => drop(used.rows.insert(row)),
            None => wrong.push(format!("{file}: no reason")),
        }
        if most.contains(&name) && reason(ONLY_IN_INITRAMFS_TOOLS, file).is_none() {
            wrong.push(format!("{file}: initramfs-tools has it"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", kernel.release, wrong.join("\n"));
}

/// Returns the folder of initramfs-tools' unpacked package.
fn initramfs_tools() -> PathBuf {
    store().package("initramfs-tools-core").unwrap_or_else(|error| panic!("{error}"))
}

/// Kernels that other tests boot.
#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn each_driver_is_in_the_set_for_any_machine_or_has_a_reason() {
    let arm = store_for(Machine::Aarch64).kernel(Flavour::Cloud, None).unwrap();
    for kernel in [kernel(Flavour::Generic, None), arm] {
        assert_complete(&kernel, &mut Used::default());
    }
}

mod long {
    use super::*;

    /// The other kernels of Debian, which have all drivers that the table is about.
    #[test]
    #[ignore = "fetches thirteen kernels: cargo selftest -- --long runs it"]
    fn each_driver_of_all_kernels_is_in_the_set_or_has_a_reason_and_no_row_is_for_nothing() {
        let mut used = Used::default();
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let mut store = store_for(machine);
            let cloud = ["6.1", "6.12"].map(|series| store.kernel(Flavour::Cloud, Some(series)).unwrap());
            drop(store);
            let image = machine.image();
            for kernel in &cloud {
                assert_complete(kernel, &mut used);
                for name in [image.to_owned(), format!("rt-{image}")] {
                    assert_complete(&variant(kernel, machine, &name), &mut used);
                }
            }
            if machine == Machine::Aarch64 {
                assert_complete(&variant(&cloud[1], machine, "arm64-16k"), &mut used);
            }
        }
        let unused: Vec<_> = LEFT_OUT.iter().enumerate().filter(|(row, _)| !used.rows.contains(row)).collect();
        assert!(unused.is_empty(), "{unused:?}");
        let unused: Vec<_> = bare_metal_places().filter(|place| !used.places.contains(place)).collect();
        assert!(unused.is_empty(), "no kernel has a driver in {unused:?}");
    }
}
