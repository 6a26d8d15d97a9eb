//! `mkcpio`: makes whit's initramfs, the same bytes from the same inputs, without root.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use whit_tools::initramfs::{self, Addition, Compression, Recipe};
use whit_tools::rootfs::Rootfs;
use whit_tools::runrecord::RunRecord;
use whit_tools::{output, size};

/// Make the initramfs that a kernel starts whit from.
///
/// Every file belongs to root and has the time of SOURCE_DATE_EPOCH (0 when it is not set), but for those of --rootfs.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  mkcpio -o initramfs.cpio.gz --busybox /bin/busybox \\\n    \
    --modules /lib/modules/$(uname -r) --module virtio_pci --module virtio_blk --module virtio_net\n  \
    docker export web | mkcpio -o nodisk.cpio.gz --rootfs - --config <(docker inspect web)"
)]
struct Arguments {
    /// The file to write; a name that ends with .gz asks for gzip.
    #[arg(short, long, value_name = "INITRAMFS")]
    output: PathBuf,
    /// The init, a static program [default: whit, beside this tool or in ../release].
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// A static busybox, put into /bin with a link for each of its applets.
    #[arg(long, value_name = "FILE")]
    busybox: Option<PathBuf>,
    /// A kernel's modules: /lib/modules/VERSION, or where a kernel package was unpacked.
    #[arg(long, value_name = "DIR", requires = "module")]
    modules: Option<PathBuf>,
    /// A module to load, with all that it needs; may be given several times.
    #[arg(long, value_name = "NAME", requires = "modules")]
    module: Vec<String>,
    /// A file or directory to put in: at /DEST, in /DEST/, or at / under its own name; may be given several times.
    #[arg(long, value_name = "SRC[:/DEST]")]
    add: Vec<Addition>,
    /// The run record: what to run, in lines as "entrypoint /usr/sbin/nginx"; becomes /whit.conf.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The image itself, which is the root then and needs no disk: a tar as `docker export` writes it, plain or compressed by
    /// gzip, xz or zstd; - is standard input. What is compressed or comes through a pipe is copied to a temporary file first.
    #[arg(long, value_name = "TAR")]
    rootfs: Option<PathBuf>,
    /// What `docker inspect` prints of the container or image, or an OCI image configuration: the image's /etc/whit.conf, or
    /// /whit.conf without --rootfs.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// none, gzip, or gzip:LEVEL from 1 to 9 [default: gzip:9 for .gz, else none].
    #[arg(long, value_name = "KIND")]
    compress: Option<Compression>,
}

fn main() -> ExitCode {
    output::report("mkcpio", run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<(), String> {
    let mtime = initramfs::mtime(env::var_os("SOURCE_DATE_EPOCH").as_deref())?;
    let recipe = Recipe {
        init: arguments.init.map_or_else(initramfs::default_init, Ok)?,
        busybox: arguments.busybox,
        modules: arguments.modules,
        load: arguments.module,
        additions: arguments.add,
        record: arguments.record,
        rootfs: arguments.rootfs,
        config: arguments.config.as_deref().map(read_config).transpose()?,
    };
    let compression = arguments.compress.unwrap_or_else(|| Compression::of_name(&arguments.output));
    let (tree, modules) = recipe.tree().map_err(|error| error.to_string())?;
    let summary = initramfs::write(&tree, &arguments.output, compression, mtime).map_err(|error| error.to_string())?;
    println!(
        "{}: {} entries, {} bytes, in the file {} bytes",
        arguments.output.display(),
        summary.entries,
        summary.archive_bytes,
        summary.file_bytes
    );
    if let Some(rootfs) = tree.rootfs() {
        print_rootfs(rootfs);
        match &recipe.config {
            Some(config) if !config.is_empty() => println!("runs: {}", config.describe()),
            _ if recipe.record.is_some() || rootfs.has_record() => {}
            _ => println!("runs: nothing is set; give --config or --record, or entrypoint= when it boots"),
        }
        let initramfs::Memory { tmpfs_mib, ramfs_mib } = summary.memory;
        println!(
            "memory: {tmpfs_mib} MB, or {ramfs_mib} MB with root=initramfs, and what the workload takes beside its files"
        );
    }
    if !modules.load.is_empty() {
        let names: Vec<&str> = modules.load.iter().map(|module| module.name.as_str()).collect();
        println!("modules to load: {}", names.join(" "));
    }
    if !modules.builtin.is_empty() {
        println!("modules built into this kernel: {}", modules.builtin.join(" "));
    }
    Ok(())
}

fn read_config(path: &Path) -> Result<RunRecord, String> {
    let say = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let json = std::fs::read(path).map_err(|error| say(&error))?;
    RunRecord::parse(&json).map_err(|error| say(&error))
}

fn print_rootfs(rootfs: &Rootfs) {
    let summary = rootfs.summary();
    println!(
        "rootfs: {} files with {}, {} directories, {} others",
        summary.files,
        size::show(summary.content_bytes),
        summary.directories,
        summary.others
    );
    let attributes = &summary.attributes;
    if attributes.restored > 0 {
        println!(
            "set at boot: {} extended attributes, {} of them capabilities; not with root=initramfs, whose ramfs has none",
            attributes.restored, attributes.capabilities
        );
    }
    if attributes.left_out > 0 {
        println!("left out: {} extended attributes that a tmpfs has no place for", attributes.left_out);
    }
    if summary.times_clamped > 0 {
        println!("moved: {} times outside of 1970 to 2106, which a cpio archive cannot hold", summary.times_clamped);
    }
}
