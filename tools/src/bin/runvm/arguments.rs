//! The command line: option names of `docker run` where it has them, those of QEMU for the rest.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Parser, ValueEnum};
use whit_tools::cli::options;
use whit_tools::cli::size::parse_size;
use whit_tools::disk::image::Platform;
use whit_tools::initramfs::INIT_HELP;
use whit_tools::kernel::image;
use whit_tools::kernel::modules::For;
use whit_tools::machine::Machine;
use whit_tools::vm::pull::Policy;
use whit_tools::vm::qemu::{Accelerator, Board, DiskInterface, Forward, Nic};
use whit_tools::vm::{ShareKind, Volume};

/// The help of --append.
const APPEND: &str = "Options for the kernel's command line, after \"console=ttyS0 quiet panic=-1\" (on arm64 ttyAMA0), words that spare the kernel work, and root=";

/// Run a container image as a virtual machine, and exit with the workload's status.
///
/// The image becomes a disk and an initramfs, which are cached under ~/.cache/whit. The machine's writes are lost at its end,
/// unless --disk gives a file for them. Signals go to the workload; a second ctrl-c ends the machine at once. With -t, every key
/// goes to the workload, and ctrl-a x ends the machine. The status is 125 if the machine could not run, or ended without
/// reporting a status.
#[derive(Parser)]
#[command(
    name = "runvm",
    version,
    override_usage = "runvm [OPTIONS] IMAGE [ARGS]\n       runvm exec [-it] [-e KEY=VALUE] [-w DIR] [-u USER] NAME PROGRAM [ARGS]\n       runvm [OPTIONS] --kernel FILE --initrd FILE [--disk FILE] [-- ARGS]",
    after_help = "Examples:\n  docker export web > web.tar; docker inspect web > web.json\n  \
                  runvm --config web.json -p 8080:80 -v ./site:/var/www:ro -e DEBUG=1 web.tar\n  \
                  runvm -it alpine.tar /bin/sh\n  \
                  runvm --kernel vmlinuz --initrd initramfs.cpio.gz --disk disk.img --print",
    max_term_width = 100,
    args_override_self = true,
    disable_help_flag = true
)]
pub(crate) struct Arguments {
    /// A `docker export` tar, a folder with a root, or an image in layers, whose configuration is then used: a `docker save` or OCI
    /// archive, an OCI layout; - is standard input; or the name of an image, of podman, docker or a registry
    #[arg(required_unless_present = "initrd", conflicts_with = "initrd")]
    pub(crate) image: Option<PathBuf>,
    /// The workload's arguments, in place of the image's CMD
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,

