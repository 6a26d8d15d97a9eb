//! Line coverage of the init's library and of the tools, per file: `cargo coverage`.
//!
//! This program is also the compiler's wrapper (`RUSTC_WORKSPACE_WRAPPER`): it adds `-C instrument-coverage` for the workspace's own
//! crates and for nothing that the init is made of, which has no runtime for it.
#![forbid(unsafe_code)]

mod lcov;
mod report;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use whit_tools::cli::{documents, output};
use whit_tools::programs::{self, Program};
use xtask::workspace;

/// Measures which lines of the init's library and of the tools the tests reach, and writes bench/coverage.txt
#[derive(Parser)]
#[command(name = "coverage", after_help = "Example: cargo coverage")]
struct Arguments {
    /// The file to write, in place of bench/coverage.txt
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// LLVM's tools of the version that rustc 1.95 has in it: an older one does not read its profiles.
const PROGRAMS: [Program; 2] =
    [Program { name: "llvm-profdata-22", package: "llvm-22" }, Program { name: "llvm-cov-22", package: "llvm-22" }];
/// Tells this program that it is the compiler's wrapper.
const IS_WRAPPER: &str = "WHIT_COVERAGE_WRAPPER";
/// The tests that run, as arguments of cargo.
const RUNS: [&[&str]; 2] =
    [&["test", "-p", "whit", "-p", "whit-tools"], &["test", "-p", "whit-tests", "--test", "host"]];
/// The tools that tests start, beside the test programs themselves.
const TOOLS: [&str; 4] = ["mkcpio", "mkraw", "runvm", "whit-runtime"];

fn main() -> ExitCode {
    if std::env::var_os(IS_WRAPPER).is_some() {
        return compile(std::env::args_os().skip(1).collect());
    }
    output::report("coverage", run(&documents::parse::<Arguments>()))
}

/// Becomes the compiler, whose path comes first.
fn compile(mut arguments: Vec<OsString>) -> ExitCode {
    let compiler = arguments.remove(0);
    // The init's profile, and its crates with it, has no unwinder.
    let is_of_init = arguments.iter().any(|argument| argument == "panic=abort");
    let is_script = arguments.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == "build_script_build");
    if !is_of_init && !is_script {
        arguments.extend(["-C", "instrument-coverage"].map(OsString::from));
    }
    let error = Command::new(&compiler).args(arguments).exec();
    eprintln!("coverage: {}: {error}", compiler.display());
    ExitCode::FAILURE
}

fn run(arguments: &Arguments) -> Result<(), String> {
    programs::install(&PROGRAMS, |line| eprintln!("{line}"))?;
    let target = workspace::target().join("coverage");
    let profiles = target.join("profiles");
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if profiles.exists() {
        std::fs::remove_dir_all(&profiles).map_err(|error| failed(&profiles, error))?;
    }
    std::fs::create_dir_all(&profiles).map_err(|error| failed(&profiles, error))?;
    let mut objects: Vec<PathBuf> = TOOLS.map(|tool| target.join("debug").join(tool)).to_vec();
    for run in RUNS {
        eprintln!("cargo {}", run.join(" "));
        objects.extend(executables(
            &instrumented(&target).args(run).args(["--no-run", "--message-format=json"]).output(),
        )?);
        let status = instrumented(&target).args(run).status().map_err(|error| format!("cargo: {error}"))?;
        if !status.success() {
            return Err(format!("cargo {} fails: see above", run.join(" ")));
        }
    }
    let merged = target.join("merged.profdata");
    let mut merge = Command::new(PROGRAMS[0].name);
    text(merge.args(["merge", "--sparse", "--failure-mode=all", "-o"]).arg(&merged).arg(&profiles))?;
    let mut export = Command::new(PROGRAMS[1].name);
    export.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged);
    for object in objects {
        export.arg("--object").arg(object);
    }
    let lines = lcov::parse(&text(&mut export)?, workspace::root());
    let compiler = text(Command::new("rustc").arg("--version"))?;
    let commands: Vec<String> = RUNS.iter().map(|run| format!("cargo {}", run.join(" "))).collect();
    let report = report::of(&lines, workspace::root(), &commands, compiler.trim())?;
    let path = arguments.output.clone().unwrap_or_else(|| workspace::root().join("bench/coverage.txt"));
    std::fs::write(&path, &report).map_err(|error| failed(&path, error))?;
    output::print(|out| write!(out, "{report}"))
}

/// Cargo with instrumented crates, in a folder of its own.
fn instrumented(target: &Path) -> Command {
    let mut cargo = workspace::cargo();
    let wrapper = std::env::current_exe().unwrap_or_default();
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env(IS_WRAPPER, "1").env("CARGO_TARGET_DIR", target);
    // Each program has a few files that its runs add to: `%m` is its signature.
    cargo.env("LLVM_PROFILE_FILE", target.join("profiles/%4m.profraw"));
    cargo
}

/// The test programs, from cargo's messages.
fn executables(output: &std::io::Result<std::process::Output>) -> Result<Vec<PathBuf>, String> {
    let output = output.as_ref().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the tests do not build: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let paths = messages.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
    Ok(paths.filter(|path| path.parent().is_some_and(|folder| folder.ends_with("deps"))).collect())
}

fn text(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name} fails: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
