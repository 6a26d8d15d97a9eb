//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use whit_tools::cli::documents;
use whit_tools::compress::Compression;
use whit_tools::initramfs::{Addition, INIT_HELP, Input};
use whit_tools::kernel::modules::For;

/// Make an initramfs with whit as its init, or list and unpack any initramfs.
///
/// Every file belongs to root and has the time of SOURCE_DATE_EPOCH (0 if it is not set), except those of --rootfs and those
/// with a given owner. The same inputs give the same bytes.
#[derive(Parser)]
#[command(
    name = "mkcpio",
    version,
    after_help = "Examples:\n  mkcpio -o initramfs.cpio.gz --busybox /bin/busybox \\\n    \
    --modules /lib/modules/$(uname -r) --for virtio\n  \
    mkcpio -o any.cpio.zst --kernel vmlinuz --modules linux-image-6.12-amd64.deb --for bare-metal,xfs\n  \
    docker export web | mkcpio -o nodisk.cpio.gz --rootfs - --config <(docker inspect web)\n  \
    mkcpio --netboot /srv/tftp --kernel vmlinuz --cmdline root=/dev/vda --modules DIR --for virtio\n  \
    mkcpio list /boot/initrd.img-$(uname -r)",
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) build: Build,
}

/// The options of building an initramfs.
#[derive(Args)]
#[command(group(ArgGroup::new("wanted").multiple(true)))]
pub(crate) struct Build {
    /// The file to write, or a block device; - is standard output. A name that ends with .gz, .zst, .xz or .lz4 selects that
    /// compression.
    #[arg(short, long, value_name = "INITRAMFS", required_unless_present_any = ["dry_run", "netboot"])]
    pub(crate) output: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = INIT_HELP)]
    pub(crate) init: Option<PathBuf>,
    /// A static busybox, added as /bin/busybox with a link for each of its applets.
    #[arg(long, value_name = "FILE")]
    pub(crate) busybox: Option<PathBuf>,
    /// A kernel's modules: /lib/modules/VERSION, an unpacked kernel package, or the package itself: a .deb, .rpm, .apk or
    /// .pkg.tar. Repeatable, for a kernel in several packages, as in Fedora, and for packages with firmware.
    #[arg(long, value_name = "DIR|PACKAGE", requires = "wanted")]
    pub(crate) modules: Vec<PathBuf>,
    /// Hardware and file systems to support: virtio, qemu, firecracker, aws, bare-metal, ext4, xfs, … . The init loads only the
    /// drivers of the machine's devices. ext4 is always included. The modules of docker, netfilter, wireguard, nfs and cifs are
    /// loaded when the kernel requests them. verity is for a root with roothash=, nvme-tcp and http for one with root=nvme-tcp: or
    /// root=http:.
    #[arg(long = "for", value_name = "SET,…", value_delimiter = ',', requires = "modules", group = "wanted")]
    pub(crate) sets: Vec<For>,
    /// A module to load, with its dependencies; repeatable.
    #[arg(long, value_name = "NAME", requires = "modules", group = "wanted")]
    pub(crate) module: Vec<String>,
    /// Parameters of a module in the initramfs, as "nvme:io_queue_depth=16 poll_queues=2"; repeatable. Those of the kernel command line,
    /// as nvme.io_queue_depth=8, are stronger.
    #[arg(long, value_name = "NAME:PARAMETERS", requires = "modules")]
    pub(crate) options: Vec<String>,
    /// A file as modprobe.d has them, or a directory of such files: their options, softdep and blacklist; repeatable.
    #[arg(long, value_name = "DIR|FILE", requires = "modules")]
    pub(crate) modprobe: Vec<PathBuf>,
    /// Leave out the signatures of modules, and on x86-64 the calls and tables of the function tracer and the tables of the stack
    /// unwinder. The kernel then does not verify and prepare them, which takes most of the time that it loads them, and is tainted. A
    /// kernel that requires signatures, as one with Secure Boot, refuses such modules.
    #[arg(long, requires = "modules")]
    pub(crate) unsigned: bool,
    /// The directory of the drivers' firmware [default: beside the modules, as /lib/firmware].
    #[arg(long, value_name = "DIR", requires = "modules")]
    pub(crate) firmware: Option<PathBuf>,
    /// A file or directory to add: as /DEST, in /DEST/, or in / under its own name. The owner is root, UID and GID, or with keep
    /// the owner on the host. This and --manifest are repeatable; later files replace earlier ones.
    #[arg(long, value_name = "SRC[:/DEST[:UID:GID|:keep]]")]
    add: Vec<Addition>,
    /// A list of files as the kernel's gen_init_cpio reads it: lines of file, dir, nod, slink, pipe and sock.
    #[arg(long, value_name = "FILE")]
    manifest: Vec<PathBuf>,
    /// A cpio archive or initramfs to copy to the start: the kernel reads microcode only from there, uncompressed.
    #[arg(long, value_name = "FILE")]
    prepend: Vec<PathBuf>,
    /// A cpio archive or initramfs to copy to the end: its files replace those of the same name.
    #[arg(long, value_name = "FILE")]
    append: Vec<PathBuf>,
    /// Add 64 random bytes, which the init adds to the kernel's entropy: a secret for one boot of one machine. For machines without
    /// RDRAND and virtio-rng.
    #[arg(long)]
    pub(crate) seed: bool,
    /// The run record, in lines as "entrypoint /usr/sbin/nginx"; becomes /whit.conf.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// The image itself, as the root, so that no disk is needed: a `docker export` tar, plain or compressed by gzip, xz or zstd, or
    /// a folder; - is standard input. A compressed tar, or one from a pipe, is copied to a temporary file first, and so is a folder.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Accept a tar of --rootfs without the blocks of zeros at its end.
    #[arg(long, requires = "rootfs")]
    pub(crate) no_end_mark: bool,
    /// The output of `docker inspect` for the container or image, or an OCI image configuration: becomes the image's
    /// /etc/whit.conf, or /whit.conf without --rootfs.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The kernel that will unpack it, or its configuration: selects a compression that the kernel supports, and refuses others.
    /// The configuration is searched beside the kernel, or the file that a link leads to, in /boot and /lib/modules, and in the kernel
    /// itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Write a folder for network boot instead of one file: the kernel, the initramfs, menus of iPXE, PXELINUX and GRUB, and a unified
    /// kernel image for HTTP boot, where systemd-stub is installed. A TFTP or HTTP server hands it out.
    #[arg(long, value_name = "DIR", requires = "kernel", conflicts_with_all = ["output", "seed"])]
    pub(crate) netboot: Option<PathBuf>,
    /// The kernel command line of --netboot.
    #[arg(
        long,
        value_name = "WORDS",
        requires = "netboot",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) cmdline: String,
    /// systemd-stub for the unified kernel image [default: the one of /usr/lib/systemd/boot/efi].
    #[arg(long, value_name = "FILE", requires = "netboot")]
    pub(crate) stub: Option<PathBuf>,
    /// none, gzip, zstd, xz or lz4, optionally with a level [default: by the output's name, or the kernel, or none].
    #[arg(long, value_name = "KIND[:LEVEL]")]
    pub(crate) compress: Option<Compression>,
    /// The level of the compression: gzip 1-9 (9), zstd 1-19 (9), xz 0-9 (6), lz4 1-12 (9).
    #[arg(long)]
    pub(crate) level: Option<u32>,
    /// Write checksums (070702), which the kernel verifies.
    #[arg(long)]
    pub(crate) checksum: bool,
    /// Say what each input adds: names, bytes, and what it takes compressed alone; and which smaller init would do.
    #[arg(long)]
    pub(crate) report: bool,
    /// Read all inputs and list the result, but write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the contents of an initramfs or cpio archive: every segment, of any compression.
    List {
        /// The file; - is standard input.
        file: PathBuf,
        /// Print only names, one per line.
        #[arg(short, long)]
        names: bool,
        /// Write the content of one file in it to standard output.
        #[arg(long, value_name = "PATH", conflicts_with = "names")]
        cat: Option<OsString>,
    },
    /// Unpack an initramfs or cpio archive into a directory, all of it or nothing.
    ///
    /// No symbolic link leads outside of the directory while unpacking. Setting owners and creating devices need root.
    Extract {
        /// The file; - is standard input.
        file: PathBuf,
        /// The directory: a new one, or one that is empty.
        #[arg(short = 'C', long, value_name = "DIR")]
        directory: PathBuf,
    },
}

impl Arguments {
    /// Parses the process's arguments. Returns the inputs in their order too.
    pub(crate) fn read() -> (Self, Vec<Input>) {
        let matches = documents::command::<Self>().try_get_matches();
        let matches = matches.unwrap_or_else(|error| documents::exit("mkcpio", &error));
        match Self::from_arg_matches(&matches) {
            Ok(arguments) => {
                let inputs = arguments.build.inputs(&matches);
                (arguments, inputs)
            }
            Err(error) => error.format(&mut Self::command()).exit(),
        }
    }
}

impl Build {
    fn inputs(&self, matches: &ArgMatches) -> Vec<Input> {
        let mut inputs = Vec::new();
        let mut take = |name: &str, values: Vec<Input>| {
            inputs.extend(matches.indices_of(name).into_iter().flatten().zip(values));
        };
        take("add", self.add.iter().cloned().map(Input::Files).collect());
        take("manifest", self.manifest.iter().cloned().map(Input::Manifest).collect());
        take("prepend", self.prepend.iter().cloned().map(Input::Before).collect());
        take("append", self.append.iter().cloned().map(Input::After).collect());
        inputs.sort_by_key(|(index, _)| *index);
        inputs.into_iter().map(|(_, input)| input).collect()
    }
}
