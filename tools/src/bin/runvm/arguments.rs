//! The command line: `docker run`'s words for what both have, QEMU's for the rest.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use whit_tools::cli::options;
use whit_tools::cli::size::parse_size;
use whit_tools::initramfs::INIT_HELP;
use whit_tools::vm::qemu::{Accelerator, Board, DiskInterface, Forward, Nic};
use whit_tools::vm::{ShareKind, Volume};

/// What --append takes.
const APPEND: &str = "Words for the kernel's command line, after \"console=ttyS0 quiet panic=-1\" and root=";

/// Run a container image as a machine of its own, and end with the workload's exit status.
///
/// The image becomes a disk and an initramfs, which are kept under ~/.cache/whit by what they were made from; what the
/// machine writes is gone with it, unless --disk names a file to keep it in. Ctrl-c presses the machine's power button, twice
/// ends it at once; with -t every key goes to the machine, ctrl-a x ends it, and ctrl-a c opens QEMU's monitor. The status is
/// 125 when the machine could not run, or ended without telling one.
#[derive(Parser)]
#[command(
    name = "runvm",
    version,
    override_usage = "runvm [OPTIONS] IMAGE [-- ARGS]\n       runvm [OPTIONS] --kernel FILE --initrd FILE [--disk FILE] [-- ARGS]",
    after_help = "Examples:\n  docker export web > web.tar; docker inspect web > web.json\n  \
                  runvm web.tar --config web.json -p 8080:80 -v ./site:/var/www:ro -e DEBUG=1\n  \
                  runvm alpine.tar -t --entrypoint /bin/sh\n  \
                  runvm --kernel vmlinuz --initrd initramfs.cpio.gz --disk disk.img --print",
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// A `docker export` tar
    #[arg(required_unless_present = "initrd", conflicts_with = "initrd")]
    pub(crate) image: Option<PathBuf>,
    /// The workload's arguments, in place of the image's CMD
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,

    /// What `docker inspect` prints of the container or image, or an OCI image configuration
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub(crate) config: Option<PathBuf>,
    /// The program, in place of the image's ENTRYPOINT and CMD
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true, help_heading = "Workload")]
    pub(crate) entrypoint: Option<String>,
    /// A variable; without =VALUE, the one of this program's own environment; repeatable
    #[arg(short, long, value_name = "KEY[=VALUE]", help_heading = "Workload")]
    pub(crate) env: Vec<String>,
    /// Variables, one a line; empty lines and # comments are skipped
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The directory to start in
    #[arg(short, long, value_name = "DIR", help_heading = "Workload")]
    pub(crate) workdir: Option<String>,
    /// The user to run as: name or number, with :group if wanted
    #[arg(short, long, help_heading = "Workload")]
    pub(crate) user: Option<String>,
    /// The machine's name
    #[arg(long, value_name = "NAME", help_heading = "Workload")]
    pub(crate) hostname: Option<String>,
    /// The signal that asks the workload to end
    #[arg(long, value_name = "SIGNAL", help_heading = "Workload")]
    pub(crate) stop_signal: Option<String>,
    /// How many seconds it has to end before it is killed
    #[arg(long, value_name = "SECONDS", help_heading = "Workload")]
    pub(crate) stop_timeout: Option<u32>,
    /// What the workload may use, as nofile=1024:4096; repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Workload")]
    pub(crate) ulimit: Vec<String>,
    /// A setting of the kernel, as net.core.somaxconn=1024; repeatable
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Workload")]
    pub(crate) sysctl: Vec<String>,
    /// Keys go to the machine one by one, and the terminal's size with them
    #[arg(short, long, help_heading = "Workload")]
    pub(crate) tty: bool,
    /// Accepted for docker's sake: standard input always goes to the machine
    #[arg(short, long, hide = true)]
    pub(crate) interactive: bool,
    /// Accepted for docker's sake: a machine never outlives this program
    #[arg(long, hide = true)]
    pub(crate) rm: bool,

    /// Forward a port of the host [ADDR: 127.0.0.1]; repeatable
    #[arg(short, long, value_name = "[ADDR:]HOST:GUEST[/udp]", help_heading = "Machine")]
    pub(crate) publish: Vec<Forward>,
    /// Share a folder of the host; repeatable
    #[arg(short, long, value_name = "DIR:/PATH[:ro]", help_heading = "Machine")]
    pub(crate) volume: Vec<Volume>,
    /// How folders are shared [default: virtiofs where kernel and host have it, else 9p]
    #[arg(long, value_name = "KIND", help_heading = "Machine")]
    pub(crate) share: Option<ShareKind>,
    /// Mount a tmpfs; repeatable
    #[arg(long, value_name = "/PATH[:OPTIONS]", help_heading = "Machine")]
    pub(crate) tmpfs: Vec<String>,
    /// Memory, as 256M or 1G [default: 256M; with --no-disk what the image needs, if that is more]
    #[arg(short, long, value_name = "SIZE", value_parser = memory_mib, help_heading = "Machine")]
    pub(crate) memory: Option<u32>,
    /// Processors
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=255), help_heading = "Machine")]
    pub(crate) cpus: u32,
    /// The root cannot be written to
    #[arg(long, help_heading = "Machine")]
    pub(crate) read_only: bool,
    /// Free space on the disk that IMAGE becomes; by default a fifth of what its files take, at least 64M
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Machine")]
    pub(crate) free: Option<u64>,
    /// Put IMAGE into the initramfs: it runs in memory, and without a disk
    #[arg(long, conflicts_with_all = ["disk", "free", "initrd"], help_heading = "Machine")]
    pub(crate) no_disk: bool,
    /// A raw disk image, which the machine writes to; with IMAGE, made from it when it is not there yet
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub(crate) disk: Option<PathBuf>,
    /// How the disk is attached
    #[arg(long, value_name = "KIND", default_value = "virtio", help_heading = "Machine")]
    pub(crate) disk_interface: DiskArgument,
    /// The network card
    #[arg(long, value_name = "MODEL", default_value = "virtio-net", help_heading = "Machine")]
    pub(crate) nic: NicArgument,
    /// The board
    #[arg(long, value_name = "BOARD", default_value = "pc", help_heading = "Machine")]
    pub(crate) machine: BoardArgument,
    /// What executes the guest: auto is kvm where it runs a guest, else tcg
    #[arg(long, value_name = "KIND", default_value = "auto", help_heading = "Machine")]
    pub(crate) accel: AcceleratorArgument,

    /// The kernel, as bzImage [default: one of Debian's that was kept, or the host's, or Debian's, fetched]
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its modules [default: those of the host for its release; none: all is built in]
    #[arg(long, value_name = "DIR", requires = "kernel", conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) modules: Option<PathBuf>,
    /// The initramfs, in place of one that is made from IMAGE
    #[arg(long, value_name = "FILE", requires = "kernel", help_heading = "Boot")]
    pub(crate) initrd: Option<PathBuf>,
    #[arg(long, help = INIT_HELP, value_name = "FILE", conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) init: Option<PathBuf>,
    #[arg(long, help = format!("{APPEND}; --help lists the init's"), long_help = options::help(APPEND), value_name = "WORDS", help_heading = "Boot")]
    pub(crate) append: Option<String>,
    /// Show how long each stage of the boot took, on standard error
    #[arg(long, help_heading = "Boot")]
    pub(crate) timeline: bool,
    /// Make the files that the machine boots from, as a run does, and show QEMU's command line in place of running it
    #[arg(long, help_heading = "Boot")]
    pub(crate) print: bool,
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
}

impl From<BoardArgument> for Board {
    fn from(argument: BoardArgument) -> Self {
        match argument {
            BoardArgument::Pc => Self::Pc,
            BoardArgument::Q35 => Self::Q35,
            BoardArgument::Microvm => Self::Microvm,
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

fn memory_mib(text: &str) -> Result<u32, String> {
    let wrong = || format!("\"{text}\" is not a size as 256M or 1G");
    let (number, mib) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1),
        None => (text.strip_suffix(['G', 'g']).ok_or_else(wrong)?, 1024),
    };
    number.parse::<u32>().ok().and_then(|number| number.checked_mul(mib)).filter(|mib| *mib > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_has_no_contradictions() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_image_and_an_initramfs_are_two_ways() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.image.is_some());
        assert!(parse("runvm web.tar -p 80:80 -- a -b").unwrap());
        assert!(!parse("runvm --kernel k --initrd i -- a").unwrap());
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
