//! The boards that QEMU emulates, each with a kernel of Debian's for it: one table for the tests that are the same on each.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::debian::{Flavour, Kernel};
use whit_tools::kernel::modules::For;
use whit_tools::machine::Machine;
use whit_tools::vm::qemu::{self, Accelerator, CommandLine, DiskInterface, Nic};

use crate::debian::{store_for, variant};
use crate::disks::Disks;
use crate::init_for;
use crate::whole::once;

/// A board and a kernel.
#[derive(Debug)]
pub struct Board {
    /// In failures, and in names of files.
    pub name: &'static str,
    /// QEMU's board.
    pub board: qemu::Board,
    /// Debian's name for the kernel's variant; the cloud kernel without one.
    variant: Option<&'static str>,
    /// Whether QEMU's power button is one that this kernel has a driver for.
    pub has_button: bool,
}

/// The table.
static BOARDS: [Board; 6] = [
    Board { name: "pc", board: qemu::Board::Pc, variant: None, has_button: true },
    Board { name: "q35-generic", board: qemu::Board::Q35, variant: Some("amd64"), has_button: true },
    Board { name: "microvm", board: qemu::Board::Microvm, variant: None, has_button: true },
    // The cloud kernel for arm64 has no driver for the button, gpio_keys.
    Board { name: "virt", board: qemu::Board::Virt, variant: None, has_button: false },
    Board { name: "virt-generic", board: qemu::Board::Virt, variant: Some("arm64"), has_button: true },
    Board { name: "virt-16k", board: qemu::Board::Virt, variant: Some("arm64-16k"), has_button: true },
];

/// Scripts in the root of the disk: what docker's contract has for a workload, and the modules that are loaded; a workload that ends on
/// SIGTERM alone.
const JOBS: [(&str, &str); 2] = [
    (
        "contract",
        "echo \"$0 $*: $(busybox id -u) $(busybox id -g) $PWD $A $(busybox hostname)\"
busybox uname -m
busybox cut -d ' ' -f 1 /proc/modules
exit 7
",
    ),
    (
        "waiting",
        "trap 'echo stopped; exit 9' TERM
until busybox grep -q ^evdev /proc/modules || busybox ls /sys/class/input/event0 2>/dev/null; do busybox sleep 1; done
echo ready
while :; do busybox sleep 1; done
",
    ),
];

impl Board {
    /// Returns the boards of a machine.
    pub fn of(machine: Machine) -> impl Iterator<Item = &'static Self> {
        BOARDS.iter().filter(move |board| board.board.machine() == machine)
    }

    /// Returns its kernel.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        let machine = self.board.machine();
        let cloud = store_for(machine).kernel(Flavour::Cloud, None).unwrap_or_else(|error| panic!("{error}"));
        self.variant.map_or_else(|| cloud.clone(), |name| variant(&cloud, machine, name))
    }

    /// Returns a static busybox for it.
    #[must_use]
    pub fn busybox(&self) -> PathBuf {
        store_for(self.board.machine()).busybox().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns a machine that boots with drivers for QEMU's devices, without a network card and a disk.
    #[must_use]
    pub fn command(&self) -> CommandLine {
        let (kernel, machine) = (self.kernel(), self.board.machine());
        let initramfs = once(&format!("{}.cpio", self.name), |path| {
            let sets = vec![For::Qemu];
            let modules = Some(kernel.modules.clone());
            let (tree, _) = Recipe { init: init_for(machine), modules, sets, ..Recipe::default() }
                .tree()
                .unwrap_or_else(|error| panic!("{error}"));
            initramfs::write(&tree, path, &Packing::new(Compression::None)).unwrap_or_else(|error| panic!("{error}"));
        });
        let timer = if machine == Machine::X86_64 { " no_timer_check" } else { "" };
        CommandLine::new(&kernel.vmlinuz)
            .board(self.board)
            .initrd(initramfs)
            .accelerator(Accelerator::Tcg)
            .memory_mib(512)
            .nic(Nic::None)
            .append(&format!("console={} loglevel=4 panic=-1 cryptomgr.notests{timer}", machine.console()))
    }

    /// Returns a [`Board::command`] with a disk that has a busybox and its shell, and is not written to.
    #[must_use]
    pub fn with_busybox(&self) -> CommandLine {
        let disk = once(&format!("busybox-{}.img", self.board.machine().name()), |path| {
            let disks = Disks::new();
            let tree = disks.tree();
            for name in ["bin", "tmp"] {
                fs::create_dir(tree.join(name)).unwrap();
            }
            fs::copy(self.busybox(), tree.join("bin/busybox")).unwrap();
            symlink("busybox", tree.join("bin/sh")).unwrap();
            for (name, script) in JOBS {
                fs::write(tree.join(name), script).unwrap();
            }
            let made = disks.packed("root", &["mkfs.ext4", "-q", "-d", "{tree}", "{disk}", "24M"]);
            fs::copy(made, path).unwrap();
        });
        self.command().append("root=/dev/vda").disk(DiskInterface::Virtio, disk).snapshot()
    }
}
