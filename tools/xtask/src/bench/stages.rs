//! The compared stages, and their sources in a boot.
//!
//! Every init is measured alike: the kernel's log has the start of `/init` and the mount of the root, the workload reports its
//! own start and the router's answer. Only the lease has to be reported by the DHCP client: by whit's `whit.timing`, a recipe's
//! `bench: lease` in the kernel's log, or the kernel's `IP-Config: Complete`.

use super::probe::Report;

/// A stage of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// From the kernel's start to the start of the init. Without an initramfs, to the end of the kernel's own DHCP: the kernel does
    /// the rest in place of an init.
    Kernel,
    /// From the init's start to the mounted root.
    Root,
    /// From the init's start to the lease.
    Lease,
    /// From the carrier to the lease, if the init reports it.
    Carrier,
    /// From the init's start to the first instruction of the workload.
    Entrypoint,
    /// From the init's start to the router's answer to the workload's first packet.
    Answer,
}

/// All stages, in the order of the tables.
pub const STAGES: [Stage; 6] =
    [Stage::Kernel, Stage::Root, Stage::Lease, Stage::Carrier, Stage::Entrypoint, Stage::Answer];

impl Stage {
    /// Returns its title in tables for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kernel => "kernel -> init",
            Self::Root => "init -> root",
            Self::Lease => "init -> lease",
            Self::Carrier => "carrier -> lease",
            Self::Entrypoint => "init -> entrypoint",
            Self::Answer => "init -> answer",
        }
    }

    /// Returns its name in files for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Root => "root",
            Self::Lease => "lease",
            Self::Carrier => "carrier",
            Self::Entrypoint => "entrypoint",
            Self::Answer => "answer",
        }
    }
}

/// The durations of the stages of one boot, in nanoseconds; stages that did not happen are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times([Option<u64>; STAGES.len()]);

impl Times {
    /// Computes the stages of a report.
    ///
    /// # Errors
    /// A sentence when the log does not show the start of the init.
    pub fn of(report: &Report) -> Result<Self, String> {
        let run = report.logged("Run ").ok_or("the kernel's log does not show the start of the init")?;
        let own_dhcp = report.logged("IP-Config: Complete");
        let mounted = report.logged("EXT4-fs (").or_else(|| report.stage("root"));
        // Only a kernel without an init mounts the root before it runs a program.
        let init = if mounted.is_some_and(|mounted| mounted < run) { own_dhcp.or(mounted) } else { Some(run) };
        let init = init.unwrap_or(run);
        let lease = report.logged("bench: lease").or_else(|| report.stage("lease"));
        let since = |from: Option<u64>, to: Option<u64>| to?.checked_sub(from?);
        let mut times = Self::default();
        for stage in STAGES {
            times.0[stage as usize] = match stage {
                Stage::Kernel => Some(init),
                Stage::Root => since(Some(init), mounted),
                Stage::Lease => since(Some(init), lease),
                Stage::Carrier => since(report.stage("link"), report.stage("lease")),
                Stage::Entrypoint => since(Some(init), Some(report.ran_ns)),
                Stage::Answer => since(Some(init), report.answered_ns),
            };
        }
        Ok(times)
    }

    /// Returns the duration of a stage.
    #[must_use]
    pub fn get(&self, stage: Stage) -> Option<u64> {
        self.0[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(log: &[(u64, &str)], timeline: &[(&str, u64)]) -> Report {
        Report {
            ran_ns: 200,
            answered_ns: Some(210),
            log: log.iter().map(|(time, text)| (*time, (*text).to_owned())).collect(),
            timeline: timeline.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect(),
            ..Report::default()
        }
    }

    fn all(report: &Report) -> [Option<u64>; 6] {
        Times::of(report).unwrap().0
    }

    #[test]
    fn whit_reports_its_carrier_and_lease() {
        let report = report(
            &[(100, "Run /init as init process"), (130, "EXT4-fs (pmem0): mounted filesystem")],
            &[("init", 101), ("link", 120), ("root", 131), ("lease", 140)],
        );
        assert_eq!(all(&report), [Some(100), Some(30), Some(40), Some(20), Some(100), Some(110)]);
    }

    #[test]
    fn a_recipe_reports_its_lease_in_the_log() {
        let log =
            [(100, "Run /init as init process"), (150, "bench: lease"), (180, "EXT4-fs (vda): mounted filesystem")];
        assert_eq!(all(&report(&log, &[])), [Some(100), Some(80), Some(50), None, Some(100), Some(110)]);
    }

    #[test]
    fn the_kernel_alone_starts_after_its_own_dhcp() {
        let log =
            [(50, "IP-Config: Complete:"), (90, "EXT4-fs (vda): mounted"), (110, "Run /sbin/probe as init process")];
        assert_eq!(all(&report(&log, &[])), [Some(50), Some(40), None, None, Some(150), Some(160)]);
        let log = [(90, "EXT4-fs (vda): mounted"), (110, "Run /sbin/probe as init process")];
        assert_eq!(all(&report(&log, &[])), [Some(90), Some(0), None, None, Some(110), Some(120)]);
    }

    #[test]
    fn a_root_in_the_initramfs_is_reported_by_whit() {
        let report = report(&[(100, "Run /init as init process")], &[("root", 120)]);
        assert_eq!(Times::of(&report).unwrap().get(Stage::Root), Some(20));
        assert!(Times::of(&Report::default()).is_err());
    }
}
