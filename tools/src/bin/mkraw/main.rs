//! `mkraw`: makes a disk from a container image. See `whit_tools::disk::image`.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, Subcommand};
use whit_tools::cli::documents;
use whit_tools::cli::input;
use whit_tools::cli::output::{self, Output};
use whit_tools::cli::path::shown;
use whit_tools::cli::progress::Bar;
use whit_tools::cli::size::{self, parse_size};
use whit_tools::cli::uuid;
use whit_tools::disk::ext4::{self, Size};
use whit_tools::disk::image::{self, Choice, Input, Options, Platform, Summary};
use whit_tools::disk::inspect::{self, Disk};
use whit_tools::disk::verity;
use whit_tools::machine::Machine;
use whit_tools::runrecord::{Overrides, RunRecord};

/// Make a disk with an ext4 file system from a container image. No root, no loop mount, no mke2fs.
///
/// By default, size and number of inodes follow from the content. The same input gives the same bytes. The run record comes
/// from the image's own configuration or --config, overridden by the options below, and is written to /etc/whit.conf.
#[derive(Parser)]
#[command(
    name = "mkraw",
    version,
    after_help = "Examples:\n  docker inspect web > web.json\n  docker export web | mkraw -o disk.img --config web.json\n  \
        docker save nginx -o nginx.tar && mkraw -o disk.img nginx.tar",
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The disk to write: a raw file, which replaces an existing one, or a block device; - is standard output
    #[arg(short, long, value_name = "DISK", required = true)]
    output: Option<PathBuf>,
    /// A `docker export` tar, plain or compressed by gzip, zstd, xz or bzip2; an image in layers: a `docker save` or OCI
    /// archive, or such a folder; or any other directory, without file systems mounted in it. By default, a tar is read
    /// from standard input
    input: Option<PathBuf>,
    /// The image's name or tag, if the archive contains several images
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// The image's platform, as linux/arm64 or linux/arm/v7, which takes v6 too; by default that of this host if the archive
    /// contains several
    #[arg(long)]
    platform: Option<Platform>,
    /// The output of `docker inspect` for the container or image, or an OCI image configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One element of the entrypoint, repeatable; removes the image's CMD. An empty one removes the entrypoint
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    entrypoint: Option<Vec<String>>,
    /// One element of the command after the entrypoint, repeatable
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    cmd: Option<Vec<String>>,
    /// An environment variable; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// The working directory
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user: name or number, optionally with :group
    #[arg(long)]
    user: Option<String>,
    /// The host name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// The signal that ends the workload
    #[arg(long, value_name = "SIGNAL")]
    stopsignal: Option<String>,
    /// The disk's size: 4G; or free space in addition to the files: +512M or +20%; or min, without free space; by default
    /// +20%, at least +64M
    #[arg(long, value_parser = parse_image_size, conflicts_with = "free")]
    size: Option<Size>,
    /// Free space on the disk, as --size +SIZE
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    free: Option<u64>,
    /// The number of inodes; by default more than the files need
    #[arg(long, value_name = "NUMBER")]
    inodes: Option<u32>,
    /// Make a file system without a journal: for read-only or temporary roots
    #[arg(long)]
    no_journal: bool,
    /// Add a GPT with one partition for the file system, of the type of a root of its machine; --size is the size of the disk
    #[arg(long)]
    gpt: bool,
    /// Append a hash tree of dm-verity, and print the root hash for roothash= of the kernel command line. The root is read-only:
    /// without a journal, and without free space unless a size is given, which includes the tree
    #[arg(long)]
    verity: bool,
    /// The file system's UUID, or `random`; by default derived from the files' metadata
    #[arg(long, value_parser = uuid::parse)]
    uuid: Option<[u8; 16]>,
    /// The label of the file system and the partition, up to 16 bytes
    #[arg(long, default_value = "", value_parser = parse_label, hide_default_value = true)]
    label: [u8; 16],
    /// Read the finished disk back and compare every file with the input
    #[arg(long)]
    verify: bool,
    /// Accept a tar without the two blocks of zeros at its end
    #[arg(long)]
    no_end_mark: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show a disk: its file system, free space and run record
    ///
    /// Supports disks of other programs, and disks that were not unmounted cleanly. For an input named `inspect`, write
    /// ./inspect.
    Inspect {
        /// The disk, with or without a partition table
        disk: PathBuf,
        /// List all files
        #[arg(long)]
        tree: bool,
        /// Write the content of one file in it to standard output
        #[arg(long, value_name = "PATH", conflicts_with = "tree")]
        cat: Option<OsString>,
    },
}

fn main() -> ExitCode {
    let arguments = documents::parse::<Arguments>();
    let result = match (&arguments.command, &arguments.output) {
        (Some(Command::Inspect { disk, tree, cat }), _) => inspect(disk, *tree, cat.as_ref()),
        (None, Some(output)) => build(&arguments, output),
        (None, None) => Err("--output IMAGE is missing".to_owned()), // clap requires it
    };
    output::report("mkraw", result)
}

