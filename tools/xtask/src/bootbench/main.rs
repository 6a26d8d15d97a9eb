//! `bootbench`: boots inits side by side and reports the time of each stage.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use whit_tools::cli::documents;
use whit_tools::cli::output;
use whit_tools::machine::Machine;
use whit_tools::programs::{self, QEMU};
use whit_tools::vm::qemu::Board;
use xtask::bench::{
    BenchKernel, Card, Clock, Contender, Host, KernelName, Making, Measured, Plan, Recipe, RootKind, Workshop, csv,
    header, json, matrix, measure, runvm, svg, table,
};
use xtask::workspace;

/// The folder of committed results, in the source tree.
const BENCH: &str = "bench";
/// The folder of the recipes of other inits.
const RECIPES: &str = "tools/xtask/recipes";
/// Boots of a machine with reproducible boots: enough to show that they do not differ.
const EXACT_RUNS: usize = 2;
/// Boots of a machine whose boots differ.
const DISK_RUNS: usize = 5;

/// Boot whit and other inits side by side in QEMU, and report the time of each stage.
///
/// Times are guest times, exact to the instruction and the same on any host; --wall measures the host's time instead.
#[derive(Parser)]
#[command(
    name = "bootbench",
    version,
    after_help = "Examples:\n  bootbench --runs 3\n  bootbench --peer mine=initramfs.cpio.gz,root=/dev/pmem0 --nic virtio-net\n  \
                  bootbench --arch x86_64,aarch64 --only whit\n  \
                  cargo bench-all        # everything, into bench/"
)]
struct Arguments {
    /// Boots of each machine.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Another init: a finished initramfs, and options for the kernel command line ({root} is the root device).
    #[arg(long, value_name = "NAME=INITRAMFS[,OPTIONS]")]
    peer: Vec<String>,
    /// Another init by its recipe [default: all of tools/xtask/recipes].
    #[arg(long, value_name = "FILE")]
    recipe: Vec<PathBuf>,
    /// Only inits of these names; whit is one.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Network cards.
    #[arg(long, value_delimiter = ',', default_value = "virtio-net")]
    nic: Vec<Card>,
    /// Architectures of the machines, x86_64 and aarch64; of both, their times are compared.
    #[arg(long, value_delimiter = ',', default_value = "x86_64", value_parser = architecture)]
    arch: Vec<Machine>,
    /// Kernels: micro (small, all built in), debian-6.12, debian-6.1, or a file [default: micro; with aarch64 debian-6.12].
    #[arg(long, value_name = "KERNEL", value_delimiter = ',')]
    kernel: Vec<KernelName>,
    /// Kinds of roots [default: memory; with aarch64 virtio-blk].
    #[arg(long, value_delimiter = ',')]
    root: Vec<RootKind>,
    /// Measure the host's time, one machine after the other, with KVM if it can be used.
    #[arg(long)]
    wall: bool,
    /// Machines at a time [default: the number of processors; 1 with --wall].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Boot the matrix of the committed results instead, and write bench/boot.txt, .csv, .json and .svg.
    #[arg(long, conflicts_with_all = ["runs", "nic", "arch", "kernel", "root", "wall", "text", "csv", "json", "svg"])]
    all: bool,
    /// Measure `runvm IMAGE echo hello` as a whole, beside a floor, podman with whit-runtime, and virtme-ng, and write bench/runvm.txt;
    /// with --only NAME, of floor, runvm, podman and virtme-ng, print the table alone.
    #[arg(long, conflicts_with_all = ["all", "nic", "arch", "kernel", "root", "wall", "text", "csv", "json", "svg", "peer", "recipe"])]
    runvm: bool,
    /// Write the table to this file too.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Write stages and figures to this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write all results, with each single boot, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a picture into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Returns the architecture of a name.
fn architecture(name: &str) -> Result<Machine, String> {
    let found = Machine::named(name).filter(|machine| Board::of(*machine).is_some());
    found.ok_or_else(|| format!("{name:?} is not x86_64 or aarch64"))
}

fn main() -> ExitCode {
    output::report("bootbench", run(&documents::parse::<Arguments>()))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    if arguments.runvm {
        return run_runvm(usize::from(arguments.runs), &arguments.only);
    }
    let contenders = contenders(arguments)?;
    let clock = if arguments.wall { Clock::Wall } else { Clock::Exact };
    let (mut cells, mut skipped, mut plans) = (Vec::new(), Vec::new(), Vec::new());
    for machine in &arguments.arch {
        programs::install(&[machine.qemu()], progress)?;
        let mut workshop = Workshop::open(*machine, progress)?;
        let own = plans_of(arguments, &workshop)?;
        for plan in &own {
            let part: Vec<Contender> =
                contenders.iter().filter(|one| takes_part(one, plan, arguments.all)).cloned().collect();
            let (some, others) = matrix(&mut workshop, &part, plan, clock)?;
            cells.extend(some);
            skipped.extend(others);
        }
        plans.extend(own);
    }
    if cells.is_empty() {
        let why = skipped.first().map_or("", |one| &one.why);
        return Err(format!("no machine to boot: {why}"));
    }
    let host = Host::look();
    let jobs = arguments.jobs.unwrap_or(if arguments.wall { 1 } else { host.processors });
    let measured = measure(cells, jobs, progress);

    let command = typed();
    let mut kernels: Vec<BenchKernel> = Vec::new();
    for kernel in plans.iter().flat_map(|plan| &plan.kernels) {
        if !kernels.iter().any(|known| (&known.name, known.machine) == (&kernel.name, kernel.machine)) {
            kernels.push(kernel.clone());
        }
    }
    let head = header(&host, &kernels, clock, &command);
    let text = table(&head, &measured, &skipped);
    writeln!(std::io::stdout(), "{text}").map_err(|error| format!("standard output: {error}"))?;
    let committed = |ending| arguments.all.then(|| workspace::root().join(BENCH).join("boot").with_extension(ending));
    // The picture shows only the machines of the first plan; all of them would be taller than a page.
    let is_shown = |one: &&Measured| {
        let first = plans.first();
        first.is_some_and(|plan| plan.roots.contains(&one.cell.root) && plan.kernels[0].name == one.cell.kernel)
    };
    let shown: Vec<Measured> = measured.iter().filter(|one| !arguments.all || is_shown(one)).cloned().collect();
    for (path, ending, content) in [
        (&arguments.text, "txt", text),
        (&arguments.csv, "csv", csv(&head, &measured)),
        (&arguments.json, "json", json(&command, &host, &measured, &skipped)),
        (&arguments.svg, "svg", svg(&head, &shown)),
    ] {
        if let Some(path) = path.clone().or_else(|| committed(ending)) {
            write(&path, &content)?;
        }
    }
    match measured.iter().find_map(|one| one.failure.as_ref().map(|why| (one.cell.name(), why))) {
        Some((name, why)) => Err(format!("{name}: {why}")),
        None => Ok(()),
    }
}

/// Measures runvm as a whole.
fn run_runvm(runs: usize, only: &[String]) -> Result<(), String> {
    programs::install(&[QEMU], progress)?;
    let host = Host::look();
    let measured = runvm(runs, only, progress)?;
    let mut lines = header(&host, &[], Clock::Wall, &typed());
    lines.retain(|line| !line.starts_with("kernels"));
    lines.extend(measured);
    let text = lines.join("\n") + "\n";
    write!(std::io::stdout(), "{text}").map_err(|error| format!("standard output: {error}"))?;
    if only.is_empty() { write(&workspace::root().join(BENCH).join("runvm.txt"), &text) } else { Ok(()) }
}

/// Returns whether an init is in a plan. A distribution's initramfs takes minutes for an exact boot: of the committed plans, it is
/// only in the one with its kernel.
fn takes_part(contender: &Contender, plan: &Plan, is_committed: bool) -> bool {
    let is_debians = plan.kernels.iter().any(|kernel| kernel.modules.is_some());
    let is_distributions =
        matches!(contender, Contender::Recipe(recipe) if matches!(recipe.making, Making::Script(..)));
    !is_committed || is_debians || !is_distributions
}

/// Returns the requested matrix, or those of the committed results.
fn plans_of(arguments: &Arguments, workshop: &Workshop) -> Result<Vec<Plan>, String> {
    let plan = |kernels: &[KernelName], cards: &[Card], roots: &[RootKind], runs| {
        let kernels = kernels.iter().map(|name| workshop.kernel(name)).collect::<Result<Vec<_>, String>>()?;
        Ok::<_, String>(Plan { kernels, cards: cards.to_vec(), roots: roots.to_vec(), runs })
    };
    if !arguments.all {
        let runs = usize::from(arguments.runs);
        // The small kernel, and a disk in memory, are x86-64's.
        let is_x86_64 = arguments.arch == [Machine::X86_64];
        let kernel = if is_x86_64 { KernelName::Micro } else { KernelName::Debian("6.12".to_owned()) };
        let root = if is_x86_64 { RootKind::Memory } else { RootKind::VirtioBlk };
        let kernels = if arguments.kernel.is_empty() { &[kernel] } else { arguments.kernel.as_slice() };
        let roots = if arguments.root.is_empty() { &[root] } else { arguments.root.as_slice() };
        return Ok(vec![plan(kernels, &arguments.nic, roots, runs)?]);
    }
    let (cards, card) = ([Card::VirtioNet, Card::Vmxnet3, Card::E1000], [Card::VirtioNet]);
    Ok(vec![
        plan(&[KernelName::Micro], &cards, &[RootKind::Memory], EXACT_RUNS)?,
        // The host decides when this root answers: more boots show how far they differ.
        plan(&[KernelName::Micro], &card, &[RootKind::VirtioBlk], DISK_RUNS)?,
        plan(&[KernelName::Micro], &card, &[RootKind::Initramfs], EXACT_RUNS)?,
        plan(&[KernelName::Debian("6.1".to_owned())], &card, &[RootKind::Memory], EXACT_RUNS)?,
    ])
}

/// Returns whit, the inits of recipes, and those of --peer.
fn contenders(arguments: &Arguments) -> Result<Vec<Contender>, String> {
    let mut contenders = vec![Contender::Whit];
    let recipes = if arguments.recipe.is_empty() { all_recipes()? } else { arguments.recipe.clone() };
    for recipe in &recipes {
        contenders.push(Contender::Recipe(Recipe::read(recipe)?));
    }
    for peer in &arguments.peer {
        contenders.push(peer_of(peer)?);
    }
    for name in &arguments.only {
        if !contenders.iter().any(|contender| contender.name() == name) {
            return Err(format!("--only {name}: no init of this name takes part"));
        }
    }
    contenders
        .retain(|contender| arguments.only.is_empty() || arguments.only.iter().any(|name| name == contender.name()));
    Ok(contenders)
}

fn peer_of(text: &str) -> Result<Contender, String> {
    let (name, rest) = text.split_once('=').ok_or_else(|| format!("--peer {text}: not NAME=INITRAMFS[,OPTIONS]"))?;
    let (file, words) = rest.split_once(',').unwrap_or((rest, "root={root} init={workload}"));
    if !Path::new(file).is_file() {
        return Err(format!("--peer {name}: {file}: no such file"));
    }
    Ok(Contender::File(name.to_owned(), file.into(), words.to_owned()))
}

/// Returns the recipes of the source tree, by name.
fn all_recipes() -> Result<Vec<PathBuf>, String> {
    let folder = workspace::root().join(RECIPES);
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut recipes: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "recipe")).collect();
    recipes.sort();
    Ok(recipes)
}

/// Returns the command line, to repeat the measurement.
fn typed() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("bootbench {}", arguments.join(" ")).trim_end().to_owned()
}

fn write(path: &Path, content: &str) -> Result<(), String> {
    output::write(path, content.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Prints progress to standard error: standard output has only the report.
fn progress(line: &str) {
    eprintln!("{line}");
}
