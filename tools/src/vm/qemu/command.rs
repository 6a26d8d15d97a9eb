//! Builds the command line of qemu-system-x86_64(1) and qemu-system-aarch64(1).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::forward::Forward;
use super::kvm;
use crate::machine::Machine;

/// The machine's board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Board {
    /// i440FX and PIIX3, 1996; QEMU's default.
    #[default]
    Pc,
    /// Q35 and ICH9, 2009, with PCI Express and AHCI.
    Q35,
    /// Without PCI: virtio devices on MMIO.
    Microvm,
    /// aarch64's: PCI Express and a PL011, described by a device tree; PSCI powers it off.
    Virt,
}

impl Board {
    /// Returns QEMU's usual board of a machine, if one of these is for it.
    #[must_use]
    pub const fn of(machine: Machine) -> Option<Self> {
        match machine {
            Machine::X86_64 => Some(Self::Pc),
            Machine::Aarch64 => Some(Self::Virt),
            Machine::Riscv64 => None,
        }
    }

    /// Returns the machine that the board is for.
    #[must_use]
    pub const fn machine(self) -> Machine {
        match self {
            Self::Pc | Self::Q35 | Self::Microvm => Machine::X86_64,
            Self::Virt => Machine::Aarch64,
        }
    }
}

/// The executor of the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor where KVM runs a guest, else translation.
    #[default]
    Auto,
    /// KVM: the host's processor.
    Kvm,
    /// TCG: translation, on any host.
    Tcg,
}

/// The interface of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskInterface {
    /// virtio-blk: /dev/vda.
    #[default]
    Virtio,
    /// ATA, on the board's own controller: /dev/sda.
    Ide,
    /// /dev/nvme0n1.
    Nvme,
}

impl DiskInterface {
    /// Returns the first disk's device in the guest.
    #[must_use]
    pub const fn first_device(self) -> &'static str {
        match self {
            Self::Virtio => "/dev/vda",
            Self::Ide => "/dev/sda",
            Self::Nvme => "/dev/nvme0n1",
        }
    }
}

/// The network card, on a user-mode network whose guest gets 10.0.2.15 by DHCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nic {
    /// virtio-net.
    #[default]
    VirtioNet,
    /// Intel 82540EM.
    E1000,
    /// No card.
    None,
}

/// A tap of the host, and the card on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The interface's name.
    pub name: String,
    /// The card's MAC address.
    pub mac: String,
    /// The MTU.
    pub mtu: u32,
}

/// A shared folder of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// 9p, served by QEMU.
    Plan9 {
        /// The folder.
        folder: PathBuf,
        /// Whether writing is refused.
        read_only: bool,
    },
    /// virtiofs, served by a daemon that listens on a socket.
    Virtiofs {
        /// The socket.
        socket: PathBuf,
    },
}

/// The host's end of a port.
#[derive(Clone, Debug)]
enum PortEnd {
    /// A socket that QEMU connects to.
    Socket(PathBuf),
    /// A file to which QEMU writes the guest's output.
    File(PathBuf),
}

/// A machine to start; [`fmt::Display`] shows it as a line for a shell.
#[derive(Clone, Debug)]
pub struct CommandLine {
    board: Board,
    accelerator: Accelerator,
    memory_mib: u32,
    cpus: u32,
    kernel: PathBuf,
    initrd: Option<PathBuf>,
    append: String,
    disks: Vec<(DiskInterface, PathBuf)>,
    snapshot: bool,
    nic: Nic,
    forwards: Vec<Forward>,
    taps: Vec<Tap>,
    shares: Vec<Share>,
    /// The ports of a virtio serial device, with their names.
    ports: Vec<(&'static str, PortEnd)>,
    exact_time: bool,
    more: Vec<OsString>,
    controls: Vec<PathBuf>,
}

impl CommandLine {
    /// Creates a machine with one processor, 256 MiB and virtio-net.
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Self {
            board: Board::default(),
            accelerator: Accelerator::default(),
            memory_mib: 256,
            cpus: 1,
            kernel: kernel.into(),
            initrd: None,
            append: String::new(),
            disks: Vec::new(),
            snapshot: false,
            nic: Nic::default(),
            forwards: Vec::new(),
            taps: Vec::new(),
            shares: Vec::new(),
            ports: Vec::new(),
            exact_time: false,
            more: Vec::new(),
            controls: Vec::new(),
        }
    }

