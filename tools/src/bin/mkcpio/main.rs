//! `mkcpio`: writes whit's initramfs, reproducibly and without root; lists and unpacks any initramfs.

mod arguments;
mod inspect;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arguments::{Arguments, Build, Command};
use inspect::Stop;
use whit::contract::ROOTFS_OPTION;
use whit_tools::archive::segment::Reader;
use whit_tools::cli::progress::{Bar, Progress};
use whit_tools::cli::{input, output, size};
use whit_tools::compress::{Compression, Method};
use whit_tools::initramfs::rootfs::Rootfs;
use whit_tools::initramfs::tree::Tree;
use whit_tools::initramfs::{self, Input, Packing, Recipe, Summary};
use whit_tools::kernel::config::Config;
use whit_tools::kernel::modules::{Closure, For, Modules, Package, Settings};
use whit_tools::kernel::{elf, image};
use whit_tools::machine::Machine;
use whit_tools::netboot::{self, Netboot};
use whit_tools::runrecord::RunRecord;

fn main() -> ExitCode {
    let (arguments, inputs) = Arguments::read();
    let result = match arguments.command {
        Some(Command::List { file, cat: Some(name), .. }) => inspect::cat(&file, &name),
        Some(Command::List { file, names, .. }) => inspect::list(&file, names),
        Some(Command::Extract { file, directory }) => inspect::extract(&file, &directory),
        None => build(arguments.build, inputs),
    };
    output::report("mkcpio", result)
}

