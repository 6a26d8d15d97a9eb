//! Packs the files of Debian's initramfs: by mkcpio, by GNU cpio with a compressor, and by 3cpio, which starts a compressor.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use whit_tools::archive::segment::{self, Reader};
use whit_tools::cli::size::show;
use whit_tools::programs::{self, Program};
use xtask::crates::{self, THREECPIO};
use xtask::workspace;

use crate::measure::{Run, median};
use crate::tools::Tool;
use crate::{prepare, report, take_turns, text};

const PROGRAMS: [Program; 6] = [
    Program { name: "mmdebstrap", package: "mmdebstrap" },
    Program { name: "cpio", package: "cpio" },
    Program { name: "gzip", package: "gzip" },
    Program { name: "zstd", package: "zstd" },
    Program { name: "xz", package: "xz-utils" },
    Program { name: "lz4", package: "lz4" },
];
/// The option of mkcpio and the compressor's command, at the same level, each with as many threads as it can use.
const COMPRESSIONS: [(&str, &str); 8] = [
    ("none", "cat"),
    ("gzip:6", "gzip -6"),
    ("gzip:9", "gzip -9"),
    ("zstd:3", "zstd -q -3 -T0"),
    ("zstd:9", "zstd -q -9 -T0"),
    ("zstd:19", "zstd -q -19 -T0"),
    ("lz4:9", "lz4 -q -l -9"),
    ("xz:6", "xz -6 -T0 --check=crc32"),
];

/// Measures all compressions, and returns the tables.
pub(crate) fn compare(runs: u16, only: Option<&str>) -> Result<String, String> {
    programs::install(&PROGRAMS, |line| eprintln!("{line}"))?;
    let folder = workspace::target().join("bench-mkcpio");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mkcpio = build_mkcpio()?;
    let init = xtask::init::Init::Whole.build()?;
    let threecpio = crates::build(&THREECPIO, |line| eprintln!("{line}"))?;
    let tree = tree(&folder)?;
    let mut text = report::header(runs);
    for (kind, compressor) in COMPRESSIONS.iter().filter(|(kind, _)| only.is_none_or(|only| kind.contains(only))) {
        let tools = tools(&folder, &tree, [&mkcpio, &init, &threecpio], kind, compressor)?;
        eprintln!("{kind}: {} tools, {runs} runs each", tools.len());
        let results = take_turns(&tools, runs)?;
        let sizes = sizes(&tools)?;
        text.push_str(&table(kind, compressor, &tools, &results, &sizes));
    }
    Ok(text)
}

fn build_mkcpio() -> Result<PathBuf, String> {
    let arguments = ["build", "--quiet", "--release", "--package", "whit-tools", "--bin", "mkcpio"];
    let status = workspace::cargo().args(arguments).status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() {
        Ok(workspace::target().join("release/mkcpio"))
    } else {
        Err("mkcpio does not build".to_owned())
    }
}

/// Returns a folder with the files of the initramfs that Debian makes for its cloud kernel in a fresh system.
fn tree(folder: &Path) -> Result<PathBuf, String> {
    let tree = folder.join("tree");
    if tree.exists() {
        return Ok(tree);
    }
    let initrd = folder.join("initrd.img");
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", initrd.display());
    if !initrd.exists() {
        eprintln!("making Debian's initramfs");
        let tar = folder.join("system.tar");
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--variant=minbase", "--include=linux-image-cloud-amd64,initramfs-tools,busybox,zstd"]);
        run(make.args(["--format=tar", "bookworm"]).arg(&tar))?;
        // It gets its name when it is complete.
        let unfinished = initrd.with_extension("new");
        let mut take = Command::new("tar");
        take.args(["--wildcards", "-xOf"]).arg(&tar).arg("./boot/initrd.img-*");
        run(take.stdout(Stdio::from(File::create(&unfinished).map_err(|error| failed(&error))?)))?;
        std::fs::rename(&unfinished, &initrd).map_err(|error| failed(&error))?;
        std::fs::remove_file(&tar).map_err(|error| format!("{}: {error}", tar.display()))?;
    }
    segment::extract(Reader::new(File::open(&initrd).map_err(|error| failed(&error))?), &tree)
        .map_err(|error| failed(&error))?;
    Ok(tree)
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed: see its message above")) }
}