    /// Sets the board.
    #[must_use]
    pub fn board(mut self, board: Board) -> Self {
        self.board = board;
        self
    }

    /// Sets the accelerator.
    #[must_use]
    pub fn accelerator(mut self, accelerator: Accelerator) -> Self {
        self.accelerator = accelerator;
        self
    }

    /// Sets the memory.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Sets the number of processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Sets the initramfs.
    #[must_use]
    pub fn initrd(mut self, initrd: impl Into<PathBuf>) -> Self {
        self.initrd = Some(initrd.into());
        self
    }

    /// Adds words to the kernel's command line.
    #[must_use]
    pub fn append(mut self, words: &str) -> Self {
        if !self.append.is_empty() && !words.is_empty() {
            self.append.push(' ');
        }
        self.append.push_str(words);
        self
    }

    /// Adds a raw disk image.
    #[must_use]
    pub fn disk(mut self, interface: DiskInterface, image: impl Into<PathBuf>) -> Self {
        self.disks.push((interface, image.into()));
        self
    }

    /// Keeps the disk images unchanged: the guest's writes are lost with the machine.
    #[must_use]
    pub fn snapshot(mut self) -> Self {
        self.snapshot = true;
        self
    }

    /// Sets the network card.
    #[must_use]
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nic = nic;
        self
    }

    /// Forwards a port.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forwards.push(forward);
        self
    }

    /// Adds a virtio-net card on a tap, in place of the user-mode network.
    #[must_use]
    pub fn tap(mut self, tap: Tap) -> Self {
        self.taps.push(tap);
        self
    }

    /// Shares a folder; its tag is `share0` for the first, `share1` for the next.
    #[must_use]
    pub fn share(mut self, share: Share) -> Self {
        self.shares.push(share);
        self
    }

    /// Adds a port of a virtio serial device (/sys/class/virtio-ports in the guest); QEMU connects it to a socket.
    #[must_use]
    pub fn port(mut self, name: &'static str, socket: impl Into<PathBuf>) -> Self {
        self.ports.push((name, PortEnd::Socket(socket.into())));
        self
    }

    /// Adds a port like [`CommandLine::port`]; QEMU writes its output to a file.
    #[must_use]
    pub fn port_into(mut self, name: &'static str, file: impl Into<PathBuf>) -> Self {
        self.ports.push((name, PortEnd::File(file.into())));
        self
    }

    /// Returns the guest's machine.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.board.machine()
    }

    /// Returns why KVM cannot run the guest.
    fn obstacle(&self) -> Option<&'static str> {
        if self.machine() == Machine::HOST {
            kvm::obstacle()
        } else {
            Some("the guest has another processor than the host")
        }
    }

    /// Returns whether the machine runs without KVM.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        self.exact_time
            || match self.accelerator {
                Accelerator::Kvm => false,
                Accelerator::Auto => self.obstacle().is_some(),
                Accelerator::Tcg => true,
            }
    }

    /// Why [`Accelerator::Auto`] does not use KVM, in words that follow `KVM cannot be used here: `.
    #[must_use]
    pub fn kvm_obstacle(&self) -> Option<&'static str> {
        if self.accelerator == Accelerator::Auto && !self.exact_time { self.obstacle() } else { None }
    }

    /// Makes the guest's clock count its instructions, one a nanosecond: the same boot takes the same time on any host.
    #[must_use]
    pub fn exact_time(mut self) -> Self {
        self.exact_time = true;
        self
    }

    /// Adds any other option of QEMU.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.more.extend([name.into(), value.as_ref().to_owned()]);
        self
    }

    /// Makes QEMU connect a machine protocol (QMP) to this socket.
    pub(super) fn control(mut self, socket: &Path) -> Self {
        self.controls.push(socket.to_owned());
        self
    }

    /// Returns the ports: their chardev ids in QEMU, and their names in the guest.
    pub(super) fn ports(&self) -> Vec<(String, String)> {
        (0..).zip(&self.ports).map(|(number, (name, _))| (port_end(number), (*name).to_owned())).collect()
    }

    /// Returns the arguments, without the program's name.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Arguments(Vec::new());
        // The serial port is on standard input and output, shared with QEMU's monitor (ctrl-a c). There is no screen. With
        // -nographic, the firmware would write to the port too.
        arguments.option("-display", "none").option("-vga", "none").option("-serial", "mon:stdio").flag("-no-reboot");
        // No floppy, CD-ROM and parallel port: the firmware and the kernel take time to probe them.
        arguments.flag("-nodefaults");
        self.add_board(&mut arguments);
        self.execution(&mut arguments);
        arguments.option("-m", format!("{}M", self.memory_mib)).option("-smp", self.cpus.to_string());
        arguments.option("-kernel", &self.kernel);
        if let Some(initrd) = &self.initrd {
            arguments.option("-initrd", initrd);
        }
        if !self.append.is_empty() {
            arguments.option("-append", &self.append);
        }
        for (number, (interface, image)) in self.disks.iter().enumerate() {
            let mut drive = OsString::from(format!("if=none,id=disk{number},format=raw,file="));
            drive.push(option_value(plain_name(image).as_os_str()));
            let device = match (interface, self.board) {
                (DiskInterface::Virtio, Board::Microvm) => format!("virtio-blk-device,drive=disk{number}"),
                (DiskInterface::Virtio, _) => format!("virtio-blk-pci,drive=disk{number}"),
                (DiskInterface::Ide, _) => format!("ide-hd,drive=disk{number}"),
                (DiskInterface::Nvme, _) => format!("nvme,drive=disk{number},serial=disk{number}"),
            };
            arguments.option("-drive", drive).option("-device", device);
        }
        if self.snapshot {
            arguments.flag("-snapshot");
        }
        self.network(&mut arguments);
        self.channels(&mut arguments);
        arguments.0.extend(self.more.iter().cloned());
        for (number, socket) in self.controls.iter().enumerate() {
            arguments.option("-chardev", chardev("socket", &format!("control{number}"), socket));
            arguments.option("-mon", format!("chardev=control{number},mode=control"));
        }
        arguments.0
    }

    /// Adds the board; for virtiofs, with memory that a daemon of the host can map.
    fn add_board(&self, arguments: &mut Arguments) {
        let board = match self.board {
            Board::Pc => "pc",
            Board::Q35 => "q35",
            Board::Microvm => "microvm",
            Board::Virt => "virt",
        };
        if self.shares.iter().any(|share| matches!(share, Share::Virtiofs { .. })) {
            let memory = format!("memory-backend-memfd,id=memory,size={}M,share=on", self.memory_mib);
            arguments.option("-machine", format!("{board},memory-backend=memory")).option("-object", memory);
        } else {
            arguments.option("-machine", board);
        }
    }

    fn execution(&self, arguments: &mut Arguments) {
        if self.exact_time {
            arguments.option("-accel", "tcg").option("-icount", "shift=0,sleep=off");
            if self.board == Board::Virt {
                arguments.option("-cpu", "cortex-a72"); // QEMU's default is a 32-bit one.
            }
            arguments.option("-rtc", "base=2026-01-01T00:00:00,clock=vm").option("-seed", "1");
            return;
        }
        // All features: current images need at least x86-64-v2, and RDRAND provides entropy.
        // Under TCG without 57-bit addresses: a fifth level of page tables takes longer to walk, and each walk is emulated.
        // The algorithm of pointer authentication takes most of the time of an emulated aarch64; QEMU has a faster one of its own.
        let (accelerator, processor) = match (self.is_emulated(), self.board) {
            (true, Board::Virt) => ("tcg", "max,pauth-impdef=on"),
            (true, _) => ("tcg", "max,-la57"),
            (false, _) => ("kvm", "max"),
        };
        arguments.option("-accel", accelerator).option("-cpu", processor);
        if self.is_emulated() && self.board == Board::Microvm {
            // On a microvm, the kernel can calibrate the TSC only against the PIT. On a busy host this fails, and the boot hangs
            // ("tsc: Unable to calibrate against PIT", 6.1 and 6.12). With -icount both clocks count instructions and agree.
            arguments.option("-icount", "shift=2");
        }
    }

    fn network(&self, arguments: &mut Arguments) {
        let bus = if self.board == Board::Microvm { "device" } else { "pci" };
        for (number, Tap { name, mac, mtu }) in self.taps.iter().enumerate() {
            let tap = format!("tap,id=net{number},ifname={name},script=no,downscript=no");
            let rom = if self.board == Board::Microvm { "" } else { ",romfile=" };
            let card = format!("virtio-net-{bus},netdev=net{number},mac={mac},host_mtu={mtu}{rom}");
            arguments.option("-netdev", tap).option("-device", card);
        }
        if !self.taps.is_empty() {
            return;
        }
        let device = match (self.nic, self.board) {
            (Nic::None, _) => {
                arguments.option("-nic", "none");
                return;
            }
            // Without the boot ROM, which is not used and not always installed.
            (Nic::VirtioNet, Board::Microvm) => "virtio-net-device,netdev=net0",
            (Nic::VirtioNet, _) => "virtio-net-pci,netdev=net0,romfile=",
            (Nic::E1000, _) => "e1000,netdev=net0,romfile=",
        };
        let mut netdev = "user,id=net0".to_owned();
        for forward in &self.forwards {
            netdev.push_str(&format!(",hostfwd={forward}"));
        }
        arguments.option("-netdev", netdev).option("-device", device);
    }
}

