//! Every fuzz target on its corpus, then on random changes of it for a bounded time.
//!
//! `WHIT_SEED=NUMBER` sets the seed and `WHIT_FUZZ_MS=NUMBER` the time; a failure prints its seed and keeps its input.

use std::panic;
use std::path::Path;
use std::time::{Duration, Instant};

use whit_tests::fuzz::{Mutator, TARGETS, Target};
use xtask::workspace;

/// Time for the random inputs of each target.
const TIME_MS: u64 = 500;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a target; when it panics, keeps the input and prints how to repeat it.
fn run(target: &Target, input: &[u8], seed: u64) {
    if let Err(cause) = panic::catch_unwind(|| (target.run)(input)) {
        let path = workspace::target().join(format!("fuzz-{}", target.name));
        std::fs::write(&path, input).unwrap();
        eprintln!("fuzz target {}: WHIT_SEED={seed}; the input is kept as {}", target.name, path.display());
        panic::resume_unwind(cause);
    }
}

#[test]
fn no_input_breaks_a_parser() {
    let (seed, time) = (number("WHIT_SEED", 0x5eed), Duration::from_millis(number("WHIT_FUZZ_MS", TIME_MS)));
    for target in TARGETS {
        let inputs = target.inputs();
        assert!(!inputs.is_empty(), "{}: no initial input", target.name);
        inputs.iter().for_each(|input| run(target, input, seed));
        run(target, b"", seed);
        let (mut mutator, start, mut count) = (Mutator::new(seed), Instant::now(), 0);
        while start.elapsed() < time || count < 10 {
            run(target, &mutator.mutated(&inputs), seed);
            count += 1;
        }
        println!("{:<22}{count:>8} inputs", target.name);
    }
}

#[test]
fn each_target_is_a_program_of_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        let program = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzz::run(\"{name}\", input)")), "{name}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder.join("fuzz_targets")).unwrap().count(), TARGETS.len());
}