fn build(arguments: Build, inputs: Vec<Input>) -> Result<(), String> {
    if let Some(output) = arguments.output.as_deref().filter(|_| !arguments.dry_run) {
        check_apart(output, &arguments, &inputs)?;
    }
    let netboot = arguments.netboot.as_ref().map(|folder| open_netboot(folder, &arguments)).transpose()?;
    let package = open_packages(&arguments.modules)?;
    let modules = package.as_ref().map(|package| package.directory().to_owned()).or(arguments.modules.first().cloned());
    let machine = machine(arguments.kernel.as_deref(), modules.as_deref())?;
    let recipe = Recipe {
        init: initramfs::find_init(arguments.init.as_deref(), machine)?,
        busybox: arguments.busybox.clone(),
        modules,
        load: arguments.module.clone(),
        unsigned: arguments.unsigned,
        sets: arguments.sets.clone(),
        settings: settings(&arguments)?,
        firmware: arguments.firmware.clone(),
        inputs,
        seed: arguments.seed,
        record: arguments.record.clone(),
        rootfs: arguments.rootfs.clone(),
        outputs: netboot.as_ref().map_or_else(|| arguments.output.clone().into_iter().collect(), Netboot::paths),
        missing_end_accepted: arguments.no_end_mark,
        config: arguments.config.as_deref().map(read_config).transpose()?,
    };
    let mtime = initramfs::mtime(env::var_os("SOURCE_DATE_EPOCH").as_deref())?;
    let config = arguments.kernel.as_deref().map(read_kernel).transpose()?;
    if let (true, Some(config)) = (arguments.unsigned, &config)
        && let Some(option) = config.requires_signatures()
    {
        return Err(format!(
            "--unsigned: the kernel requires signatures: {option} is set in {}",
            config.place.display()
        ));
    }
    let compression = compression(&arguments, config.as_ref())?;
    let packing = Packing { mtime, is_summed: arguments.checksum, ..Packing::new(compression) };
    // Replaces the temporary directory of unpacked packages by their names.
    let with_package_names = |text: String| match &package {
        Some(package) => {
            let names: Vec<_> = arguments.modules.iter().map(|path| path.to_string_lossy()).collect();
            text.replace(&*package.directory().to_string_lossy(), &names.join(", "))
        }
        None => text,
    };
    let (tree, modules) = recipe.tree().map_err(|error| with_package_names(error.to_string()))?;
    check_release(&modules, arguments.kernel.as_deref())?;
    check_machine(&recipe.init, arguments.kernel.as_deref())?;
    for (path, method) in tree.archived() {
        check_method(method, config.as_ref()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let message = |error: initramfs::Error| error.to_string();
    let bar = || Bar::start(Arc::clone(&packing.progress), Some(tree.content_bytes()));
    match (&arguments.output, &netboot) {
        _ if arguments.dry_run => list(&tree, &packing)?,
        (_, Some(netboot)) => {
            let path = netboot.folder.join(netboot::INITRAMFS);
            let mut files = netboot.start()?;
            let written = {
                let _bar = bar();
                initramfs::write_into(&tree, files.initramfs(), &packing)
            };
            let summary = written.map_err(message)?;
            netboot.finish(files)?;
            output::print(|out| {
                print_summary(out, &path, &summary, &tree, &recipe)?;
                print_netboot(out, netboot)
            })?;
        }
        (Some(path), None) => {
            let written = {
                let _bar = bar();
                initramfs::write(&tree, path, &packing)
            };
            let summary = written.map_err(message)?;
            output::print_about(path, |out| print_summary(out, path, &summary, &tree, &recipe))?;
        }
        (None, None) => {}
    }
    let about = arguments.output.as_deref().filter(|_| !arguments.dry_run).unwrap_or(Path::new(""));
    if arguments.report {
        let report = with_package_names(initramfs::report(&tree, &packing).map_err(message)?);
        let is_whole = arguments.init.as_deref().is_none_or(|init| init == Path::new("whole"));
        let smaller = if is_whole { initramfs::smaller_init(&recipe, &tree) } else { None };
        output::print_about(about, |out| {
            out.write_all(report.as_bytes())?;
            smaller.map_or(Ok(()), |name| writeln!(out, "init: whole; {name} has all that this initramfs asks for"))
        })?;
    }
    output::print_about(about, |out| {
        print_modules(out, &modules, &recipe.sets, arguments.report)?;
        recipe.settings.unused.iter().try_for_each(|line| writeln!(out, "without effect: {line}"))
    })
}

/// Reads the settings of modules.
fn settings(arguments: &Build) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for path in &arguments.modprobe {
        settings.read(path).map_err(|error| error.to_string())?;
    }
    for text in &arguments.options {
        settings.add(text).map_err(|error| format!("--options: {error}"))?;
    }
    Ok(settings)
}

/// Refuses an output that is one of the given inputs. Files in directories are checked later.
fn check_apart(output: &Path, arguments: &Build, inputs: &[Input]) -> Result<(), String> {
    let Build { init, busybox, record, rootfs, config, kernel, modules, .. } = arguments;
    let named = [init, busybox, record, config, kernel].into_iter().flatten().chain(modules);
    let more = inputs.iter().map(|input| match input {
        Input::Files(addition) => &addition.source,
        Input::Manifest(path) | Input::Before(path) | Input::After(path) => path,
    });
    let stdin = Path::new("/dev/stdin");
    let rootfs = rootfs.as_deref().map(|path| if output::is_stream(path) { stdin } else { path });
    for input in named.chain(more).map(PathBuf::as_path).chain(rootfs) {
        // A file that cannot be read is reported when it is used.
        if let Ok(metadata) = input.metadata() {
            let checked = output::check_apart(output, &input.display(), &metadata);
            checked.map_err(|error| format!("{}: {error}", output.display()))?;
        }
    }
    Ok(())
}

/// Checks the kernel and the words of --netboot, and finds the stub.
fn open_netboot(folder: &Path, arguments: &Build) -> Result<Netboot, String> {
    netboot::check_words(&arguments.cmdline).map_err(|error| format!("--cmdline: {error}"))?;
    let kernel = arguments.kernel.clone().unwrap_or_default();
    let machine = machine(Some(&kernel), None)?;
    let stub = arguments.stub.clone().or_else(|| netboot::find_stub(machine));
    let netboot = Netboot { folder: folder.to_owned(), kernel, words: arguments.cmdline.clone(), stub };
    netboot.check_kernel()?;
    Ok(netboot)
}

/// Unpacks the packages of --modules; a directory is used directly.
fn open_packages(paths: &[PathBuf]) -> Result<Option<Package>, String> {
    match (paths, paths.iter().find(|path| !path.is_file())) {
        ([] | [_], Some(_)) | ([], None) => Ok(None),
        (_, Some(path)) => {
            Err(format!("{}: is not a file; with several --modules, each must be a package", path.display()))
        }
        (_, None) => {
            let progress = Arc::new(Progress::default());
            let lengths = paths.iter().map(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len()));
            let _bar = Bar::start(Arc::clone(&progress), Some(lengths.sum()));
            Package::open(paths, &progress).map(Some).map_err(|error| error.to_string())
        }
    }
}