fn inspect(path: &Path, tree: bool, cat: Option<&OsString>) -> Result<(), String> {
    let failed = |error: inspect::Error| format!("{}: {error}", path.display());
    let disk = Disk::open(path).map_err(failed)?;
    let mut output = io::BufWriter::new(Noted { out: io::stdout().lock(), error: None });
    let shown = match cat {
        Some(file) => disk.cat(file.as_bytes(), &mut output),
        None if tree => disk.tree(&mut |entry| writeln!(output, "{}", entry.line())),
        None => inspect::report(&disk).and_then(|text| Ok(output.write_all(text.as_bytes())?)),
    };
    let result = shown.and_then(|()| Ok(output.flush()?));
    match &output.get_ref().error {
        // The reader has closed the pipe.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(error) => Err(format!("{}: cannot be shown: {error}", path.display())),
        None => result.map_err(failed),
    }
}

/// An output that keeps its error, which is none of the disk that is read.
struct Noted<W> {
    out: W,
    error: Option<io::Error>,
}

impl<W> Noted<W> {
    fn note(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        if kind != io::ErrorKind::Interrupted {
            self.error = Some(error);
        }
        kind.into()
    }
}

impl<W: Write> Write for Noted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| self.note(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| self.note(error))
    }
}

fn build(arguments: &Arguments, path: &Path) -> Result<(), String> {
    let start = Instant::now();
    let (file, input_name) = open_input(arguments.input.as_deref())?;
    let choice = Choice { tag: arguments.tag.clone(), platform: arguments.platform.clone(), ..Choice::default() };
    let output_error = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let metadata = file.metadata().map_err(|error| format!("{input_name}: {error}"))?;
    output::check_apart(path, &input_name, &metadata).map_err(|error| output_error(&error))?;
    if let Some(config) = &arguments.config {
        let metadata = config.metadata().map_err(|error| format!("{}: {error}", config.display()))?;
        output::check_apart(path, &config.display(), &metadata).map_err(|error| output_error(&error))?;
    }
    let length = Some(metadata).filter(Metadata::is_file).map(|metadata| metadata.len());
    let replaces = std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let mut output = Output::create(path).map_err(|error| output_error(&error))?;
    let is_copied = output.is_copied();
    let (mut bar, mut runs) = (None, Vec::new());
    let summary = image::build_file(&file, &choice, output.file(), |input| {
        let total = match &input {
            Input::Layers(layers) => Some(layers.stored_bytes()),
            _ => length,
        };
        if let (Input::Layers(_), Some(folder)) = (&input, arguments.input.as_deref()) {
            check_outside(path, folder).map_err(|error| Failure::Other(output_error(&error)))?;
        }
        let of_image = match &input {
            Input::Layers(layers) => layers.machine(),
            _ => None,
        };
        let record = run_record(arguments, input.config()).map_err(Failure::Other)?;
        runs = run_lines(input.title(), &record);
        let options = Options {
            run_record: record.encode().map_err(|error| Failure::Other(error.to_string()))?,
            size: arguments.size.or(arguments.free.map(Size::Free)).unwrap_or(if arguments.verity {
                Size::Min
            } else {
                Size::Auto
            }),
            inodes: arguments.inodes,
            has_journal: !arguments.no_journal && !arguments.verity,
            is_partitioned: arguments.gpt,
            has_hash_tree: arguments.verity,
            uuid: arguments.uuid,
            label: arguments.label,
            time: source_date_epoch().map_err(Failure::Other)?,
            replaces,
            is_verified: arguments.verify,
            missing_end_accepted: arguments.no_end_mark,
            machine: of_image.unwrap_or(Machine::HOST),
            ..Options::default()
        };
        bar = Some(Bar::start(Arc::clone(&options.progress), total));
        Ok(options)
    });
    drop(bar);
    let summary = summary.map_err(|failure| match failure {
        Failure::Other(line) => line,
        Failure::Image(error) => match error.of_disk() {
            Some(error @ ext4::Error::Write(_)) if is_copied => {
                output_error(&format_args!("{error}; it is first a temporary file, whose directory TMPDIR sets"))
            }
            Some(error) => output_error(error),
            None => format!("{input_name}: {error}"),
        },
    })?;
    output.commit().map_err(|error| output_error(&error))?;
    let mut lines = summary_lines(path, &summary, start.elapsed().as_secs_f64());
    lines.extend(runs);
    // The disk is written; an error of printing the summary is ignored.
    let _ = output::print_about(path, |out| writeln!(out, "{}", lines.join("\n")));
    if summary.changed.count > 0 {
        let (first, more) = (shown(&summary.changed.first), summary.changed.count - 1);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let _ = writeln!(io::stderr(), "mkraw: {input_name}: warning: changed while it was read: {first}{more}");
    }
    Ok(())
}

/// Why a disk is not made: an error of the library, or a line of this program's own.
enum Failure {
    Image(image::Error),
    Other(String),
}

impl From<image::Error> for Failure {
    fn from(error: image::Error) -> Self {
        Self::Image(error)
    }
}

