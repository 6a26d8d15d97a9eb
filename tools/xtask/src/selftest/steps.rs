//! The steps: each is a command that a person can type, with the tiers that have it.

/// The extent of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Checks without root, QEMU and Debian's archive.
    Quick,
    /// All checks before a merge.
    Default,
    /// All tests on aarch64's boards too.
    Arm,
    /// The tests of every module `long` too, and each cloud kernel in every test that boots one of them by default.
    Long,
}

/// A command of cargo with its title.
pub(crate) struct Step {
    pub(crate) title: &'static str,
    arguments: &'static [&'static str],
    tiers: &'static [Tier],
    /// Whether it runs at the same time as the step before it.
    pub(crate) is_beside: bool,
    /// Whether machines run in it.
    pub(crate) has_machines: bool,
}

impl Step {
    const fn new(title: &'static str, arguments: &'static [&'static str]) -> Self {
        let tiers = &[Tier::Quick, Tier::Default, Tier::Arm, Tier::Long];
        Self { title, arguments, tiers, is_beside: false, has_machines: false }
    }

    /// Marks a step that needs root, QEMU or Debian's archive. The default tier leaves out tests in modules `long`.
    const fn of_default(self) -> Self {
        Self { tiers: &[Tier::Default, Tier::Arm, Tier::Long], ..self }
    }

    const fn beside(self) -> Self {
        Self { is_beside: true, ..self }
    }

    const fn with_machines(self) -> Self {
        Self { has_machines: true, ..self }
    }

    /// Returns the arguments of cargo.
    pub(crate) fn arguments(&self, tier: Tier) -> Vec<&'static str> {
        let without: &[&str] = match tier {
            _ if !self.arguments.contains(&"--ignored") => &[],
            Tier::Long => &[],
            // The tests of all boards of aarch64 are in the program for machines.
            Tier::Arm => &["--skip", "::long::"],
            _ if self.has_machines => &["--skip", "::long::", "--skip", "::arm::"],
            _ => &["--skip", "::long::"],
        };
        [self.arguments, without].concat()
    }

    /// Returns a variable of the environment, and its value.
    pub(crate) fn environment(&self, tier: Tier) -> Option<(&'static str, &'static str)> {
        (self.has_machines && tier == Tier::Long).then_some(("WHIT_KERNELS", "all"))
    }

    /// Returns the command as a person types it.
    pub(crate) fn typed(&self, tier: Tier) -> String {
        let environment = self.environment(tier).map(|(name, value)| format!("{name}={value} ")).unwrap_or_default();
        format!("{environment}cargo {}", self.arguments(tier).join(" "))
    }
}

/// Returns the steps of a tier, in their order.
pub(crate) fn of(tier: Tier) -> Vec<&'static Step> {
    STEPS.iter().filter(|step| step.tiers.contains(&tier)).collect()
}

/// The arguments of clippy for another workspace.
macro_rules! lints_of {
    ($manifest:literal, $package:literal $(, $option:literal)*) => {
        &[
            "clippy",
            "--locked",
            "--target-dir",
            "target",
            "--manifest-path",
            $manifest,
            "-p",
            $package,
            $($option,)*
            "--",
            "-D",
            "warnings",
        ]
    };
}

const STEPS: &[Step] = &[
    Step::new("format", &["fmt", "--check"]),
    // The init and the guest programs have no unwinder, and so no dev profile; the rest is compiled once, for its tests.
    Step::new(
        "lints of the init",
        &["clippy", "--profile", "init", "-p", "whit", "-p", "whit-guest", "--", "-D", "warnings"],
    ),
    Step::new(
        "lints of the rest",
        &[
            "clippy",
            "--workspace",
            "--exclude",
            "whit",
            "--exclude",
            "whit-guest",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    // Workspaces of their own, with crates that nothing else needs.
    Step::new("lints of mkraw's benchmark", lints_of!("tools/xtask/bench-mkraw/Cargo.toml", "bench-mkraw")),
    Step::new("lints of DHCP's benchmark", lints_of!("tools/xtask/bench-dhcp/Cargo.toml", "bench-dhcp")),
    Step::new("lints of its floor", lints_of!("tools/xtask/bench-dhcp/Cargo.toml", "floor", "--profile", "floor")),
    // Links, code blocks and crate pages: the lints of rustdoc in Cargo.toml. The examples run among the tests.
    Step::new("documentation of the libraries", &["doc", "--no-deps", "-p", "whit", "-p", "whit-tools"]),
    Step::new("the inits", &["build-init", "min", "seed", "whole", "fleet"]),
    Step::new("the tests", &["test", "--workspace", "--no-run"]),
    Step::new("tests on the host", &["test", "--workspace", "--no-fail-fast"]),
    Step::new("tests on the host as root", &["test", "--test", "host", "--", "--ignored", "--show-output"])
        .of_default()
        .beside(),
    // Most of these tests wait for a lease or a signal, and need no processor meanwhile.
    Step::new(
        "tests in namespaces",
        &["test", "--test", "namespace", "--", "--ignored", "--show-output", "--test-threads=8"],
    )
    .of_default()
    .beside(),
    // Two at a time: an emulated machine takes a processor, and its deadlines assume that it has one.
    Step::new("tests in QEMU", &["test", "--test", "qemu", "--", "--ignored", "--show-output", "--test-threads=2"])
        .of_default()
        .beside()
        .with_machines(),
    Step::new("the init's size", &["run", "-p", "size-report"]),
    Step::new(
        "the init's size on aarch64",
        &["run", "-p", "size-report", "--", "--target", "aarch64-unknown-linux-gnu"],
    )
    .of_default(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_what_a_person_types() {
        let typed = |tier| of(tier).iter().map(|step| step.typed(tier)).collect::<Vec<_>>();
        assert_eq!(typed(Tier::Quick)[0], "cargo fmt --check");
        assert!(typed(Tier::Quick).iter().all(|command| !command.contains("--ignored")));
        let machines = |tier| typed(tier).into_iter().find(|command| command.contains("--test qemu")).unwrap();
        let command = "cargo test --test qemu -- --ignored --show-output --test-threads=2";
        assert_eq!(machines(Tier::Default), format!("{command} --skip ::long:: --skip ::arm::"));
        assert_eq!(machines(Tier::Arm), format!("{command} --skip ::long::"));
        assert_eq!(machines(Tier::Long), format!("WHIT_KERNELS=all {command}"));
    }

    #[test]
    fn a_tier_has_the_steps_of_the_smaller_ones() {
        let titles = |tier| of(tier).iter().map(|step| step.title).collect::<Vec<_>>();
        let (quick, default) = (titles(Tier::Quick), titles(Tier::Default));
        assert!(quick.iter().all(|title| default.contains(title)));
        assert_eq!(default.len(), quick.len() + 4);
        assert!([Tier::Arm, Tier::Long].iter().all(|tier| titles(*tier) == default));
        assert!(!of(Tier::Quick)[0].is_beside);
    }
}
