//! Boots every machine of the matrix, round after round, and collects the reports.
//!
//! With the exact clock each worker stays on one processor, and its QEMU with it: any thread of QEMU that a guest wakes runs before
//! the guest goes on, which makes every run the same. It also allows as many machines at a time as there are processors.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::machine::{Clock, RootKind};
use super::matrix::Cell;
use super::probe::{END, Report};
use super::stages::{Stage, Times};
use super::stats::Sample;
use whit_tools::cli::temporary::Temporary;
use whit_tools::vm::qemu::Machine;

/// Limit for a boot: an emulated machine on a busy host boots within seconds, and with a distribution's initramfs within minutes.
const DEADLINE: Duration = Duration::from_secs(600);

/// One boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its stages.
    pub times: Times,
    /// The machine's report.
    pub report: Report,
    /// From QEMU's start to the end of the report, by the host's clock.
    pub wall: Duration,
}

/// All boots of one machine.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The machine.
    pub cell: Cell,
    /// Its boots.
    pub boots: Vec<Boot>,
    /// The reason for fewer boots than requested.
    pub failure: Option<String>,
}

impl Measured {
    /// Returns a stage over all boots, if it happened in each.
    #[must_use]
    pub fn sample(&self, stage: Stage) -> Option<Sample> {
        let values: Option<Vec<u64>> = self.boots.iter().map(|boot| boot.times.get(stage)).collect();
        Sample::new(values?)
    }

    /// Returns the largest VmHWM of PID 1, in KiB; `None` when the workload became PID 1.
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        self.boots.iter().filter(|boot| boot.report.pid != 1).filter_map(|boot| boot.report.peak_kib).max()
    }

    /// Returns whether the workload had an address and a default route in every boot.
    #[must_use]
    pub fn has_network(&self) -> bool {
        let has = |boot: &Boot| boot.report.address.is_some() && boot.report.router.is_some();
        !self.boots.is_empty() && self.boots.iter().all(has)
    }
}

/// Boots each cell as often as it requires, in rounds, `jobs` machines at a time; `progress` gets a line for each boot. A machine
/// that fails once is not booted again.
pub fn measure(cells: Vec<Cell>, jobs: usize, progress: impl Fn(&str) + Sync) -> Vec<Measured> {
    let order = rounds(&cells);
    let total = order.len();
    let results: Vec<Mutex<Measured>> =
        cells.into_iter().map(|cell| Mutex::new(Measured { cell, boots: Vec::new(), failure: None })).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(result) = order.get(number).and_then(|index| results.get(*index)) else { return };
            let cell = {
                let result = lock(result);
                if result.failure.is_some() {
                    continue;
                }
                result.cell.clone()
            };
            let outcome = boot(&cell);
            let text = match &outcome {
                Ok(boot) => {
                    let entrypoint = boot.times.get(Stage::Entrypoint).unwrap_or_default();
                    format!("entrypoint after {:.3} ms", entrypoint as f64 / 1e6)
                }
                Err(error) => error.lines().next().unwrap_or_default().to_owned(),
            };
            progress(&format!("{:>4}/{total}  {}: {text}", number + 1, cell.name()));
            let mut result = lock(result);
            match outcome {
                Ok(boot) => result.boots.push(boot),
                Err(error) => result.failure = Some(error),
            }
        }
    };
    let is_exact = results.iter().any(|result| lock(result).cell.clock == Clock::Exact);
    std::thread::scope(|scope| {
        for job in 0..jobs.max(1) {
            let work = &work;
            scope.spawn(move || {
                if is_exact {
                    stay_on_one_processor(job);
                }
                work();
            });
        }
    });
    results.into_iter().map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

fn lock(result: &Mutex<Measured>) -> MutexGuard<'_, Measured> {
    result.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Restricts the calling thread, and the programs that it starts, to one of its processors. If that fails, boots differ more, and
/// the report shows it.
pub fn stay_on_one_processor(job: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
    let Some(processor) = processors.get(job % processors.len().max(1)) else { return };
    let mut one = CpuSet::new();
    one.set(*processor);
    let _ = sched_setaffinity(None, &one);
}

