//! `mkcpio`: makes whit's initramfs, the same bytes from the same inputs, without root.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use whit_tools::initramfs::{self, Addition, Compression, Recipe};
use whit_tools::output;

/// Make the initramfs that a kernel starts whit from.
///
/// Every file belongs to root and has the time of SOURCE_DATE_EPOCH (0 when it is not set).
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  mkcpio -o initramfs.cpio.gz --busybox /bin/busybox \\\n    \
    --modules /lib/modules/$(uname -r) --module virtio_pci --module virtio_blk --module virtio_net"
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
    if !modules.load.is_empty() {
        let names: Vec<&str> = modules.load.iter().map(|module| module.name.as_str()).collect();
        println!("modules to load: {}", names.join(" "));
    }
    if !modules.builtin.is_empty() {
        println!("modules built into this kernel: {}", modules.builtin.join(" "));
    }
    Ok(())
}