impl CommandLine {
    /// Adds shared folders and serial ports.
    fn channels(&self, arguments: &mut Arguments) {
        let bus = if self.board == Board::Microvm { "device" } else { "pci" };
        // Before the folders, because the init looks for ports only at the first ten devices.
        if !self.ports.is_empty() {
            arguments.option("-device", format!("virtio-serial-{bus}"));
        }
        for (number, share) in self.shares.iter().enumerate() {
            let tag = share_tag(number);
            match share {
                Share::Plan9 { folder, read_only } => {
                    // Only root can set owners; for other users, all files belong to them.
                    let model = if rustix::process::geteuid().is_root() { "passthrough" } else { "none" };
                    let access = if *read_only { ",readonly=on" } else { "" };
                    let mut device = OsString::from(format!("local,id={tag},security_model={model}{access},path="));
                    device.push(option_value(folder.as_os_str()));
                    arguments.option("-fsdev", device);
                    arguments.option("-device", format!("virtio-9p-{bus},fsdev={tag},mount_tag={tag}"));
                }
                Share::Virtiofs { socket } => {
                    arguments.option("-chardev", chardev("socket", &tag, socket));
                    arguments.option("-device", format!("vhost-user-fs-{bus},chardev={tag},tag={tag}"));
                }
            }
        }
        for (number, (name, end)) in self.ports.iter().enumerate() {
            let id = port_end(number);
            arguments.option(
                "-chardev",
                match end {
                    PortEnd::Socket(socket) => chardev("socket", &id, socket),
                    PortEnd::File(file) => chardev("file", &id, file),
                },
            );
            arguments.option("-device", format!("virtserialport,chardev={id},id={name},name={name}"));
        }
    }
}