/// Returns the order of boots: a round of all cells that need one more boot, then the next round.
fn rounds(cells: &[Cell]) -> Vec<usize> {
    let most = cells.iter().map(|cell| cell.runs).max().unwrap_or(0);
    let round = |round| cells.iter().enumerate().filter(move |(_, cell)| cell.runs > round).map(|(index, _)| index);
    (0..most).flat_map(round).collect()
}

fn boot(cell: &Cell) -> Result<Boot, String> {
    // Removed at the end of the boot.
    let copy =
        (cell.root == RootKind::VirtioBlk && cell.clock == Clock::Exact).then(|| copy(&cell.image)).transpose()?;
    let command = cell.command(copy.as_ref().map_or(cell.image.as_path(), Temporary::path));
    let start = Instant::now();
    let mut machine = Machine::start(&command).map_err(|error| error.to_string())?;
    machine.wait_for(END, DEADLINE).map_err(|error| error.to_string())?;
    let wall = start.elapsed();
    machine.wait(DEADLINE).map_err(|error| error.to_string())?;
    let parsed = Report::parse(&machine.transcript()).and_then(|report| Ok((Times::of(&report)?, report)));
    let (times, report) = parsed.map_err(|what| machine.failed(what).to_string())?;
    Ok(Boot { times, report, wall })
}

/// Copies a file, into the same folder.
fn copy(file: &Path) -> Result<Temporary, String> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let copy = Temporary::file(folder, ".root-", 0o600).map(|(_, copy)| copy);
    let copied = copy.and_then(|copy| std::fs::copy(file, copy.path()).map(|_| copy));
    copied.map_err(|error| format!("a copy of {}: {error}", file.display()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::machine::Card;
    use whit_tools::machine::Machine;

    /// Returns made-up boots of an init, with these times from its start to the entrypoint.
    pub(in crate::bench) fn measured(contender: &str, entrypoint_ns: &[u64]) -> Measured {
        let boot = |ns: &u64| {
            let init = 100_000_000;
            let log = vec![
                (init, "Run /init as init process".to_owned()),
                (init + 1_000_000, "EXT4-fs (pmem0): mounted filesystem".to_owned()),
            ];
            let report =
                Report { ran_ns: init + ns, pid: 46, peak_kib: Some(112), threads: Some(1), log, ..Report::default() };
            Boot { times: Times::of(&report).unwrap(), report, wall: Duration::from_millis(1500) }
        };
        let cell = Cell {
            contender: contender.to_owned(),
            machine: Machine::X86_64,
            kernel: "micro".to_owned(),
            card: Card::VirtioNet,
            root: RootKind::Memory,
            clock: Clock::Exact,
            vmlinuz: "k".into(),
            initramfs: Some("i".into()),
            initramfs_bytes: Some(20 << 10),
            image: "r".into(),
            words: String::new(),
            runs: entrypoint_ns.len(),
        };
        Measured { cell, boots: entrypoint_ns.iter().map(boot).collect(), failure: None }
    }

    #[test]
    fn rounds_mix_the_machines() {
        let cells = [measured("a", &[1, 1, 1]).cell, measured("b", &[1]).cell, measured("c", &[1, 1]).cell];
        assert_eq!(rounds(&cells), [0, 1, 2, 0, 2, 0]);
        assert_eq!(rounds(&[]), [0_usize; 0]);
    }

    #[test]
    fn a_stage_that_some_boots_lack_is_none() {
        let mut one = measured("whit", &[5, 7]);
        assert_eq!(one.sample(Stage::Entrypoint).unwrap().median(), 5);
        assert_eq!(one.sample(Stage::Answer), None);
        assert_eq!((one.peak_kib(), one.has_network()), (Some(112), false));
        one.boots[0].report.pid = 1;
        one.boots[1].report.pid = 1;
        assert_eq!(one.peak_kib(), None, "PID 1 is the workload");
    }
}
