//! Compiler flags that make the init smaller.
//!
//! `llvm-args` are no stable interface of rustc: another version may refuse one, or accept it without an effect. A refused flag is
//! left out, with a line on standard error; `cargo run -p size-report -- --flags` measures the bytes that each flag saves.

use std::process::Stdio;
use std::sync::OnceLock;

use super::Toolchain;

/// An argument of rustc's `-C`, and the reason for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// `relocation-model=static`
    pub argument: &'static str,
    /// The change that it makes.
    pub reason: &'static str,
    /// The machine that it is for, as Rust names it; `None` for all.
    machine: Option<&'static str>,
}

impl Flag {
    const fn only_for(self, machine: &'static str) -> Self {
        Self { machine: Some(machine), ..self }
    }
}

const fn flag(argument: &'static str, reason: &'static str) -> Flag {
    Flag { argument, reason, machine: None }
}

/// Returns the flags for a machine, `x86_64` or another name of Rust's.
#[must_use]
pub fn of(machine: &str) -> Vec<&'static Flag> {
    FLAGS.iter().filter(|flag| flag.machine.is_none_or(|only| only == machine)).collect()
}

/// The flags. bench/flags.txt has the bytes that each one saves on x86-64.
///
/// Not among them: `-enable-ipra`, which saves 888 bytes more and has open miscompilations (llvm/llvm-project issues 109739, 196865),
/// and `-attributor-enable=module`, which saves 665 and has one too (issue 181103).
const FLAGS: &[Flag] = &[
    flag(
        "relocation-model=static",
        "addresses are constants of 4 bytes: the program is linked to a fixed address anyway",
    ),
    flag("no-redzone=yes", "no code that keeps 128 bytes below the stack pointer free"),
    flag(
        "llvm-args=-disable-machine-licm",
        "a value that a loop computes repeatedly is not kept in a register that must be saved",
    ),
    flag("llvm-args=-apply-ext-tsp-for-size", "blocks in an order with fewer and shorter jumps"),
    flag(
        "llvm-args=-disable-machine-cse",
        "a value is computed again instead of kept in a register that must be saved",
    )
    .only_for("x86_64"),
    flag(
        "llvm-args=-lsr-insns-cost=false",
        "loops are strength-reduced for fewer registers, not for fewer instructions in the loop",
    ),
    flag(
        "llvm-args=-jump-threading-across-loop-headers",
        "a condition that is known on one path into a loop is not tested there",
    ),
    flag("llvm-args=-pre-RA-sched=list-burr", "instructions in an order with fewer live registers"),
    flag("llvm-args=-inline-threshold=10", "functions are inlined only when that costs almost nothing"),
    flag("llvm-args=-min-jump-table-entries=99", "comparisons instead of jump tables, which are 8 bytes a case"),
    flag("llvm-args=-tail-merge-size=2", "two common instructions at the end of blocks are enough to share them"),
    flag(
        "llvm-args=-enable-split-backedge-in-load-pre",
        "a load that one path into a loop has already done is not repeated",
    ),
    flag("llvm-args=-bonus-inst-threshold=0", "no instruction is copied into a predecessor to save a branch"),
    flag(
        "llvm-args=-x86-br-merging-base-cost=-1",
        "two conditions are two branches: joined, both values would be computed into registers first",
    )
    .only_for("x86_64"),
    flag(
        "llvm-args=-inline-call-penalty=35",
        "the estimate of the inliner: a call with its moves of registers costs more",
    ),
    flag(
        "llvm-args=-inline-instr-cost=6",
        "the estimate of the inliner: an instruction of the inlined function costs more",
    ),
    flag(
        "llvm-args=-split-spill-mode=size",
        "registers are saved to the stack where that takes the fewest instructions",
    ),
    flag("llvm-args=-switch-to-lookup=false", "comparisons instead of tables of values"),
    flag("llvm-args=-join-splitedges", "copies between registers are also removed on the edges between blocks"),
    flag(
        "llvm-args=-enable-shrink-wrap=false",
        "registers are saved once a function, not on each path that needs them",
    ),
    flag("passes=sink", "a value is computed on the path that needs it, and held in a register for a shorter time"),
    flag("llvm-args=-sink-common-insts", "instructions that end both paths of a branch are moved after it")
        .only_for("aarch64"),
    flag("code-model=tiny", "an address takes one instruction, not two: the program has less than a megabyte")
        .only_for("aarch64"),
    flag("llvm-args=-homogeneous-prolog-epilog", "functions save and restore their registers by common helpers")
        .only_for("aarch64"),
];

/// Returns the flags that the compiler accepts.
///
/// # Errors
/// One line: the compiler does not run.
pub fn accepted() -> Result<&'static [&'static Flag], String> {
    static ACCEPTED: OnceLock<Vec<&'static Flag>> = OnceLock::new();
    if let Some(flags) = ACCEPTED.get() {
        return Ok(flags);
    }
    let flags = accepted_by(&Toolchain::host())?;
    Ok(ACCEPTED.get_or_init(|| flags))
}

/// Returns the flags that a toolchain's compiler accepts.
///
/// # Errors
/// One line: the compiler does not run.
pub(super) fn accepted_by(toolchain: &Toolchain) -> Result<Vec<&'static Flag>, String> {
    let all = of(toolchain.machine());
    Ok(if is_accepted(toolchain, &all)? {
        all
    } else {
        let mut kept = Vec::new();
        for flag in all {
            if is_accepted(toolchain, &[flag])? {
                kept.push(flag);
            } else {
                eprintln!("warning: this rustc refuses -C {}: the init is built without it, and larger", flag.argument);
            }
        }
        kept
    })
}

/// Returns whether rustc accepts these flags, by compiling an empty crate.
fn is_accepted(toolchain: &Toolchain, flags: &[&Flag]) -> Result<bool, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
    let mut command = toolchain.rustc();
    command.args(["--crate-type", "lib", "--crate-name", "probe", "--emit", "obj"]);
    command.arg("-o").arg(folder.path().join("probe.o")).arg("-");
    for flag in flags {
        command.args(["-C", flag.argument]);
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(status.map_err(|error| format!("rustc: {error}"))?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_compiler_accepts_every_flag() {
        assert_eq!(accepted().unwrap(), of(std::env::consts::ARCH));
    }

    #[test]
    fn a_flag_that_llvm_does_not_have_is_refused() {
        assert!(!is_accepted(&Toolchain::host(), &[&flag("llvm-args=-no-such-option", "")]).unwrap());
    }
}