fn tools(
    folder: &Path,
    tree: &Path,
    [mkcpio, init, threecpio]: [&Path; 3],
    kind: &str,
    compressor: &str,
) -> Result<Vec<Tool>, String> {
    let out = folder.join("out");
    let (output, tree) = (text(&out)?, text(tree)?);
    let tool = |name, words: Vec<String>| Tool {
        name,
        words,
        removed: vec![out.clone()],
        most_runs: usize::MAX,
        is_ours: true,
    };
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let ours = ["-o", &output, "--init", &text(init)?, "--compress", kind, "--add", &format!("{tree}:/")];
    let cpio = format!(
        "cd \"$0\"; find . -mindepth 1 | sort | cpio -o -H newc --quiet --reproducible -C 1048576 | {compressor} > \"$1\""
    );
    // Only the level: 3cpio sets the options for threads and for the kernel's formats itself, and warns that it ignores others.
    let header = kind.split_once(':').map(|(program, level)| format!("echo \"#cpio: {program} -{level}\"; "));
    let header = header.unwrap_or_default();
    let manifest = format!("cd \"$0\"; {{ {header}find . -mindepth 1 | sort; }} | \"$2\" -c \"$1\"");
    Ok(vec![
        tool("mkcpio", owned(&[&[text(mkcpio)?.as_str()], &ours[..]].concat())),
        tool("GNU cpio", owned(&["sh", "-ec", &cpio, &tree, &output])),
        tool("3cpio", owned(&["sh", "-ec", &manifest, &tree, &output, &text(threecpio)?])),
    ])
}

/// Returns the size of each tool's file.
fn sizes(tools: &[Tool]) -> Result<Vec<Option<u64>>, String> {
    let mut sizes = Vec::new();
    for tool in tools {
        prepare(&tool.removed)?;
        let (program, words) = tool.words.split_first().ok_or("no command")?;
        let status = Command::new(program).args(words).stdout(Stdio::null()).status();
        let is_made = status.is_ok_and(|status| status.success());
        let length = tool.removed.first().and_then(|path| path.metadata().ok()).map(|metadata| metadata.len());
        sizes.push(length.filter(|_| is_made));
        prepare(&tool.removed)?;
    }
    Ok(sizes)
}

fn table(
    kind: &str,
    compressor: &str,
    tools: &[Tool],
    results: &[Result<Vec<Run>, String>],
    sizes: &[Option<u64>],
) -> String {
    let mut text = format!("\n{kind} ({compressor})\n");
    let wall = |runs: &[Run]| median(runs.iter().map(|run| run.wall_ms));
    let ours = results.first().and_then(|first| first.as_ref().ok()).map_or(f64::NAN, |runs| wall(runs));
    let columns = ["median ms", "least ms", "x mkcpio", "processor ms", "peak MiB", "size"];
    let [median_ms, least_ms, ratio, processor, peak, size] = columns;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<12}{median_ms:>10}{least_ms:>10}{ratio:>10}{processor:>14}{peak:>10}{size:>12}", "");
    for ((tool, result), size) in tools.iter().zip(results).zip(sizes) {
        let line = match result {
            Err(error) => format!("{:<12}{error}\n", tool.name),
            Ok(runs) => format!(
                "{:<12}{:>10.1}{:>10.1}{:>10.2}{:>14.1}{:>10.1}{:>12}\n",
                tool.name,
                wall(runs),
                runs.iter().map(|run| run.wall_ms).fold(f64::INFINITY, f64::min),
                wall(runs) / ours,
                median(runs.iter().map(|run| run.processor_ms)),
                median(runs.iter().map(|run| run.peak_kib)) / 1024.0,
                size.map_or_else(|| "-".to_owned(), show),
            ),
        };
        text.push_str(&line);
    }
    text
}