    /// The output of `docker inspect` for the container or image, or an OCI image configuration
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub(crate) config: Option<PathBuf>,
    /// The program, in place of the image's ENTRYPOINT and CMD
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true, help_heading = "Workload")]
    pub(crate) entrypoint: Option<String>,
    /// An environment variable; without =VALUE, its value in runvm's environment, or none if it is not set there; repeatable
    #[arg(short, long, value_name = "KEY[=VALUE]", help_heading = "Workload")]
    pub(crate) env: Vec<String>,
    /// A file of environment variables, one per line; empty lines and # comments are skipped
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The working directory
    #[arg(short, long, value_name = "DIR", help_heading = "Workload")]
    pub(crate) workdir: Option<String>,
    /// The user: name or number, optionally with :group
    #[arg(short, long, help_heading = "Workload")]
    pub(crate) user: Option<String>,
    /// The host name
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Workload")]
    pub(crate) hostname: Option<String>,
    /// The signal that stops the workload
    #[arg(long, value_name = "SIGNAL", help_heading = "Workload")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds from the stop signal to SIGKILL; a negative number is no limit
    #[arg(long, value_name = "SECONDS", help_heading = "Workload")]
    pub(crate) stop_timeout: Option<i32>,
    /// A resource limit, as nofile=1024:4096; repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Workload")]
    pub(crate) ulimit: Vec<String>,
    /// A kernel setting, as net.core.somaxconn=1024; repeatable
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Workload")]
    pub(crate) sysctl: Vec<String>,
    /// Give the workload a terminal: every key goes to it, and so does the terminal's size
    #[arg(short, long, help_heading = "Workload")]
    pub(crate) tty: bool,
    /// Connect standard input to the workload
    #[arg(short, long, help_heading = "Workload")]
    pub(crate) interactive: bool,
    /// Keep the machine running while daemons of a workload that ended with status 0 run
    #[arg(long, help_heading = "Workload")]
    pub(crate) linger: bool,
    /// The streams to connect, STDIN, STDOUT or STDERR [default: STDOUT and STDERR, with -i STDIN too]; repeatable
    #[arg(short, long, value_name = "STREAM", help_heading = "Workload")]
    pub(crate) attach: Vec<Stream>,
    /// When a registry is asked for an image that is a name
    #[arg(long, value_name = "WHEN", default_value = "missing", conflicts_with = "initrd", help_heading = "Workload")]
    pub(crate) pull: Policy,
    /// The name of the machine, for `runvm exec NAME PROGRAM`
    #[arg(long, value_name = "NAME", conflicts_with = "print", help_heading = "Machine")]
    pub(crate) name: Option<String>,
    /// Print this help
    #[arg(long, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,
    /// Accepted for compatibility with docker: a machine never outlives this program
    #[arg(long, hide = true)]
    pub(crate) rm: bool,

    /// Forward a port of the host [ADDR: 127.0.0.1]; repeatable
    #[arg(short, long, value_name = "[ADDR:]HOST:GUEST[/udp]", help_heading = "Machine")]
    pub(crate) publish: Vec<Forward>,
    /// Share a folder or a file of the host; repeatable
    #[arg(short, long, value_name = "SOURCE:/PATH[:ro]", help_heading = "Machine")]
    pub(crate) volume: Vec<Volume>,
    /// The way to share folders [default: virtiofs if kernel and host support it, else 9p]
    #[arg(long, value_name = "KIND", help_heading = "Machine")]
    pub(crate) share: Option<ShareKind>,
    /// Mount a tmpfs; repeatable
    #[arg(long, value_name = "/PATH[:OPTIONS]", help_heading = "Machine")]
    pub(crate) tmpfs: Vec<String>,
    /// Memory, as 256M or 1G, or a number of bytes [default: 256M; with --no-disk, as much as the image needs, if that is more]
    #[arg(short, long, value_name = "SIZE", value_parser = memory_mib, help_heading = "Machine")]
    pub(crate) memory: Option<u32>,
    /// Processors; a fraction is rounded up
    #[arg(long, value_name = "N", default_value = "1", value_parser = processors, help_heading = "Machine")]
    pub(crate) cpus: u32,
    /// Mount the root read-only
    #[arg(long, help_heading = "Machine")]
    pub(crate) read_only: bool,
    /// Free space on the disk of IMAGE; by default a fifth of the size of its files, at least 64M
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Machine")]
    pub(crate) free: Option<u64>,
    /// Put IMAGE into the initramfs: it runs in memory, without a disk
    #[arg(long, conflicts_with_all = ["disk", "free", "initrd"], help_heading = "Machine")]
    pub(crate) no_disk: bool,
    /// A raw disk image, which the machine writes to; with IMAGE, it is created from it if it does not exist
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub(crate) disk: Option<PathBuf>,
    /// The interface of the disk
    #[arg(long, value_name = "KIND", default_value = "virtio", help_heading = "Machine")]
    pub(crate) disk_interface: DiskArgument,
    /// The network card
    #[arg(long, value_name = "MODEL", default_value = "virtio-net", help_heading = "Machine")]
    pub(crate) nic: NicArgument,
    /// The network: none, or a network of the machine's own
    #[arg(long, alias = "net", value_name = "KIND", conflicts_with = "nic", value_parser = network, help_heading = "Machine")]
    pub(crate) network: Option<Network>,
    /// The machine's architecture and the image's: linux/amd64 or linux/arm64 [default: the kernel's, else the host's]
    #[arg(long, value_name = "PLATFORM", help_heading = "Machine")]
    pub(crate) platform: Option<Platform>,
    /// The board [default: q35; with --disk-interface ide, pc; for arm64, virt]
    #[arg(long, value_name = "BOARD", help_heading = "Machine")]
    pub(crate) machine: Option<BoardArgument>,
    /// What executes the guest: auto is kvm where it runs a guest, else tcg
    #[arg(long, value_name = "KIND", default_value = "auto", help_heading = "Machine")]
    pub(crate) accel: AcceleratorArgument,

    /// The kernel, as bzImage or, for aarch64, Image [default: Debian's from the cache, or the host's, or Debian's, fetched]
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub(crate) kernel: Option<PathBuf>,
    /// Boot the kernel as it is, at a random address: slower than its unpacked form, which has a fixed one
    #[arg(long, help_heading = "Boot")]
    pub(crate) kaslr: bool,
    /// Its modules [default: the host's for its release; if there are none, everything is built in]
    #[arg(long, value_name = "DIR", requires = "kernel", conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) modules: Option<PathBuf>,
    /// Another module to load at the boot; repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) module: Vec<String>,
    /// Modules that the kernel requests while the machine runs: docker, netfilter, wireguard, nfs, cifs; or any set of mkcpio's
    #[arg(long = "for", value_name = "SET,…", value_delimiter = ',', conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) sets: Vec<For>,
    /// The initramfs, instead of one made from IMAGE
    #[arg(long, value_name = "FILE", requires = "kernel", help_heading = "Boot")]
    pub(crate) initrd: Option<PathBuf>,
    #[arg(long, help = INIT_HELP, value_name = "FILE", conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) init: Option<PathBuf>,
    #[arg(long, help = format!("{APPEND}; --help lists the init's"), long_help = options::help(APPEND), value_name = "WORDS", help_heading = "Boot")]
    pub(crate) append: Option<String>,
    /// Write the machine's console, with the messages of the kernel, to this file
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub(crate) console: Option<PathBuf>,
    /// Print the duration of each stage of the boot to standard error
    #[arg(long, help_heading = "Boot")]
    pub(crate) timeline: bool,
    /// Print QEMU's command line to standard error
    #[arg(long, help_heading = "Boot")]
    pub(crate) debug: bool,
    /// Make the files that the machine boots from, and print QEMU's command line instead of running it; with another engine, write
    /// them and its description of the machine to --output
    #[arg(
        long,
        value_name = "ENGINE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "qemu",
        help_heading = "Boot"
    )]
    pub(crate) print: Option<Printed>,
    /// The new folder for the files of --print=ENGINE
    #[arg(long, value_name = "DIR", requires = "print", help_heading = "Boot")]
    pub(crate) output: Option<PathBuf>,
}