/// Refuses modules of another kernel.
fn check_release(modules: &Closure, kernel: Option<&Path>) -> Result<(), String> {
    let Some(path) = kernel else { return Ok(()) };
    let release = image::release(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match (release, modules.releases.first_key_value()) {
        (Some(release), Some((other, module))) if *other != release => {
            Err(format!("{} is {release}, but the modules are for {other} (according to {module})", path.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the machine that the initramfs is for: that of the kernel or the modules, else the host's.
fn machine(kernel: Option<&Path>, modules: Option<&Path>) -> Result<Machine, String> {
    if let Some(path) = kernel
        && let Some(machine) = image::machine(path).map_err(|error| format!("{}: {error}", path.display()))?
    {
        return Ok(machine);
    }
    // Modules that cannot be read are reported when they are added.
    let of_modules = modules.and_then(|modules| Modules::open(modules).ok()?.machine());
    Ok(of_modules.map_or(Machine::HOST, |(_, machine)| machine))
}

/// Refuses a kernel of another machine than the init.
fn check_machine(init: &Path, kernel: Option<&Path>) -> Result<(), String> {
    let Some(path) = kernel else { return Ok(()) };
    let at = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let bytes = std::fs::read(init).map_err(|error| at(init, error))?;
    let wanted = elf::machine(&bytes).and_then(Machine::of_elf);
    match (image::machine(path).map_err(|error| at(path, error))?, wanted) {
        (Some(found), Some(wanted)) if found != wanted => {
            Err(format!("{} is a kernel for {found}, but the init {} is for {wanted}", path.display(), init.display()))
        }
        _ => Ok(()),
    }
}

/// Reads the configuration of a kernel, or the given configuration itself.
fn read_kernel(path: &Path) -> Result<Config, String> {
    let describe = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let found = Config::of(path).map_err(|error| describe(&error))?;
    found.ok_or_else(|| describe(&"its configuration is neither beside it nor in it; give the configuration instead"))
}

/// Returns the compression of --compress, or of the output's name, or the best one of the kernel.
fn compression(arguments: &Build, config: Option<&Config>) -> Result<Compression, String> {
    let of_name = || arguments.output.as_deref().and_then(Compression::of_name);
    let requested = arguments.compress.or_else(of_name);
    let chosen = requested.unwrap_or_else(|| config.map_or(Compression::None, Config::best_compression));
    if let Some(method) = chosen.method() {
        check_method(method, config)?;
    }
    match arguments.level {
        None => Ok(chosen),
        Some(level) => chosen.with_level(level).map_err(|error| format!("--level {level}: {error}")),
    }
}

/// Refuses a compression that the kernel does not support.
fn check_method(method: Method, config: Option<&Config>) -> Result<(), String> {
    let Some(config) = config.filter(|config| !config.has(method)) else { return Ok(()) };
    let (place, name) = (config.place.display(), method.name());
    Err(format!("the kernel does not unpack {name}: CONFIG_RD_{} is not set in {place}", name.to_uppercase()))
}

/// Lists the entries without writing the file.
fn list(tree: &Tree, packing: &Packing) -> Result<(), String> {
    let (reader, writer) = std::io::pipe().map_err(|error| format!("pipe: {error}"))?;
    std::thread::scope(|scope| {
        let written = scope.spawn(|| initramfs::write_plain(tree, writer, packing));
        let listed = inspect::print(|out| match inspect::list_into(&mut Reader::new(&reader), out, false) {
            // If writing fails, the archive ends early; the error of writing is reported instead.
            Err(Stop::Read(_)) => Ok(()),
            result => result,
        });
        drop(reader);
        match written.join() {
            Ok(Err(error)) => Err(error.to_string()),
            _ => listed,
        }
    })
}

fn print_summary(out: &mut dyn Write, path: &Path, summary: &Summary, tree: &Tree, recipe: &Recipe) -> io::Result<()> {
    let Summary { entries, archive_bytes, file_bytes, memory } = summary;
    writeln!(out, "{}: {entries} entries, {archive_bytes} bytes, in the file {file_bytes} bytes", path.display())?;
    let Some(rootfs) = tree.rootfs() else { return Ok(()) };
    print_rootfs(out, rootfs)?;
    match &recipe.config {
        Some(config) if !config.is_empty() => writeln!(out, "runs: {}", config.describe())?,
        _ if recipe.record.is_some() || rootfs.has_record() => {}
        _ => writeln!(out, "runs: nothing is set; give --config or --record, or entrypoint= at boot")?,
    }
    let initramfs::Memory { tmpfs_mib, ramfs_mib } = memory;
    writeln!(
        out,
        "memory: {tmpfs_mib} MB, or {ramfs_mib} MB with {ROOTFS_OPTION}, plus the memory of the running workload"
    )
}

fn print_netboot(out: &mut dyn Write, netboot: &Netboot) -> io::Result<()> {
    write!(out, "{}: for iPXE {}, for PXELINUX and GRUB their menus", netboot.folder.display(), netboot::IPXE)?;
    match &netboot.stub {
        Some(_) => writeln!(out, ", for HTTP boot {}", netboot::UKI),
        None => writeln!(out, "; no image for HTTP boot: systemd-stub is not installed, name it with --stub"),
    }
}

/// Prints the modules, and with `is_whole` the name of each firmware that is missing.
fn print_modules(out: &mut dyn Write, modules: &Closure, sets: &[For], is_whole: bool) -> io::Result<()> {
    if !modules.load.is_empty() {
        let names: Vec<&str> = modules.load.iter().map(|module| module.name.as_str()).collect();
        writeln!(out, "modules to load: {}", names.join(" "))?;
    }
    if let (count @ 1.., patterns) = modules.by_device {
        writeln!(out, "modules loaded by device or on demand: {count}, with {patterns} patterns")?;
    }
    let has_hardware = sets.iter().any(|set| !matches!(set, For::FileSystem(_) | For::OnDemand(_)));
    if modules.by_device.0 == 0 && has_hardware {
        writeln!(out, "modules loaded by device: none; this kernel has no module for any of the hardware sets")?;
    }
    match modules.missing_firmware.as_slice() {
        [] => {}
        all if is_whole => writeln!(out, "missing firmware, which some devices need: {}", all.join(" "))?,
        [first, rest @ ..] => {
            writeln!(out, "missing firmware, which some devices need: {first} and {} more (--report)", rest.len())?;
        }
    }
    if !modules.builtin.is_empty() {
        writeln!(out, "modules built into this kernel: {}", modules.builtin.join(" "))?;
    }
    Ok(())
}

fn read_config(path: &Path) -> Result<RunRecord, String> {
    let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let json = input::read(path).map_err(|error| describe(&error))?;
    RunRecord::parse(&json).map_err(|error| describe(&error))
}

fn print_rootfs(out: &mut dyn Write, rootfs: &Rootfs) -> io::Result<()> {
    let summary = rootfs.summary();
    writeln!(
        out,
        "rootfs: {} files with {}, {} directories, {} others",
        summary.files,
        size::show(summary.content_bytes),
        summary.directories,
        summary.others
    )?;
    let attributes = &summary.attributes;
    if attributes.restored > 0 {
        writeln!(
            out,
            "set at boot: {} extended attributes, {} of them capabilities; not with {ROOTFS_OPTION}, whose ramfs has none",
            attributes.restored, attributes.capabilities
        )?;
    }
    if attributes.left_out > 0 {
        writeln!(out, "left out: {} extended attributes that a tmpfs does not support", attributes.left_out)?;
    }
    if summary.files + summary.directories + summary.others == 0 {
        writeln!(out, "the archive has no entries: the root is empty")?;
    }
    if summary.outputs_left_out > 0 {
        writeln!(out, "left out: {} files that this run writes", summary.outputs_left_out)?;
    }
    if let Some(offset) = summary.after_end {
        writeln!(out, "ignored: data after the end of the archive, from byte {offset} on")?;
    }
    if summary.times_clamped > 0 {
        writeln!(
            out,
            "clamped: {} times outside of 1970 to 2106, which a cpio archive cannot store",
            summary.times_clamped
        )?;
    }
    Ok(())
}
