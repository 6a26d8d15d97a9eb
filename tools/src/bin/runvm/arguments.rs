//! The command line: option names of `docker run` where it has them, those of QEMU for the rest.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use whit_tools::cli::options;
use whit_tools::cli::size::parse_size;
use whit_tools::initramfs::INIT_HELP;
use whit_tools::vm::qemu::{Accelerator, Board, DiskInterface, Forward, Nic};
use whit_tools::vm::{ShareKind, Volume};

/// The help of --append.
const APPEND: &str = "Options for the kernel's command line, after \"console=ttyS0 quiet panic=-1\" and root=";

/// Run a container image as a virtual machine, and exit with the workload's status.
///
/// The image becomes a disk and an initramfs, which are cached under ~/.cache/whit. The machine's writes are lost at its end,
/// unless --disk gives a file for them. Ctrl-c presses the machine's power button; a second ctrl-c ends it at once. With -t,
/// every key goes to the machine, ctrl-a x ends it, and ctrl-a c opens QEMU's monitor. The status is 125 if the machine could
/// not run, or ended without reporting a status.
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
    /// A `docker export` tar, or an image in layers: a `docker save` or OCI archive, whose configuration is then used
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
    /// An environment variable; without =VALUE, its value in runvm's environment; repeatable
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
    #[arg(long, value_name = "NAME", help_heading = "Workload")]
    pub(crate) hostname: Option<String>,
    /// The signal that stops the workload
    #[arg(long, value_name = "SIGNAL", help_heading = "Workload")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds from the stop signal to SIGKILL
    #[arg(long, value_name = "SECONDS", help_heading = "Workload")]
    pub(crate) stop_timeout: Option<u32>,
    /// A resource limit, as nofile=1024:4096; repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Workload")]
    pub(crate) ulimit: Vec<String>,
    /// A kernel setting, as net.core.somaxconn=1024; repeatable
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Workload")]
    pub(crate) sysctl: Vec<String>,
    /// Connect the terminal: every key goes to the machine, and so does the terminal's size
    #[arg(short, long, help_heading = "Workload")]
    pub(crate) tty: bool,
    /// Accepted for compatibility with docker: standard input always goes to the machine
    #[arg(short, long, hide = true)]
    pub(crate) interactive: bool,
    /// Accepted for compatibility with docker: a machine never outlives this program
    #[arg(long, hide = true)]
    pub(crate) rm: bool,

    /// Forward a port of the host [ADDR: 127.0.0.1]; repeatable
    #[arg(short, long, value_name = "[ADDR:]HOST:GUEST[/udp]", help_heading = "Machine")]
    pub(crate) publish: Vec<Forward>,
    /// Share a folder of the host; repeatable
    #[arg(short, long, value_name = "DIR:/PATH[:ro]", help_heading = "Machine")]
    pub(crate) volume: Vec<Volume>,
    /// The way to share folders [default: virtiofs if kernel and host support it, else 9p]
    #[arg(long, value_name = "KIND", help_heading = "Machine")]
    pub(crate) share: Option<ShareKind>,
    /// Mount a tmpfs; repeatable
    #[arg(long, value_name = "/PATH[:OPTIONS]", help_heading = "Machine")]
    pub(crate) tmpfs: Vec<String>,
    /// Memory, as 256M or 1G [default: 256M; with --no-disk, as much as the image needs, if that is more]
    #[arg(short, long, value_name = "SIZE", value_parser = memory_mib, help_heading = "Machine")]
    pub(crate) memory: Option<u32>,
    /// Processors
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=255), help_heading = "Machine")]
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
    /// The board
    #[arg(long, value_name = "BOARD", default_value = "pc", help_heading = "Machine")]
    pub(crate) machine: BoardArgument,
    /// What executes the guest: auto is kvm where it runs a guest, else tcg
    #[arg(long, value_name = "KIND", default_value = "auto", help_heading = "Machine")]
    pub(crate) accel: AcceleratorArgument,

    /// The kernel, as bzImage [default: Debian's from the cache, or the host's, or Debian's, fetched]
    #[arg(long, value_name = "FILE", help_heading = "Boot")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its modules [default: the host's for its release; if there are none, everything is built in]
    #[arg(long, value_name = "DIR", requires = "kernel", conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) modules: Option<PathBuf>,
    /// The initramfs, instead of one made from IMAGE
    #[arg(long, value_name = "FILE", requires = "kernel", help_heading = "Boot")]
    pub(crate) initrd: Option<PathBuf>,
    #[arg(long, help = INIT_HELP, value_name = "FILE", conflicts_with = "initrd", help_heading = "Boot")]
    pub(crate) init: Option<PathBuf>,
    #[arg(long, help = format!("{APPEND}; --help lists the init's"), long_help = options::help(APPEND), value_name = "WORDS", help_heading = "Boot")]
    pub(crate) append: Option<String>,
    /// Print the duration of each stage of the boot to standard error
    #[arg(long, help_heading = "Boot")]
    pub(crate) timeline: bool,
    /// Make the files that the machine boots from, and print QEMU's command line instead of running it
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
    let invalid = || format!("\"{text}\" is not a size as 256M or 1G");
    let (number, mib) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1),
        None => (text.strip_suffix(['G', 'g']).ok_or_else(invalid)?, 1024),
    };
    number.parse::<u32>().ok().and_then(|number| number.checked_mul(mib)).filter(|mib| *mib > 0).ok_or_else(invalid)
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
    fn an_image_and_an_initramfs_exclude_each_other() {
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