/// The engine whose description of the machine is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Printed {
    Qemu,
    Libvirt,
    Firecracker,
    Kubevirt,
}

impl Printed {
    /// Returns the name in the option.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Libvirt => "libvirt",
            Self::Firecracker => "firecracker",
            Self::Kubevirt => "kubevirt",
        }
    }
}

/// A standard stream of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

impl FromStr for Stream {
    type Err = &'static str;

    /// Parses the name of a stream in any case, as docker does (docker/cli, opts/opts.go, ValidateAttach).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "stdin" => Ok(Self::Stdin),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err("not STDIN, STDOUT or STDERR"),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DiskArgument {
    Virtio,
    Ide,
    Nvme,
}

impl From<DiskArgument> for DiskInterface {
    fn from(argument: DiskArgument) -> Self {
        match argument {
            DiskArgument::Virtio => Self::Virtio,
            DiskArgument::Ide => Self::Ide,
            DiskArgument::Nvme => Self::Nvme,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NicArgument {
    VirtioNet,
    E1000,
    None,
}

impl From<NicArgument> for Nic {
    fn from(argument: NicArgument) -> Self {
        match argument {
            NicArgument::VirtioNet => Self::VirtioNet,
            NicArgument::E1000 => Self::E1000,
            NicArgument::None => Self::None,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum BoardArgument {
    Pc,
    Q35,
    Microvm,
    Virt,
}

impl From<BoardArgument> for Board {
    fn from(argument: BoardArgument) -> Self {
        match argument {
            BoardArgument::Pc => Self::Pc,
            BoardArgument::Q35 => Self::Q35,
            BoardArgument::Microvm => Self::Microvm,
            BoardArgument::Virt => Self::Virt,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AcceleratorArgument {
    Auto,
    Kvm,
    Tcg,
}

impl From<AcceleratorArgument> for Accelerator {
    fn from(argument: AcceleratorArgument) -> Self {
        match argument {
            AcceleratorArgument::Auto => Self::Auto,
            AcceleratorArgument::Kvm => Self::Kvm,
            AcceleratorArgument::Tcg => Self::Tcg,
        }
    }
}

/// The network that `--network` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    None,
    Own,
}

impl Arguments {
    /// Returns the board. The kernel takes less time on a q35: on a pc, ACPI computes the interrupt of each device anew. Its ATA
    /// controller however is the one that every kernel has a driver for.
    pub(crate) fn board(&self) -> Board {
        match (self.machine, self.disk_interface) {
            (Some(machine), _) => machine.into(),
            (None, _) if self.architecture() == Machine::Aarch64 => Board::Virt,
            // Firecracker has no PCI bus, as the microvm.
            (None, _) if self.print == Some(Printed::Firecracker) => Board::Microvm,
            (None, DiskArgument::Ide) => Board::Pc,
            (None, _) => Board::Q35,
        }
    }

    /// Returns the architecture: that of --platform, of the board, of the kernel, or the host's.
    pub(crate) fn architecture(&self) -> Machine {
        let of_platform = self.platform.as_ref().and_then(Platform::machine);
        let of_board = || self.machine.map(|machine| Board::from(machine).machine());
        // A kernel that cannot be read is reported when it is used.
        let of_kernel = || image::machine(self.kernel.as_deref()?).ok()?;
        of_platform.or_else(of_board).or_else(of_kernel).unwrap_or(Machine::HOST)
    }

    /// Returns the network card.
    pub(crate) fn nic(&self) -> NicArgument {
        if self.network == Some(Network::None) { NicArgument::None } else { self.nic }
    }
}

fn network(text: &str) -> Result<Network, String> {
    match text {
        "none" => Ok(Network::None),
        "bridge" | "default" => Ok(Network::Own),
        _ => Err("a machine has a network of its own, or none; -p forwards ports of the host".to_owned()),
    }
}

/// Parses a number of processors, which docker takes as a fraction.
fn processors(text: &str) -> Result<u32, String> {
    const MOST: f64 = 255.0;
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= MOST);
    number
        .map(|number| number.ceil() as u32)
        .ok_or_else(|| format!("\"{text}\" is not a number of processors from 1 to {MOST}"))
}

/// Parses a size as docker does (docker/go-units, RAMInBytes): a number and a unit of 1024, in any case; without one, bytes.
/// Returns MiB, rounded up.
fn memory_mib(text: &str) -> Result<u32, String> {
    const MIB: f64 = 1048576.0;
    let invalid = || format!("\"{text}\" is not a size as 256M or 1G");
    let lower = text.to_ascii_lowercase();
    let split = lower.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let place = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit).ok_or_else(invalid)?;
    let bytes = number.parse::<f64>().map_err(|_| invalid())? * 1024_f64.powi(place as i32);
    match (bytes / MIB).ceil() {
        _ if bytes < MIB => Err(format!("{}: it is less than 1M", invalid())),
        mib if mib <= f64::from(i32::MAX) => Ok(mib as u32),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_valid() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_are_dockers() {
        for (text, mib) in [
            ("256M", 256),
            ("1g", 1024),
            ("0.5G", 512),
            ("512MiB", 512),
            ("512mb", 512),
            ("512 m", 512),
            ("268435456", 256),
            ("268435457b", 257),
            ("262144k", 256),
            ("1t", 1 << 20),
        ] {
            assert_eq!(memory_mib(text), Ok(mib), "{text}");
        }
        for text in ["", "M", "256", "0M", "1x", "-1M", "1.2.3M", "1e9", "inf", "nan", "1  M", "99999999G", "1mbb"] {
            assert!(memory_mib(text).unwrap_err().contains("is not a size"), "{text}");
        }
    }

    #[test]
    fn processors_are_rounded_up() {
        for (text, number) in [("1", 1), ("1.5", 2), ("0.5", 1), ("255", 255)] {
            assert_eq!(processors(text), Ok(number), "{text}");
        }
        for text in ["0", "-1", "256", "x", "", "nan"] {
            assert!(processors(text).is_err(), "{text}");
        }
    }

    #[test]
    fn streams_to_attach_have_dockers_names() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.attach);
        assert_eq!(
            parse("runvm web.tar -a stdin -aSTDOUT --attach=Stderr").unwrap(),
            [Stream::Stdin, Stream::Stdout, Stream::Stderr]
        );
        assert!(parse("runvm web.tar -a all").is_err());
    }

    #[test]
    fn an_image_and_an_initramfs_exclude_each_other() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.image.is_some());
        assert!(parse("runvm web.tar -p 80:80 -- a -b").unwrap());
        assert!(!parse("runvm --kernel k --initrd i -- a").unwrap());
        assert!(Arguments::try_parse_from(["runvm", "--network=none", "--nic=e1000", "i"]).is_err());
        for line in [
            "runvm",
            "runvm --kernel k",
            "runvm --initrd i",
            "runvm --kernel k --initrd i web.tar",
            "runvm --modules m web.tar",
            "runvm --kernel k --initrd i --no-disk",
            "runvm web.tar --no-disk --disk d",
            "runvm web.tar --no-disk --free 1G",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
