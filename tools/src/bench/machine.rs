//! The machine of a measured boot: one processor, a card, a root; and what makes its clock exact.
//!
//! With `-icount sleep=off` a guest that waits for the host jumps to its next timer: a disk request that QEMU's worker
//! threads answer late costs up to a tick (4 ms), and another number of them in each run. Therefore
//! - the root is memory: QEMU loads the image into the guest's RAM (`-device loader`) and the kernel takes that region for
//!   a persistent-memory disk (`memmap=SIZE!START`, /dev/pmem0), which needs no answer from the host. `virtio-blk` is there
//!   for comparison; its guest polls while it is idle (`idle=poll`), so a late answer costs what it took and no tick;
//! - virtio-net sends by a timer of the guest's clock (`tx=timer`, 10 µs) and without an ioeventfd: the packet, the user-mode
//!   network's answer and its interrupt then come from the processor's own thread, at a fixed instruction. e1000 and
//!   vmxnet3 send within the register write anyway.
//!
//! In wall time all of this is as QEMU has it by default, but for the root in memory.

use std::path::Path;

use clap::ValueEnum;

use crate::qemu::{Accelerator, CommandLine, DiskInterface, Nic};

/// The guest's memory. The image lies in its middle: firmware and initramfs are at both ends.
const MEMORY_MIB: u32 = 512;
/// Where the image lies.
const IMAGE_ADDRESS_MIB: u32 = 256;
/// How large it is.
pub(super) const IMAGE_MIB: u32 = 32;

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Card {
    /// The paravirtual one of KVM.
    VirtioNet,
    /// VMware's paravirtual one.
    Vmxnet3,
    /// Intel's of 2002, QEMU's default; its model holds packets for a second after each receive-mode write.
    E1000,
}

impl Card {
    /// Its name on QEMU's command line, in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtioNet => "virtio-net",
            Self::Vmxnet3 => "vmxnet3",
            Self::E1000 => "e1000",
        }
    }

    /// The modules that drive it.
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

/// Where the root is.
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
    /// Its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::VirtioBlk => "virtio-blk",
            Self::Initramfs => "initramfs",
        }
    }

    /// The root device.
    pub(super) const fn device(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("/dev/pmem0"),
            Self::VirtioBlk => Some("/dev/vda"),
            Self::Initramfs => None,
        }
    }

    /// The modules that drive it.
    pub(super) const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["nd_e820", "nd_pmem", "ext4"],
            Self::VirtioBlk => &["virtio_pci", "virtio_blk", "ext4"],
            Self::Initramfs => &[],
        }
    }
}

/// Which time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// One guest instruction is one nanosecond.
    Exact,
    /// The host's.
    Wall,
}

/// The machine that boots `kernel`, with or without an initramfs.
pub(super) fn machine(
    kernel: &Path,
    initramfs: Option<&Path>,
    image: &Path,
    (card, root, clock): (Card, RootKind, Clock),
    words: &str,
) -> CommandLine {
    let mut command = CommandLine::new(kernel)
        .memory_mib(MEMORY_MIB)
        .nic(Nic::None)
        .option("-netdev", "user,id=net0")
        .option("-device", card.device(clock))
        .append("console=ttyS0 quiet panic=-1");
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
        RootKind::VirtioBlk => {
            let idle = if clock == Clock::Exact { "idle=poll" } else { "" };
            command.append(idle).disk(DiskInterface::Virtio, image).snapshot()
        }
        RootKind::Initramfs => command,
    };
    command.append(words)
}

fn loader(image: &Path) -> String {
    let file = image.to_string_lossy().replace(',', ",,");
    format!("loader,file={file},addr={:#x},force-raw=on", u64::from(IMAGE_ADDRESS_MIB) << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(card: Card, root: RootKind, clock: Clock) -> String {
        machine(Path::new("k"), Some(Path::new("i")), Path::new("a,b"), (card, root, clock), "word").to_string()
    }

    #[test]
    fn nothing_of_an_exact_machine_waits_for_the_host() {
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
    fn a_disk_of_the_host_is_not_written_and_waited_for_busily() {
        let line = line(Card::E1000, RootKind::VirtioBlk, Clock::Exact);
        assert!(line.contains("-snapshot") && line.contains(" idle=poll word"), "{line}");
    }

    #[test]
    fn wall_time_is_qemus_own() {
        let line = line(Card::VirtioNet, RootKind::VirtioBlk, Clock::Wall);
        assert!(!line.contains("icount") && !line.contains("tx=timer") && !line.contains("idle=poll"), "{line}");
    }
}