/// Refuses an output in a folder of layers, which are found by name.
fn check_outside(path: &Path, folder: &Path) -> Result<(), String> {
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) if path.starts_with(&folder) => {
            Err(format!("is inside of the input {}; give another output", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the run record of --config, or of the image itself, with the options' overrides.
fn run_record(arguments: &Arguments, own: Option<&RunRecord>) -> Result<RunRecord, String> {
    let mut record = match &arguments.config {
        None => own.cloned().unwrap_or_default(),
        Some(path) => {
            let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let json = input::read(path).map_err(|error| describe(&error))?;
            RunRecord::parse(&json).map_err(|error| describe(&error))?
        }
    };
    let overrides = Overrides {
        entrypoint: arguments.entrypoint.clone(),
        cmd: arguments.cmd.clone(),
        env: arguments.env.clone(),
        workdir: arguments.workdir.clone(),
        user: arguments.user.clone(),
        stopsignal: arguments.stopsignal.clone(),
        hostname: arguments.hostname.clone(),
        ..Overrides::default()
    };
    record.override_with(overrides).map_err(|error| error.to_string())?;
    Ok(record)
}

/// Opens the input. Returns its name for messages too.
fn open_input(path: Option<&Path>) -> Result<(File, String), String> {
    if let Some(path) = path.filter(|path| *path != Path::new("-")) {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok((file, path.display().to_string()));
    }
    let name = "standard input".to_owned();
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(
            "standard input is a terminal; give a tar, or write docker export CONTAINER | mkraw -o DISK".to_owned()
        );
    }
    let input = stdin.as_fd().try_clone_to_owned().map_err(|error| format!("{name}: {error}"))?;
    // A larger pipe halves the time (measured: 189 ms to 90 ms for 187 MB). This fails if it is not a pipe, or over the limit.
    const PIPE_BYTES: usize = 1 << 20;
    let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE_BYTES);
    Ok((File::from(input), name))
}

/// Returns SOURCE_DATE_EPOCH, or 0 (<https://reproducible-builds.org/specs/source-date-epoch>).
fn source_date_epoch() -> Result<u32, String> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            text.parse().map_err(|_| format!("SOURCE_DATE_EPOCH {text:?} is not a number of seconds in 32 bits"))
        }
        Err(_) => Ok(0),
    }
}

fn parse_image_size(text: &str) -> Result<Size, String> {
    let hint = |error| format!("{error}; or +512M, +20%, min");
    match text.strip_prefix('+') {
        None if text == "min" => Ok(Size::Min),
        None => parse_size(text).map(Size::Exact).map_err(hint),
        Some(free) => match free.strip_suffix('%') {
            Some(percent) => percent.parse().map(Size::Percent).map_err(|_| format!("{text:?} is not a percentage")),
            None => parse_size(free).map(Size::Free).map_err(hint),
        },
    }
}

fn parse_label(text: &str) -> Result<[u8; 16], String> {
    let mut label = [0; 16];
    let place = label.get_mut(..text.len()).ok_or("a label has at most 16 bytes")?;
    place.copy_from_slice(text.as_bytes());
    Ok(label)
}

/// Returns the lines of the summary.
fn summary_lines(path: &Path, summary: &Summary, seconds: f64) -> Vec<String> {
    let show = size::show;
    let totals = &summary.totals;
    let mut lines = vec![format!(
        "{}: {}, {} allocated; {} files with {}, {} directories, {} others; {seconds:.3} s",
        path.display(),
        show(totals.image_bytes),
        show(summary.allocated_bytes),
        totals.files,
        show(totals.content_bytes),
        totals.directories,
        totals.others,
    )];
    if let Some(hash) = &summary.root_hash {
        lines.push(format!("verity: roothash={}", verity::digits(hash)));
    }
    for (count, files) in [
        (
            summary.attributes_left_out,
            "extended attributes: of a type that ext4 does not support, or ACLs with names instead of ids",
        ),
        (summary.left_out.sockets, "sockets"),
        (summary.left_out.mounts, "mounted file systems"),
        (summary.left_out.disks, "files that are this disk"),
        (summary.left_out.unfinished, "unfinished disks of another run"),
    ] {
        if count > 0 {
            lines.push(format!("left out: {count} {files}"));
        }
    }
    if summary.is_empty {
        lines.push("the archive has no entries: the root is empty".to_owned());
    }
    if let Some(after) = summary.after_end {
        lines.push(format!("ignored: {after}"));
    }
    if totals.times_clamped > 0 {
        lines.push(format!("clamped: {} times outside of 1901 to 2446, which ext4 cannot store", totals.times_clamped));
    }
    lines
}

fn run_lines(title: Option<&str>, record: &RunRecord) -> Vec<String> {
    let runs = if record.is_empty() {
        "nothing is set; give --config or --entrypoint, or entrypoint= at boot".to_owned()
    } else {
        record.describe()
    };
    title.map(|title| format!("image: {title}")).into_iter().chain([format!("runs: {runs}")]).collect()
}
