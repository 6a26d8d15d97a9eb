//! The matrix of boots: inits x kernels x cards x roots, and the combinations that are not possible.

use std::path::{Path, PathBuf};

use super::build::{Contender, Workshop};
use super::kernel::BenchKernel;
use super::machine::{Card, Clock, RootKind, machine};
use whit_tools::machine::Machine;
use whit_tools::vm::qemu::CommandLine;

/// A matrix: every init with every kernel, card and root.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kernels.
    pub kernels: Vec<BenchKernel>,
    /// The cards.
    pub cards: Vec<Card>,
    /// The kinds of roots.
    pub roots: Vec<RootKind>,
    /// Boots of each machine.
    pub runs: usize,
}

/// One machine of the matrix.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The init.
    pub contender: String,
    /// The machine's architecture.
    pub machine: Machine,
    /// The kernel.
    pub kernel: String,
    /// The card.
    pub card: Card,
    /// The root.
    pub root: RootKind,
    /// The measured clock.
    pub clock: Clock,
    /// The kernel's file.
    pub vmlinuz: PathBuf,
    /// The initramfs; `None` for the kernel alone.
    pub initramfs: Option<PathBuf>,
    /// Its size in bytes.
    pub initramfs_bytes: Option<u64>,
    /// The root as a file.
    pub image: PathBuf,
    /// The init's options for the kernel command line.
    pub words: String,
    /// Boots of this machine.
    pub runs: usize,
}

/// A combination that is not possible.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// Init, kernel, card and root.
    pub name: String,
    /// The reason.
    pub why: String,
}

impl Cell {
    /// Returns init, kernel, card and root as one name.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.contender, self.machine, &self.kernel, self.card, self.root)
    }

    /// Returns the machine's command line, with its root in the file `image`.
    #[must_use]
    pub fn command(&self, image: &Path) -> CommandLine {
        let parts = (self.machine, self.card, self.root, self.clock);
        machine(&self.vmlinuz, self.initramfs.as_deref(), image, parts, &self.words)
    }

    /// Returns the name of the machine without the init: inits on the same machine are compared.
    #[must_use]
    pub fn machine(&self) -> String {
        format!("{}, {}, root on {}", of_machine(&self.kernel, self.machine), self.card.name(), self.root.name())
    }
}

fn name(contender: &str, machine: Machine, kernel: &str, card: Card, root: RootKind) -> String {
    format!("{contender}/{}/{}/{}", of_machine(kernel, machine), card.name(), root.name())
}

/// Returns the name of a kernel, with its architecture if that is another one than x86-64.
pub(super) fn of_machine(kernel: &str, machine: Machine) -> String {
    if machine == Machine::X86_64 { kernel.to_owned() } else { format!("{kernel} {}", machine.name()) }
}

/// Prepares every machine of a plan.
///
/// # Errors
/// A file that cannot be read; if only one machine lacks something, that machine is skipped.
pub fn matrix(
    workshop: &mut Workshop,
    contenders: &[Contender],
    plan: &Plan,
    clock: Clock,
) -> Result<(Vec<Cell>, Vec<Skipped>), String> {
    let (mut cells, mut skipped) = (Vec::new(), Vec::new());
    for kernel in &plan.kernels {
        for root in &plan.roots {
            for card in &plan.cards {
                for contender in contenders {
                    match workshop.initramfs(contender, kernel, *card, *root) {
                        Ok(initramfs) => {
                            cells.push(Cell {
                                contender: contender.name().to_owned(),
                                machine: kernel.machine,
                                kernel: kernel.name.clone(),
                                card: *card,
                                root: *root,
                                clock,
                                vmlinuz: kernel.vmlinuz.clone(),
                                initramfs_bytes: initramfs.as_deref().map(size).transpose()?,
                                initramfs,
                                image: workshop.image.clone(),
                                words: contender.words(*root),
                                runs: plan.runs,
                            });
                        }
                        Err(why) => {
                            skipped.push(Skipped {
                                name: name(contender.name(), kernel.machine, &kernel.name, *card, *root),
                                why,
                            });
                        }
                    }
                }
            }
        }
    }
    Ok((cells, skipped))
}

fn size(path: &Path) -> Result<u64, String> {
    path.metadata().map(|file| file.len()).map_err(|error| format!("{}: {error}", path.display()))
}
