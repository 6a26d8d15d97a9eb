//! The machine of a measured boot: one processor, a card, a root; and the options that make its clock exact.
//!
//! With `-icount sleep=off` an idle guest jumps to its next timer, the tick (4 ms) at the latest, unless the event that it waits
//! for comes before. Work that QEMU does in threads of its own ends after another number of ticks in each run. Therefore
//! - the root is memory: QEMU loads the image into the guest's RAM (`-device loader`) and the kernel uses that region as a
//!   persistent-memory disk (`memmap=SIZE!START`, /dev/pmem0), which needs no answer from the host;
//! - `virtio-blk` is for comparison: on a copy of the image, so that no write is kept (`-snapshot` would add qcow2's
//!   bookkeeping) and no write has to reach the host's disk (`cache=unsafe`); its requests begin within the register write
//!   (`ioeventfd=off`);
//! - virtio-net sends by a timer of the guest's clock (`tx=timer`, 10 µs) and without an ioeventfd: the packet, the user-mode
//!   network's answer and its interrupt then come from the processor's own thread, at a fixed instruction. e1000 and
//!   vmxnet3 send within the register write anyway;
//! - all threads of a QEMU are on one processor of the host (see [`super::run`]): a thread that a request of the guest wakes
//!   runs instead of the guest, and its answer is complete before the guest goes on.
//!
//! In wall time all of this is as in QEMU's defaults, except for the root in memory.

use std::path::Path;

use clap::ValueEnum;

use whit_tools::machine::Machine;
use whit_tools::vm::qemu::{Accelerator, Board, CommandLine, DiskInterface, Nic};

/// The guest's memory. The image is in its middle: firmware and initramfs are at both ends.
const MEMORY_MIB: u32 = 512;
/// The address of the image.
const IMAGE_ADDRESS_MIB: u32 = 256;
/// The size of the image.
pub(super) const IMAGE_MIB: u32 = 32;

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Card {
    /// KVM's paravirtual card.
    VirtioNet,
    /// VMware's paravirtual card.
    Vmxnet3,
    /// Intel's card of 2002, QEMU's default; its model holds received packets for a second after each write of the receive mode
    /// (hw/net/e1000.c, set_rx_control()).
    E1000,
}

impl Card {
    /// Returns its name on QEMU's command line, in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtioNet => "virtio-net",
            Self::Vmxnet3 => "vmxnet3",
            Self::E1000 => "e1000",
        }
    }

    /// Returns the modules that drive it.
    pub(super) const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::VirtioNet => &["virtio_pci", "virtio_net"],
            Self::Vmxnet3 => &["vmxnet3"],
            Self::E1000 => &["e1000"],
        }
    }

    fn device(self, clock: Clock) -> &'static str {
        match (self, clock) {
            (Self::VirtioNet, Clock::Exact) => {
                "virtio-net-pci,netdev=net0,romfile=,ioeventfd=off,tx=timer,x-txtimer=10000"
            }
            (Self::VirtioNet, Clock::Wall) => "virtio-net-pci,netdev=net0,romfile=",
            (Self::Vmxnet3, _) => "vmxnet3,netdev=net0,romfile=",
            (Self::E1000, _) => "e1000,netdev=net0,romfile=",
        }
    }
}

/// The kind of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RootKind {
    /// A disk in memory, /dev/pmem0.
    Memory,
    /// A disk of the host, /dev/vda.
    VirtioBlk,
    /// In the initramfs: whit's machines without a disk.
    Initramfs,
}

impl RootKind {
    /// Returns its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::VirtioBlk => "virtio-blk",
            Self::Initramfs => "initramfs",
        }
    }

    /// Returns the root device.
    pub(super) const fn device(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("/dev/pmem0"),
            Self::VirtioBlk => Some("/dev/vda"),
            Self::Initramfs => None,
        }
    }

    /// Returns the modules that drive it.
    pub(super) const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["nd_e820", "nd_pmem", "ext4"],
            Self::VirtioBlk => &["virtio_pci", "virtio_blk", "ext4"],
            Self::Initramfs => &[],
        }
    }
}