/// Returns the chardev id of a port.
fn port_end(number: usize) -> String {
    format!("port{number}")
}

/// Returns the tag of a share.
#[must_use]
pub fn share_tag(number: usize) -> String {
    format!("share{number}")
}

fn chardev(kind: &str, id: &str, path: &Path) -> OsString {
    let mut chardev = OsString::from(format!("{kind},id={id},path="));
    chardev.push(option_value(path.as_os_str()));
    chardev
}

impl fmt::Display for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.machine().qemu().name)?;
        for argument in self.arguments() {
            write!(formatter, " {}", shell_word(&argument.to_string_lossy()))?;
        }
        Ok(())
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
        self
    }
}

/// Returns a path that QEMU does not parse as a protocol: a colon before the first slash ends a protocol name
/// (`path_has_protocol()`).
fn plain_name(path: &Path) -> PathBuf {
    let is_protocol = path.as_os_str().as_encoded_bytes().iter().find(|byte| b":/".contains(byte)) == Some(&b':');
    if is_protocol { Path::new(".").join(path) } else { path.to_owned() }
}

/// Escapes a file's name for `key=value,…`: a comma is doubled.
fn option_value(name: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::new();
    for byte in name.as_bytes() {
        bytes.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    }
    OsString::from_vec(bytes)
}

/// Quotes a word for a POSIX shell.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_=+,./:@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
