//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use whit_tools::cli::documents;
use whit_tools::compress::Compression;
use whit_tools::initramfs::{Addition, INIT_HELP, Input};
use whit_tools::kernel::modules::For;

/// Make the initramfs that a kernel starts whit from, and look into any.
///
/// Every file belongs to root and has the time of SOURCE_DATE_EPOCH (0 when it is not set), but for those of --rootfs and
/// where an owner is named. The same inputs give the same bytes.
#[derive(Parser)]
#[command(
    name = "mkcpio",
    version,
    after_help = "Examples:\n  mkcpio -o initramfs.cpio.gz --busybox /bin/busybox \\\n    \
    --modules /lib/modules/$(uname -r) --for virtio\n  \
    mkcpio -o any.cpio.zst --kernel vmlinuz --modules linux-image-6.12-amd64.deb --for bare-metal,xfs\n  \
    docker export web | mkcpio -o nodisk.cpio.gz --rootfs - --config <(docker inspect web)\n  \
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

/// What an initramfs is made of.
#[derive(Args)]
#[command(group(ArgGroup::new("wanted").multiple(true)))]
pub(crate) struct Build {
    /// The file to write, or a block device; - is standard output. A name that ends with .gz, .zst, .xz or .lz4 asks for that
    /// compression.
    #[arg(short, long, value_name = "INITRAMFS", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = INIT_HELP)]
    pub(crate) init: Option<PathBuf>,
    /// A static busybox, put into /bin with a link for each of its applets.
    #[arg(long, value_name = "FILE")]
    pub(crate) busybox: Option<PathBuf>,
    /// A kernel's modules: /lib/modules/VERSION, where a kernel package was unpacked, or the package itself: a .deb, .rpm, .apk
    /// or .pkg.tar. May be given several times, for packages that are parts of one kernel, as Fedora's are, or have firmware.
    #[arg(long, value_name = "DIR|PACKAGE", requires = "wanted")]
    pub(crate) modules: Vec<PathBuf>,
    /// The hardware that it is for, and file systems: virtio, qemu, firecracker, aws, bare-metal, ext4, xfs, … . Of drivers, the
    /// init loads those alone that the machine's devices ask for. ext4 is always there.
    #[arg(long = "for", value_name = "WHAT,…", value_delimiter = ',', requires = "modules", group = "wanted")]
    pub(crate) sets: Vec<For>,
    /// A module to load, with all that it needs; may be given several times.
    #[arg(long, value_name = "NAME", requires = "modules", group = "wanted")]
    pub(crate) module: Vec<String>,
    /// Where the firmware is that drivers name [default: beside the modules, as /lib/firmware].
    #[arg(long, value_name = "DIR", requires = "sets")]
    pub(crate) firmware: Option<PathBuf>,
    /// A file or directory to put in: at /DEST, in /DEST/, or at / under its own name; root's, or UID's and GID's, or with the
    /// owners that it has here. This and --manifest may be given several times: later files replace earlier ones.
    #[arg(long, value_name = "SRC[:/DEST[:UID:GID|:keep]]")]
    add: Vec<Addition>,
    /// A list of files as the kernel's gen_init_cpio reads it: lines of file, dir, nod, slink, pipe and sock.
    #[arg(long, value_name = "FILE")]
    manifest: Vec<PathBuf>,
    /// A cpio archive or initramfs that comes first, as it is: the kernel takes microcode only from there, not compressed.
    #[arg(long, value_name = "FILE")]
    prepend: Vec<PathBuf>,
    /// A cpio archive or initramfs that comes last, as it is: its files replace those of the same name.
    #[arg(long, value_name = "FILE")]
    append: Vec<PathBuf>,
    /// Put in 64 random bytes, which the init gives the kernel as entropy: for one boot of one machine, and a secret. For machines
    /// without RDRAND and virtio-rng.
    #[arg(long)]
    pub(crate) seed: bool,
    /// The run record: what to run, in lines as "entrypoint /usr/sbin/nginx"; becomes /whit.conf.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// The image itself, which is the root then and needs no disk: a tar as `docker export` writes it, plain or compressed by
    /// gzip, xz or zstd; - is standard input. What is compressed or comes through a pipe is copied to a temporary file first.
    #[arg(long, value_name = "TAR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// What `docker inspect` prints of the container or image, or an OCI image configuration: the image's /etc/whit.conf, or
    /// /whit.conf without --rootfs.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The kernel that will unpack it, or its configuration: chooses a compression that it has, and refuses one that it has
    /// not. The configuration is found beside the kernel, in /boot or /lib/modules, or in the kernel itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// none, gzip, zstd, xz or lz4, with a level if wanted [default: by the output's name, or the kernel, or none].
    #[arg(long, value_name = "KIND[:LEVEL]")]
    pub(crate) compress: Option<Compression>,
    /// The level of the compression: gzip 1-9 (9), zstd 1-19 (9), xz 0-9 (6), lz4 1-12 (9).
    #[arg(long)]
    pub(crate) level: Option<u32>,
    /// Write checksums (070702), which the kernel compares with what it unpacks.
    #[arg(long)]
    pub(crate) checksum: bool,
    /// Say what each input adds: names, bytes, and what it takes compressed alone; and which smaller init would do.
    #[arg(long)]
    pub(crate) report: bool,
    /// Read all inputs and list what would be written, but write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what is in an initramfs or cpio archive: every segment, of any compression.
    List {
        /// The file; - is standard input.
        file: PathBuf,
        /// Names alone, one a line.
        #[arg(short, long)]
        names: bool,
        /// Write the content of one file in it to standard output.
        #[arg(long, value_name = "PATH", conflicts_with = "names")]
        cat: Option<OsString>,
    },
    /// Unpack an initramfs or cpio archive into a directory, all of it or nothing.
    ///
    /// Links lead nowhere outside of the directory while it is unpacked. Owners and devices take root.
    Extract {
        /// The file; - is standard input.
        file: PathBuf,
        /// The directory: a new one, or one that is empty.
        #[arg(short = 'C', long, value_name = "DIR")]
        directory: PathBuf,
    },
}

impl Arguments {
    /// Takes the process's arguments, and the inputs in their order.
    pub(crate) fn read() -> (Self, Vec<Input>) {
        let matches = documents::command::<Self>().get_matches();
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
        take("append", self.append.iter().cloned().map(Input::Behind).collect());
        inputs.sort_by_key(|(index, _)| *index);
        inputs.into_iter().map(|(_, input)| input).collect()
    }
}