/// The measured clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// One guest instruction is one nanosecond.
    Exact,
    /// The host's clock.
    Wall,
}

/// Returns the machine that boots `kernel`, with or without an initramfs.
pub(super) fn machine(
    kernel: &Path,
    initramfs: Option<&Path>,
    image: &Path,
    (machine, card, root, clock): (Machine, Card, RootKind, Clock),
    words: &str,
) -> CommandLine {
    let mut command = CommandLine::new(kernel)
        .board(Board::of(machine).unwrap_or_default())
        .memory_mib(MEMORY_MIB)
        .nic(Nic::None)
        .option("-netdev", "user,id=net0")
        .option("-device", card.device(clock))
        .append(&format!("console={} quiet panic=-1", machine.console()));
    command = match clock {
        Clock::Exact => command.exact_time(),
        Clock::Wall => command.accelerator(Accelerator::Auto),
    };
    if let Some(initramfs) = initramfs {
        command = command.initrd(initramfs);
    }
    command = match root {
        RootKind::Memory => {
            command.append(&format!("memmap={IMAGE_MIB}M!{IMAGE_ADDRESS_MIB}M")).option("-device", loader(image))
        }
        RootKind::VirtioBlk if clock == Clock::Exact => {
            let drive = format!("if=none,id=disk0,format=raw,cache=unsafe,file={}", value(image));
            command.option("-drive", drive).option("-device", "virtio-blk-pci,drive=disk0,ioeventfd=off")
        }
        RootKind::VirtioBlk => command.disk(DiskInterface::Virtio, image).snapshot(),
        RootKind::Initramfs => command,
    };
    command.append(words)
}

fn loader(image: &Path) -> String {
    format!("loader,file={},addr={:#x},force-raw=on", value(image), u64::from(IMAGE_ADDRESS_MIB) << 20)
}

/// Escapes a file's name inside `key=value,…`: QEMU reads a doubled comma as one.
fn value(file: &Path) -> String {
    file.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(card: Card, root: RootKind, clock: Clock) -> String {
        let parts = (Machine::X86_64, card, root, clock);
        machine(Path::new("k"), Some(Path::new("i")), Path::new("a,b"), parts, "word").to_string()
    }

    #[test]
    fn an_exact_machine_of_aarch64_counts_instructions_too() {
        let parts = (Machine::Aarch64, Card::VirtioNet, RootKind::VirtioBlk, Clock::Exact);
        let line = machine(Path::new("k"), Some(Path::new("i")), Path::new("a"), parts, "word").to_string();
        for words in
            ["qemu-system-aarch64 ", "-icount shift=0,sleep=off", "-append 'console=ttyAMA0 quiet panic=-1 word'"]
        {
            assert!(line.contains(words), "{words}: {line}");
        }
    }

    #[test]
    fn an_exact_machine_does_not_wait_for_the_host() {
        let line = line(Card::VirtioNet, RootKind::Memory, Clock::Exact);
        for words in [
            "-icount shift=0,sleep=off",
            "tx=timer,x-txtimer=10000",
            "-device loader,file=a,,b,addr=0x10000000,force-raw=on",
            "-append 'console=ttyS0 quiet panic=-1 memmap=32M!256M word'",
        ] {
            assert!(line.contains(words), "{words}: {line}");
        }
        assert!(!line.contains("-drive"), "{line}");
    }

    #[test]
    fn requests_to_an_exact_disk_begin_at_once_and_reach_memory() {
        let line = line(Card::E1000, RootKind::VirtioBlk, Clock::Exact);
        let words = "-drive if=none,id=disk0,format=raw,cache=unsafe,file=a,,b -device virtio-blk-pci,drive=disk0,ioeventfd=off";
        assert!(line.contains(words) && !line.contains("-snapshot"), "{line}");
    }

    #[test]
    fn wall_time_is_qemus_own() {
        let line = line(Card::VirtioNet, RootKind::VirtioBlk, Clock::Wall);
        assert!(!line.contains("icount") && !line.contains("tx=timer") && !line.contains("ioeventfd"), "{line}");
        assert!(line.contains(" -snapshot ") && !line.contains("cache=unsafe"), "{line}");
    }
}
